//! What the pipeline and the links count, for `/metrics`. The names are documented in `docs/src/reference/metrics.md`.

mod members;

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use pushgate_protocol::{link::Lane, result::State};

pub use self::members::MemberMetrics;

/// Everything that is counted; clones count into the same numbers.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    lanes: Lanes,
    in_flight: Family<WorkerLabel, Gauge>,
    /// Results that are durable.
    pub results: Counter,
    untracked: Family<StateLabel, Counter>,
    retries: Family<OperationLabel, Counter>,
    refused: Family<OperationLabel, Counter>,
    /// Times that what a user has had of the messages to everyone was remembered less exactly.
    pub seen_joined: Counter,
    /// Receipts of clients that were dropped because results waited to be published.
    pub receipts_dropped: Counter,
    /// Links that are up.
    pub links_up: Gauge,
    /// Links lost.
    pub links_lost: Counter,
    /// Gateways in the member list.
    pub members: Gauge,
    /// Number of the member list's epoch.
    pub epoch: Gauge,
    /// Each of them.
    pub by_member: MemberMetrics,
    /// Writes of lower lanes that waited for a record of lane high.
    pub lower_held: Counter,
    /// Records of lane high that the lower lanes waited for in vain.
    pub lower_let_go: Counter,
}

#[derive(Debug, Clone, Default)]
struct Lanes {
    polled: Family<LaneLabel, Counter>,
    settled: Family<LaneLabel, Counter>,
    dead: Family<LaneLabel, Counter>,
    unsettled: Family<LaneLabel, Gauge>,
    held: Family<LaneLabel, Gauge>,
    ahead: Family<LaneLabel, Gauge>,
    stopped: Family<LaneLabel, Gauge>,
    oldest: Family<LaneLabel, Gauge<f64, AtomicU64>>,
    partitions: Family<PartitionLabel, Gauge<f64, AtomicU64>>,
}

/// The age of the oldest unsettled record of each partition of a lane.
#[derive(Debug, Clone)]
pub struct PartitionAges {
    lane: &'static str,
    ages: Family<PartitionLabel, Gauge<f64, AtomicU64>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabel {
    lane: &'static str,
    partition: u32,
}

impl PartitionAges {
    /// Shows the partitions of now, each with when its oldest record was polled, and forgets those of `shown` that are gone.
    pub fn show_all(&self, shown: &mut Vec<u32>, now: &[(u32, Option<u64>)], now_ms: u64) {
        for gone in shown.drain(..).filter(|n| now.iter().all(|(still, _)| still != n)) {
            self.forget(gone);
        }
        for &(partition, oldest_ms) in now {
            let age_ms = oldest_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest));
            self.show(partition, age_ms as f64 / 1_000.0);
            shown.push(partition);
        }
    }

    /// It is so many seconds.
    fn show(&self, partition: u32, age_s: f64) {
        self.ages.get_or_create(&PartitionLabel { lane: self.lane, partition }).set(age_s);
    }

    /// The partition is not ours any more.
    fn forget(&self, partition: u32) {
        self.ages.remove(&PartitionLabel { lane: self.lane, partition });
    }

    /// What is shown of a partition, seconds.
    pub fn age_s(&self, partition: u32) -> Option<f64> {
        self.ages.get(&PartitionLabel { lane: self.lane, partition }).map(|age| age.get())
    }
}

/// What the schedule counts; clones count into the same numbers.
#[derive(Debug, Clone)]
pub struct ScheduleMetrics {
    /// Tasks claimed.
    pub claimed: Counter,
    /// Occurrences sent to their lanes.
    pub fired: Counter,
    /// Tasks of which times were passed over.
    pub missed: Counter,
    /// Tasks that cannot be sent.
    pub failed: Counter,
    /// Tasks passed over because they cannot be read.
    pub unreadable: Counter,
    /// Claims whose lease ended before they were settled.
    pub lost: Counter,
    /// Turns that failed.
    pub retries: Counter,
    /// From when an occurrence was due until it was claimed, seconds.
    pub lateness: Histogram,
}

impl ScheduleMetrics {
    /// Registers everything.
    pub fn register(registry: &mut Registry) -> Self {
        let lateness =
            Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0]);
        let mut counter = |name, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let new = Self {
            claimed: counter("tasks_claimed", "Tasks claimed because they were due"),
            fired: counter("occurrences_sent", "Occurrences of tasks sent to their lanes"),
            missed: counter("tasks_missed", "Tasks of which times were passed over, as their misfire says"),
            failed: counter("tasks_failed", "Tasks that could not be sent"),
            unreadable: counter("tasks_unreadable", "Tasks passed over because they cannot be read"),
            lost: counter("task_leases_lost", "Claims of tasks whose lease ended before they were settled"),
            retries: counter("schedule_retries", "Turns of the schedule that a store or log failed"),
            lateness,
        };
        let help = "From when an occurrence was due until it was claimed";
        registry.register_with_unit("occurrence_lateness", help, Unit::Seconds, new.lateness.clone());
        new
    }
}

/// What one lane counts.
#[derive(Debug, Clone)]
pub struct LaneMetrics {
    /// Records polled.
    pub polled: Counter,
    /// Records settled.
    pub settled: Counter,
    /// Dead letters.
    pub dead: Counter,
    /// Records polled and not settled.
    pub unsettled: Gauge,
    /// Records of a newer version that are held.
    pub held: Gauge,
    /// Records read ahead, which wait for their app's turn.
    pub ahead: Gauge,
    /// Apps that wait because too much of theirs is under way.
    pub stopped: Gauge,
    /// The same of each partition.
    pub partitions: PartitionAges,
    /// For how long the oldest of them is, seconds.
    pub oldest: Gauge<f64, AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkerLabel {
    worker: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

impl Metrics {
    /// Registers everything.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        let lanes = &new.lanes;
        registry.register("records_polled", "Records read from a lane", lanes.polled.clone());
        registry.register("records_settled", "Records of a lane settled", lanes.settled.clone());
        registry.register("dead_letters", "Records of a lane that could not be processed", lanes.dead.clone());
        registry.register("records_unsettled", "Records read and not settled", lanes.unsettled.clone());
        registry.register("records_held", "Records held for a newer version", lanes.held.clone());
        registry.register("records_ahead", "Records read that wait for their app's turn", lanes.ahead.clone());
        let help = "Apps of which as much as may is under way, and more waits";
        registry.register("apps_waiting", help, lanes.stopped.clone());
        let help = "Age of the oldest record read and not settled";
        registry.register_with_unit("oldest_unsettled", help, Unit::Seconds, lanes.oldest.clone());
        let help = "The same of each partition";
        registry.register_with_unit("partition_oldest_unsettled", help, Unit::Seconds, lanes.partitions.clone());
        registry.register("deliveries_in_flight", "Deliveries taken and not finished", new.in_flight.clone());
        registry.register("results_published", "Results published", new.results.clone());
        let help = "Deliveries that ended in this state and of which nothing is kept";
        registry.register("deliveries_untracked", help, new.untracked.clone());
        registry.register("store_retries", "Attempts on a store or log that failed", new.retries.clone());
        let help = "Changes and records that a store or log refused for good; they were given up";
        registry.register("store_refusals", help, new.refused.clone());
        let help = "Times that holes in what a user has had of the messages to everyone were given up";
        registry.register("seen_holes_given_up", help, new.seen_joined.clone());
        let help = "Receipts of clients dropped because too many results waited to be published";
        registry.register("receipts_dropped", help, new.receipts_dropped.clone());
        registry.register("links_up", "Links to gateway shards that are up", new.links_up.clone());
        registry.register("links_lost", "Links lost", new.links_lost.clone());
        registry.register("cluster_members", "Gateways in the member list", new.members.clone());
        registry.register("cluster_epoch", "Number of the member list's epoch", new.epoch.clone());
        new.by_member.register(registry);
        let help = "Writes of lower lanes that waited until a record of lane high was written";
        registry.register("lower_lanes_held", help, new.lower_held.clone());
        let help = "Times that lower lanes went on though a record of lane high was not written, for it waited for something else";
        registry.register("lower_lanes_let_go", help, new.lower_let_go.clone());
        new
    }

    /// The numbers of one lane.
    pub fn lane(&self, lane: Lane) -> LaneMetrics {
        let label = LaneLabel { lane: lane.as_str() };
        LaneMetrics {
            polled: self.lanes.polled.get_or_create(&label).clone(),
            settled: self.lanes.settled.get_or_create(&label).clone(),
            dead: self.lanes.dead.get_or_create(&label).clone(),
            unsettled: self.lanes.unsettled.get_or_create(&label).clone(),
            held: self.lanes.held.get_or_create(&label).clone(),
            ahead: self.lanes.ahead.get_or_create(&label).clone(),
            stopped: self.lanes.stopped.get_or_create(&label).clone(),
            partitions: PartitionAges { lane: label.lane, ages: self.lanes.partitions.clone() },
            oldest: self.lanes.oldest.get_or_create(&label).clone(),
        }
    }

    /// Deliveries that a worker has taken and not finished.
    pub fn in_flight(&self, worker: u8) -> Gauge {
        self.in_flight.get_or_create(&WorkerLabel { worker }).clone()
    }

    /// So many deliveries ended in each state, and nothing is kept of them.
    pub fn untracked(&self, states: [u64; State::ALL.len()]) {
        for (state, ended) in State::ALL.into_iter().zip(states).filter(|(_, ended)| *ended > 0) {
            self.untracked.get_or_create(&StateLabel { state: state.as_str() }).inc_by(ended);
        }
    }

    /// An attempt failed and is made again.
    pub fn retried(&self, operation: &'static str) {
        self.retries.get_or_create(&OperationLabel { operation }).inc();
    }

    /// A change or record was refused for good.
    pub fn refused(&self, operation: &'static str) {
        self.refused.get_or_create(&OperationLabel { operation }).inc();
    }
}

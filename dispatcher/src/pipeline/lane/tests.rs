//! A lane between its source and its workers: settlement, full workers, bounded parts.

mod channels;
mod malformed;
mod turns;

use std::{
    collections::HashMap,
    sync::{Mutex, mpsc::channel},
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use pushgate_protocol::{apps::AppConfig, auth::Apps, ids::AppId};

use super::*;
use crate::{
    core::ledger::Ledger,
    metrics::Metrics,
    pipeline::mailbox::Inbox,
    seams::{Hold, SourceError, Window},
};

/// What a test sees and steers of a fake source.
#[derive(Default)]
struct Script {
    records: Vec<Record>,
    settled: Vec<u64>,
    served: u64,
    /// Polls that found nothing.
    idle: u64,
    /// Of them those that would have waited for a record.
    waited: u64,
    commits: u64,
    fatal: bool,
    room: Option<usize>,
    /// Offsets of partitions that are not assigned any more.
    revoked: Vec<u64>,
    holds: HashMap<u64, Hold>,
    app_in_flight_max: Option<usize>,
    oldest: Vec<(u32, Option<u64>)>,
    in_flight_max: Option<usize>,
    /// Accounts of channels; without any, nobody takes parcels.
    accounts: Option<Accounts>,
    /// Apps that are configured.
    apps: &'static [&'static str],
    /// A ledger with room for so many records, for partition 0.
    ledger: Option<(Ledger, usize)>,
}

impl Script {
    fn room(&self) -> usize {
        let of_ledger = self.ledger.as_ref().map(|(l, max)| max.saturating_sub(limits::LEDGER_RECORDS_MAX - l.room()));
        of_ledger.or(self.room).unwrap_or(usize::MAX)
    }
}

#[derive(Clone, Default)]
struct FakeSource(Arc<Mutex<Script>>);

impl FakeSource {
    fn with<T>(&self, f: impl FnOnce(&mut Script) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    /// Waits until the lane's thread has come so far.
    fn until(&self, what: impl Fn(&Script) -> bool) {
        while !self.with(|s| what(s)) {
            std::thread::yield_now();
        }
    }
}

impl TaskSource for FakeSource {
    fn poll(&mut self, max: usize, wait: Duration, out: &mut Vec<Record>) -> Result<(), SourceError> {
        self.with(|s| {
            if s.fatal {
                return Err(SourceError::Fatal { what: "fake", detail: "damaged".into() });
            }
            if max == 0 {
                s.served += 1;
            }
            let room = if s.ledger.is_some() { s.room() } else { usize::MAX };
            let count = max.min(room).min(s.records.len());
            s.idle += u64::from(count == 0);
            s.waited += u64::from(count == 0 && max > 0 && !wait.is_zero());
            let from = out.len();
            out.extend(s.records.drain(..count));
            if let Some((ledger, _)) = &mut s.ledger {
                out[from..].iter_mut().for_each(|r| r.position = ledger.track(0, r.position.offset, 0));
            }
            Ok(())
        })
    }

    fn holds(&self, position: Position) -> bool {
        self.with(|s| !s.revoked.contains(&position.offset))
    }

    fn hold(&self, position: Position) -> Hold {
        self.with(|s| s.holds.entry(position.offset).or_default().clone())
    }

    fn settle(&mut self, positions: &[Position]) {
        self.with(|s| {
            s.settled.extend(positions.iter().map(|p| p.offset));
            if let Some((ledger, _)) = &mut s.ledger {
                positions.iter().for_each(|p| assert!(ledger.settle(*p)));
            }
        });
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        self.with(|s| s.commits += 1);
        Ok(())
    }

    fn oldest(&self) -> Vec<(u32, Option<u64>)> {
        self.with(|s| s.oldest.clone())
    }

    fn window(&self) -> Window {
        let (unsettled, room) =
            self.with(|s| (s.ledger.as_ref().map_or(1, |(ledger, _)| ledger.unsettled()), s.room()));
        Window { unsettled, room, oldest_ms: None }
    }
}

struct Lane1 {
    source: FakeSource,
    inboxes: Vec<Inbox>,
    finished: mpsc::UnboundedReceiver<Finished>,
    settled: std::sync::mpsc::Sender<Vec<Token>>,
    stop: Arc<AtomicBool>,
    health: Arc<Health>,
    thread: LaneThread,
    metrics: LaneMetrics,
}

impl Lane1 {
    fn start(workers: u8, records: Vec<Record>) -> Self {
        Self::start_with(workers, Script { records, ..Script::default() })
    }

    fn start_with(workers: u8, script: Script) -> Self {
        let apps = script.apps;
        let accounts = script.accounts.clone().unwrap_or_else(Accounts::closed);
        let script_app_max = script.app_in_flight_max.unwrap_or(1 << 20);
        let in_flight_max = script.in_flight_max.unwrap_or(1_000);
        let source = FakeSource(Arc::new(Mutex::new(script)));
        let (mailboxes, inboxes) = Mailboxes::new(workers);
        let (finished, ended) = mpsc::unbounded_channel();
        let (settled, settlements) = channel();
        let (stop, health) = (Arc::new(AtomicBool::new(false)), Health::new());
        let origins = ["high", "normal", "low"].map(String::from);
        let metrics = Metrics::register(&mut Registry::default()).lane(Lane::High);
        let thread = LaneThread::start(LaneParts {
            lane: Lane::High,
            source: Box::new(source.clone()),
            decoder: Arc::new(Decoder::new(Some(AppId::parse("a").unwrap()), origins)),
            mailboxes,
            accounts,
            finished,
            aside_bytes: Arc::default(),
            settled: settlements,
            nice: 0,
            in_flight_max,
            app_in_flight_max: script_app_max,
            apps: SharedApps::new(Apps::new(apps.iter().map(app).collect()).unwrap()),
            stop: Arc::clone(&stop),
            health: Arc::clone(&health),
            metrics: metrics.clone(),
        });
        Self { metrics, source, inboxes, finished: ended, settled, stop, health, thread: thread.unwrap() }
    }

    fn end(self) -> Script {
        self.stop.store(true, Ordering::Relaxed);
        drop((self.inboxes, self.settled));
        self.thread.join();
        std::mem::take(&mut self.source.0.lock().unwrap())
    }
}

fn app(name: &&str) -> pushgate_protocol::apps::App {
    let keys = serde_json::json!([{"alg": "HS256", "key": "0123456789abcdef0123456789abcdef"}]);
    let config: AppConfig = serde_json::from_value(serde_json::json!({"id": name, "keys": keys})).unwrap();
    config.resolve(&mut |_| Err("no file is named".into())).unwrap()
}

fn record(offset: u64, value: &str) -> Record {
    let position = Position { partition: 0, generation: 1, offset };
    Record { position, key: None, value: Bytes::from(value.to_owned()), time_ms: clock::unix_ms() }
}

fn to_users(offset: u64, users: &[&str]) -> Record {
    record(
        offset,
        &format!(r#"{{"v":1,"class":"transactional","to":{{"users":{users:?}}},"content":{{"title":"t"}}}}"#),
    )
}

#[test]
fn a_record_settles_when_all_its_deliveries_have() {
    let mut lane = Lane1::start(1, vec![to_users(7, &["u1", "u2"])]);
    let batch = lane.inboxes[0].deliveries[0].blocking_recv().unwrap();
    assert_eq!(batch.len(), 2);
    lane.settled.send(vec![batch[0].token]).unwrap();
    lane.settled.send(vec![batch[1].token]).unwrap();
    lane.source.until(|s| s.settled == [7]);
    let script = lane.end();
    assert_eq!(script.settled, [7]);
    assert!(script.commits > 0, "the last settlements are committed");
}

#[test]
fn where_there_is_one_app_a_lane_reads_no_further_ahead_than_workers_need() {
    for (apps, ahead) in [(&["a"][..], limits::LANE_AHEAD_ONE_APP), (&["a", "b"][..], 10_000)] {
        let records = (0..10_000).map(|n| to_users(n, &["u1"])).collect();
        // Nobody takes from the workers' mailboxes.
        let lane = Lane1::start_with(1, Script { records, apps, in_flight_max: Some(1), ..Script::default() });
        lane.source.until(|s| s.served > 20);
        let read = 10_000 - lane.source.with(|s| s.records.len());
        // The one that is in flight is not ahead.
        assert!(read == ahead || read == ahead + 1, "{read} are read");
        lane.end();
    }
}

#[test]
fn a_lane_with_a_full_worker_serves_its_group_and_the_other_workers_and_ends_when_told() {
    let users: Vec<String> = (0..40).map(|n| format!("u{n}")).collect();
    let records = (0..20_000).map(|n| to_users(n, &[&users[n as usize % 40]])).collect();
    // Nobody takes from the workers' mailboxes.
    let lane = Lane1::start_with(2, Script { records, in_flight_max: Some(1 << 20), ..Script::default() });
    lane.source.until(|s| s.served > 20);
    let waiting = lane.inboxes.iter().map(|i| i.deliveries[0].len()).max();
    assert_eq!(waiting, Some(limits::WORKER_BATCHES));
    lane.stop.store(true, Ordering::Relaxed);
    let Lane1 { thread, settled, source, inboxes, .. } = lane;
    drop(settled);
    thread.join();
    assert_eq!(source.with(|s| s.settled.len()), 0, "what was not handed over comes again");
    drop(inboxes);
}

#[test]
fn large_messages_to_many_are_handed_over_in_bounded_parts() {
    let users: Vec<String> = (0..1_000).map(|n| format!("u{n}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let records = (0..16).map(|n| to_users(n, &users)).collect();
    let mut lane = Lane1::start_with(1, Script { records, in_flight_max: Some(1 << 20), ..Script::default() });
    let mut taken: HashMap<u64, usize> = HashMap::new();
    while taken.values().sum::<usize>() < 16_000 {
        let batch = lane.inboxes[0].deliveries[0].blocking_recv().unwrap();
        assert!(batch.len() < limits::LANE_BATCH_DELIVERIES + 1_000, "{}", batch.len());
        batch.iter().for_each(|d| *taken.entry(d.token.0).or_default() += 1);
    }
    assert!(taken.len() == 16 && taken.values().all(|n| *n == 1_000));
    lane.end();
}

#[test]
fn a_record_that_cannot_be_read_becomes_a_dead_letter_and_settles() {
    let mut lane = Lane1::start(1, vec![record(3, "{")]);
    let Some(Finished::Dead { record, token }) = lane.finished.blocking_recv() else { panic!("no dead letter") };
    assert_eq!(record.origin, "high/0/3");
    lane.settled.send(vec![token]).unwrap();
    lane.source.until(|s| s.settled == [3]);
    lane.end();
}

#[test]
fn a_held_record_dies_early_when_the_source_has_no_room_behind_it() {
    let mut lane = Lane1::start(1, vec![record(3, r#"{"v":99}"#)]);
    lane.source.until(|s| s.commits > 0);
    assert!(lane.finished.try_recv().is_err(), "it is held");
    lane.source.with(|s| s.room = Some(0));
    assert!(matches!(lane.finished.blocking_recv(), Some(Finished::Dead { .. })));
    lane.end();
}

#[test]
fn a_source_that_fails_for_good_is_told_to_readiness_until_it_works() {
    let lane = Lane1::start_with(1, Script { fatal: true, ..Script::default() });
    let failing = |health: &Health| health.failing().iter().any(|f| f.what == "lane high");
    while !failing(&lane.health) {
        std::thread::yield_now();
    }
    lane.source.with(|s| s.fatal = false);
    while failing(&lane.health) {
        std::thread::yield_now();
    }
    lane.end();
}

fn of_app(offset: u64, app: &str, user: &str) -> Record {
    let value = format!(
        r#"{{"v":1,"id":"{app}-{offset}","app":"{app}","to":{{"users":["{user}"]}},"content":{{"title":"t"}}}}"#
    );
    record(offset, &value)
}

/// The next deliveries, as app and token.
fn next_batch(lane: &mut Lane1) -> Vec<(String, Token)> {
    let batch = lane.inboxes[0].deliveries[0].blocking_recv().unwrap();
    batch.into_iter().map(|d| (d.user.app.to_string(), d.token)).collect()
}

#[test]
fn an_app_that_floods_does_not_delay_another_in_its_lane() {
    let mut records: Vec<Record> = (0..20_000).map(|n| of_app(n, "flood", "u")).collect();
    records.push(of_app(20_000, "quiet", "u"));
    let mut lane = Lane1::start_with(1, Script { records, app_in_flight_max: Some(500), ..Script::default() });
    let (mut before, mut seen) = (0, false);
    while !seen {
        for (app, token) in next_batch(&mut lane) {
            seen |= app == "quiet";
            before += usize::from(!seen);
            // What is delivered of the flood settles, so that it goes on.
            lane.settled.send(vec![token]).unwrap();
        }
    }
    assert!(before < 20_000 / 2, "the quiet app's message came after {before} of the flood");
    lane.end();
}

#[test]
fn an_app_whose_deliveries_do_not_settle_waits_and_others_go_on() {
    let records = (0..400).map(|n| of_app(n, if n % 2 == 0 { "slow" } else { "quick" }, "u")).collect();
    let mut lane = Lane1::start_with(1, Script { records, app_in_flight_max: Some(10), ..Script::default() });
    let (mut slow, mut quick) = (Vec::new(), 0);
    while quick < 200 {
        for (app, token) in next_batch(&mut lane) {
            if app == "quick" {
                quick += 1;
                lane.settled.send(vec![token]).unwrap();
            } else {
                slow.push(token);
            }
        }
    }
    assert_eq!(slow.len(), 10);
    lane.settled.send(vec![slow[0]]).unwrap();
    let more = next_batch(&mut lane);
    assert_eq!(more.iter().map(|(app, _)| app.as_str()).collect::<Vec<_>>(), ["slow"]);
    lane.end();
}

#[test]
fn records_of_a_partition_that_is_another_consumers_by_now_are_left_out() {
    let records = (0..50).map(|n| of_app(n, "a", "u")).collect();
    let revoked = (0..49).collect();
    let mut lane = Lane1::start_with(1, Script { records, revoked, ..Script::default() });
    let batch = lane.inboxes[0].deliveries[0].blocking_recv().unwrap();
    assert_eq!(batch.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["a-49"]);
    lane.end();
}

#[test]
fn the_age_of_each_partition_is_shown_and_forgotten_with_it() {
    let an_hour_ago = clock::unix_ms() - 3_600_000;
    let lane = Lane1::start_with(1, Script { oldest: vec![(0, Some(an_hour_ago)), (4, None)], ..Script::default() });
    lane.source.until(|s| s.commits > 0);
    // The ages are shown after the commit of the same turn.
    lane.source.until(|s| s.commits > 1);
    let age = |partition| lane.metrics.partitions.age_s(partition);
    assert!(age(0).is_some_and(|age_s| age_s >= 3_600.0) && age(4) == Some(0.0));
    lane.source.with(|s| s.oldest = vec![(4, None)]);
    let commits = lane.source.with(|s| s.commits);
    lane.source.until(|s| s.commits > commits + 1);
    assert_eq!((age(0), age(4)), (None, Some(0.0)));
    lane.end();
}

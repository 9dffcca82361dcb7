//! Kafka: partitions come and go, and a lane that may take nothing.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pushgate_dispatcher::{
    kafka::KafkaSource,
    seams::{Record, TaskSource},
};
use pushgate_protocol::link::Lane;
use rdkafka::{Offset, TopicPartitionList, admin::AdminOptions};

use crate::{kafka::Topics, suite};

fn append_of_sixty_keys(topics: &Topics, what: &str) -> BTreeSet<String> {
    let values: Vec<String> = (0..60).map(|k| format!("{what}{k}")).collect();
    let records = values.iter().enumerate().map(|(k, value)| suite::record(&format!("k{k}"), value.clone()));
    suite::append(topics, Lane::High, records.collect());
    values.into_iter().collect()
}

/// Polls both until `done`; what came is appended to `records`, that of the first as well.
fn poll_both(
    (first, second): (&mut KafkaSource, &mut KafkaSource),
    records: &mut [Vec<Record>; 2],
    done: impl Fn(&KafkaSource, &KafkaSource, &[Vec<Record>; 2]) -> bool,
) {
    while !done(first, second, records) {
        suite::poll(first, 100, &mut records[0]);
        suite::poll(second, 100, &mut records[1]);
    }
}

#[test]
fn settlements_after_a_revoke_are_ignored() {
    let Some(topics) = Topics::new() else { return };
    append_of_sixty_keys(&topics, "");
    let mut first = topics.source(Lane::High);
    let polled = suite::take(&mut first, 60);
    let mut second = topics.source(Lane::High);
    let mut came = [const { Vec::new() }; 2];
    poll_both((&mut first, &mut second), &mut came, |_, _, came| !came[1].is_empty());
    let [_, moved] = came;
    // What moved came again at the second, as nobody settled it in time; the first settles all it ever polled, the second nothing.
    first.settle(&suite::positions(&polled));
    first.commit().unwrap();
    let moved_partitions: BTreeSet<u32> = moved.iter().map(|r| r.position.partition).collect();
    let expected: BTreeSet<String> = polled
        .iter()
        .filter(|r| moved_partitions.contains(&r.position.partition))
        .flat_map(|r| suite::values(std::slice::from_ref(r)))
        .collect();
    drop(second);
    drop(first);
    let mut third = topics.source(Lane::High);
    let again: BTreeSet<String> = suite::values(&suite::take(&mut third, expected.len())).into_iter().collect();
    assert_eq!(again, expected);
}

#[test]
fn a_partition_that_is_asked_back_is_given_up_once_what_was_read_of_it_has_settled() {
    let Some(topics) = Topics::new() else { return };
    append_of_sixty_keys(&topics, "before");
    let mut first = topics.source(Lane::High);
    let polled = suite::take(&mut first, 60);
    let mut second = topics.source(Lane::High);
    let mut came = [const { Vec::new() }; 2];
    poll_both((&mut first, &mut second), &mut came, |first, _, _| first.leaving() > 0);
    assert_eq!(second.partitions(), 0, "nothing of them has settled");
    // Of those that leave nothing more is read, by nobody.
    let after = append_of_sixty_keys(&topics, "after");
    first.settle(&suite::positions(&polled));
    poll_both((&mut first, &mut second), &mut came, |_, _, came| came[0].len() + came[1].len() >= 60);
    assert_eq!((first.leaving(), first.partitions(), second.partitions()), (0, 3, 3));
    assert!(!came[1].is_empty());
    let values: Vec<String> = came.iter().flat_map(|records| suite::values(records)).collect();
    assert_eq!(values.len(), 60, "none came twice: {values:?}");
    assert_eq!(values.into_iter().collect::<BTreeSet<_>>(), after);
}

#[test]
fn what_was_fetched_waits_for_a_lane_that_is_full_and_is_not_fetched_again() {
    const RECORDS: usize = 100;
    let Some(topics) = Topics::new() else { return };
    let numbered = (0..RECORDS).map(|n| suite::record("one-key", n.to_string()));
    suite::append(&topics, Lane::Low, numbered.collect());
    let mut source = topics.source(Lane::Low);
    // They are one batch: with the first, all are here.
    let first = suite::take(&mut source, 1);
    for _ in 0..1_000 {
        source.poll(0, Duration::from_millis(1), &mut Vec::new()).unwrap();
    }
    let topic = topics.config().lane_topic(Lane::Low);
    let mut gone = TopicPartitionList::new();
    gone.add_partition_offset(&topic, first[0].position.partition as i32, Offset::Offset(RECORDS as i64)).unwrap();
    suite::block_on(topics.admin().delete_records(&gone, &AdminOptions::new())).unwrap();
    let rest = suite::values(&suite::take(&mut source, RECORDS - 1));
    assert_eq!(rest, (1..RECORDS).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_lane_that_is_full_takes_part_in_rebalances() {
    let Some(topics) = Topics::new() else { return };
    append_of_sixty_keys(&topics, "");
    let mut full = topics.source(Lane::High);
    let taken = suite::take(&mut full, 60);
    full.settle(&suite::positions(&taken));
    append_of_sixty_keys(&topics, "more");
    let mut other = topics.source(Lane::High);
    let mut records = Vec::new();
    while other.partitions() != 3 {
        full.poll(0, Duration::ZERO, &mut Vec::new()).unwrap();
        suite::poll(&mut other, 100, &mut records);
    }
    assert_eq!(full.partitions(), 3);
}

#[test]
fn rebalances_neither_skip_a_record_nor_repeat_a_settled_one() {
    const RECORDS: usize = 6_000;
    let Some(topics) = Topics::new() else { return };
    let (seen, settled) = (Mutex::new(BTreeSet::new()), Mutex::new(BTreeSet::new()));
    let repeated = AtomicUsize::new(0);
    let enough = |part: usize| seen.lock().unwrap().len() >= part;
    // Settles in batches, out of order, leaving always a few for later, and commits now and then.
    let consume = |part: usize| {
        let mut source = topics.source(Lane::Normal);
        let mut held: Vec<(_, String)> = Vec::new();
        let mut turn = 0;
        let settle = |source: &mut KafkaSource, some: Vec<(_, String)>| {
            // Of a partition that was lost meanwhile it settles nothing, and what it had comes again.
            let (ours, values): (Vec<_>, Vec<_>) = some.into_iter().filter(|(at, _)| source.holds(*at)).unzip();
            source.settle(&ours);
            settled.lock().unwrap().extend(values);
        };
        while !enough(part) {
            let mut records = Vec::new();
            suite::poll(&mut source, 50, &mut records);
            let values = suite::values(&records);
            let again = values.iter().filter(|value| settled.lock().unwrap().contains(*value)).count();
            repeated.fetch_add(again, Ordering::Relaxed);
            seen.lock().unwrap().extend(values.iter().cloned());
            held.extend(suite::positions(&records).into_iter().zip(values).rev());
            let some = held.drain(..held.len().saturating_sub(7)).collect();
            settle(&mut source, some);
            turn += 1;
            if turn % 3 == 0 {
                // Refused while a rebalance is under way; the next one commits.
                drop(source.commit());
            }
        }
        settle(&mut source, held);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for batch in 0..RECORDS / 100 {
                let numbers = batch * 100..(batch + 1) * 100;
                let records = numbers.map(|n| suite::record(&format!("k{}", n % 97), n.to_string()));
                suite::append(&topics, Lane::Normal, records.collect());
            }
        });
        // Three members that come and go at different times, one that stays to the end.
        for part in [RECORDS / 8, RECORDS / 4, RECORDS / 2, RECORDS] {
            let consume = &consume;
            scope.spawn(move || consume(part));
        }
    });
    assert_eq!(seen.lock().unwrap().len(), RECORDS);
    assert_eq!(repeated.load(Ordering::Relaxed), 0);
    // All was settled, so nothing is left but what is appended now.
    suite::append(&topics, Lane::Normal, vec![suite::record("k", "last")]);
    let mut source = topics.source(Lane::Normal);
    let left = suite::values(&suite::take(&mut source, 1));
    assert_eq!(left, ["last"]);
}

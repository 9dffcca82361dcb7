//! What the embedded results and dead letters promise.

use pushgate_protocol::{
    ids::{AppId, MessageId, UserId},
    link::Lane,
    result::{Class, Recipient, ResultInfo, State},
};

use super::*;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn result(number: u64) -> ResultRecord {
    ResultRecord {
        message: MessageId::parse(&format!("m{number}")).unwrap(),
        app: AppId::parse("shop").unwrap(),
        recipient: Recipient { user: UserId::parse("u1").unwrap(), device: None },
        channel: "websocket",
        account: None,
        provider_id: None,
        state: State::Delivered,
        reason: None,
        attempt: 1,
        time_ms: number,
        info: Some(ResultInfo {
            occurrence: None,
            lane: Lane::High,
            class: Class::Transactional,
            accepted_ms: 0,
            bytes: 0,
            meta: None,
            trace: None,
        }),
    }
}

fn letter(number: u32, bytes: usize) -> DeadRecord {
    DeadRecord {
        key: Some(Bytes::from_static(b"\xff")),
        value: vec![b'x'; bytes].into(),
        reason: "to.users is empty".into(),
        attempts: number,
        origin: format!("pushgate.high/0/{number}"),
    }
}

#[test]
fn only_the_latest_results_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Kept { records: 5, bytes: 1 << 20 };
    let open = || EmbeddedResults::with_bounds(EmbeddedStore::open(dir.path()).unwrap(), bounds, bounds).unwrap();
    let sink = open();
    block_on(sink.publish((0..4).map(result).collect())).unwrap();
    block_on(sink.publish((4..8).map(result).collect())).unwrap();
    assert_eq!(sink.left(), (3, 0));
    drop(sink);
    let sink = open();
    let found = sink.results(0, 100).unwrap();
    assert_eq!(found, (3..8).map(|n| (n + 1, Bytes::from(result(n).to_json()))).collect::<Vec<_>>());
    assert_eq!(sink.results(found[1].0, 2).unwrap(), found[2..4]);
    assert_eq!(sink.results(8, 100).unwrap(), []);
}

#[test]
fn dead_letters_are_bounded_in_bytes_and_keep_every_field() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Kept { records: 100, bytes: 3_000 };
    let sink = EmbeddedResults::with_bounds(EmbeddedStore::open(dir.path()).unwrap(), bounds, bounds).unwrap();
    for number in 0..6 {
        block_on(sink.bury(vec![letter(number, 600)])).unwrap();
    }
    let found = sink.dead_letters(0, 100).unwrap();
    assert!((1..6).contains(&found.len()), "{}", found.len());
    assert_eq!(sink.left().1 as usize, 6 - found.len());
    let (_, last) = found.last().unwrap();
    let expected = letter(5, 600);
    assert_eq!((&last.key, &last.value), (&expected.key, &expected.value));
    assert_eq!((&last.reason, last.attempts, &last.origin), (&expected.reason, 5, &expected.origin));
    // One letter larger than the bound displaces all others and is kept.
    block_on(sink.bury(vec![letter(6, 10_000)])).unwrap();
    assert_eq!(sink.dead_letters(0, 100).unwrap().len(), 1);
}

#[test]
fn dead_letters_are_paged_from_the_newest_and_found_by_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Kept { records: 5, bytes: 1 << 20 };
    let sink = EmbeddedResults::with_bounds(EmbeddedStore::open(dir.path()).unwrap(), bounds, bounds).unwrap();
    for n in 0..8 {
        block_on(sink.bury(vec![letter(n, 10)])).unwrap();
    }
    let mut before = None;
    let mut attempts = Vec::new();
    loop {
        let page = block_on(DeadLetters::letters(&sink, before, 2)).unwrap();
        attempts.extend(page.letters.iter().map(|l| l.record.attempts));
        assert!(page.letters.iter().all(|l| l.time_ms > 0));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    attempts.sort_unstable();
    assert_eq!(attempts, [3, 4, 5, 6, 7], "the rest has left");
    let find = |offset| block_on(sink.letter(DeadPlace { partition: 0, offset })).unwrap().map(|l| l.record.attempts);
    assert_eq!((find(7), find(8), find(2)), (Some(7), None, None));
}

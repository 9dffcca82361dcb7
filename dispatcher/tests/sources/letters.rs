//! What every sink of dead letters does, and whoever reads them.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use pushgate_dispatcher::{
    embedded::{EmbeddedResults, EmbeddedStore},
    kafka::KafkaDead,
    memory::{Fault, Flaky},
    seams::{BoxFuture, DeadCursor, DeadLetter, DeadLetters, DeadPlace, DeadRecord, ResultSink, StoreError},
};
use tempfile::TempDir;

use crate::{kafka::Topics, suite::block_on};

/// How long a store may be unavailable before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where letters are put, where they are read, and what must outlive both.
struct Desk<K> {
    sink: Arc<dyn ResultSink>,
    letters: Arc<dyn DeadLetters>,
    _keep: K,
}

fn embedded() -> Desk<TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let results = Arc::new(EmbeddedResults::open(EmbeddedStore::open(dir.path()).unwrap()).unwrap());
    Desk { sink: results.clone(), letters: results, _keep: dir }
}

/// `None` without a broker.
fn kafka() -> Option<Desk<Topics>> {
    let topics = Topics::new()?;
    Some(Desk { sink: Arc::new(topics.results()), letters: Arc::new(KafkaDead::new(topics.config())), _keep: topics })
}

/// One test for each fact and implementation.
macro_rules! facts {
    ($($fact:ident),+ $(,)?) => {
        mod on_kafka { $(#[test] fn $fact() { if let Some(desk) = super::kafka() { super::$fact(&desk); } })+ }
        mod on_the_embedded_store { $(#[test] fn $fact() { super::$fact(&super::embedded()); })+ }
    };
}

facts!(
    each_letter_is_told_once_with_every_field_and_found_by_its_place,
    what_does_not_lie_there_is_not_found,
    a_sink_that_loses_replies_loses_no_letter,
);

fn letter(n: u32) -> DeadRecord {
    DeadRecord {
        key: (!n.is_multiple_of(5)).then(|| Bytes::from(format!("key {}", n % 7))),
        value: [b"\xff{\0 ".as_slice(), n.to_string().as_bytes()].concat().into(),
        reason: format!("to/users/{n}: must be a text, is 7 \u{e4}"),
        attempts: n + 1,
        origin: format!("pushgate.high/{}/{n}", n % 3),
    }
}

/// Asks again while what is asked is not available, as on a machine with much to do.
fn ask<T>(question: impl Fn() -> BoxFuture<'static, Result<T, StoreError>>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match block_on(question()) {
            Err(error) if error.retryable() && Instant::now() < until => {}
            answer => return answer.unwrap(),
        }
    }
}

fn page(letters: &Arc<dyn DeadLetters>, before: Option<DeadCursor>) -> (Vec<DeadLetter>, Option<DeadCursor>) {
    let page = ask(|| {
        let (letters, before) = (Arc::clone(letters), before.clone());
        Box::pin(async move { letters.letters(before, 7).await })
    });
    assert!(page.letters.len() <= 7);
    (page.letters, page.next)
}

/// All letters, by their origin.
fn all(letters: &Arc<dyn DeadLetters>) -> BTreeMap<String, Vec<DeadLetter>> {
    let (mut found, mut before) = (BTreeMap::<_, Vec<_>>::new(), None);
    loop {
        let (letters, next) = page(letters, before);
        for letter in letters {
            found.entry(letter.record.origin.clone()).or_default().push(letter);
        }
        before = next;
        if before.is_none() {
            return found;
        }
    }
}

fn is_same(a: &DeadRecord, b: &DeadRecord) -> bool {
    (&a.key, &a.value, &a.reason, a.attempts, &a.origin) == (&b.key, &b.value, &b.reason, b.attempts, &b.origin)
}

fn each_letter_is_told_once_with_every_field_and_found_by_its_place<K>(desk: &Desk<K>) {
    for batch in 0..3 {
        block_on(desk.sink.bury((batch * 10..(batch + 1) * 10).map(letter).collect())).unwrap();
    }
    let found = all(&desk.letters);
    assert_eq!(found.len(), 30);
    for n in 0..30 {
        let [told] = found[&letter(n).origin].as_slice() else { panic!("{n} is told more than once") };
        assert!(is_same(&told.record, &letter(n)) && told.time_ms > 0, "{told:?}");
        let place = told.place;
        assert_eq!(place.to_string().parse(), Ok(place));
        let again = ask(|| {
            let letters = Arc::clone(&desk.letters);
            Box::pin(async move { letters.letter(place).await })
        });
        let again = again.unwrap();
        assert!(again.place == place && is_same(&again.record, &letter(n)), "{again:?}");
    }
}

fn what_does_not_lie_there_is_not_found<K>(desk: &Desk<K>) {
    assert!(all(&desk.letters).is_empty());
    block_on(desk.sink.bury(vec![letter(1)])).unwrap();
    let places = [(0, 1_000_000_000), (0, u64::MAX), (999, 0), (u32::MAX, 0)];
    for (partition, offset) in places {
        let found = ask(|| {
            let letters = Arc::clone(&desk.letters);
            Box::pin(async move { letters.letter(DeadPlace { partition, offset }).await })
        });
        assert!(found.is_none(), "{found:?}");
    }
}

fn a_sink_that_loses_replies_loses_no_letter<K>(desk: &Desk<K>) {
    let plan = |call| [Some(Fault::After), Some(Fault::Before), None][call as usize % 3];
    let sink = Flaky::new(Arc::clone(&desk.sink), plan);
    for n in 0..20 {
        while block_on(sink.bury(vec![letter(n)])).is_err() {}
    }
    let letters: Arc<dyn DeadLetters> = Arc::new(Flaky::new(Arc::clone(&desk.letters), plan));
    let found = all(&letters);
    assert_eq!(found.len(), 20);
    for n in 0..20 {
        let told = &found[&letter(n).origin];
        assert!(told.len() == 2 && told.iter().all(|told| is_same(&told.record, &letter(n))), "{told:?}");
    }
}

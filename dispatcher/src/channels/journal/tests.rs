//! What is found after a kill, what a process leaves when it ends, files that are damaged, and disks that fail.

use std::path::Path;

use pushgate_protocol::ids::{AppId, UserId};

use super::*;
use crate::seams::{DeliveryKey, Mark, UserKey};

fn delivery(n: usize) -> MarkQuery {
    let user = UserKey { app: AppId::parse("shop").unwrap(), user: UserId::parse(&format!("u{n}@b.example")).unwrap() };
    MarkQuery { user, key: DeliveryKey::of_user(&format!("m{n}"), "email") }
}

fn journal(folder: &Path, name: u64) -> Arc<Journal> {
    Journal::new(folder.to_owned(), name, Counter::default())
}

/// The recipients of all that was left, by file, and the marks that they are to get.
fn left(journal: &Journal) -> Vec<Vec<(String, Mark)>> {
    let read =
        |mut left: Left| left.read().into_iter().map(|(noted, mark)| (noted.user.user.to_string(), mark)).collect();
    journal.left().into_iter().map(read).collect()
}

fn taken(n: usize) -> (String, Mark) {
    (format!("u{n}@b.example"), Mark::Delivered)
}

fn unknown(n: usize) -> (String, Mark) {
    (format!("u{n}@b.example"), Mark::Unknown)
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, |entries| entries.count())
}

#[test]
fn what_a_process_noted_is_found_when_it_is_gone_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let first = journal(folder.path(), 1);
    let noted: Vec<_> = (0..3).map(|n| first.taken(&delivery(n), None)).collect();
    assert_eq!(noted, [0, 1, 2].map(|place| Some(Noted(place))));
    first.marked(Noted(0));
    let second = journal(folder.path(), 2);
    assert!(second.left().is_empty(), "it lives");
    drop(first);
    assert_eq!(left(&second), [[taken(0), taken(1), taken(2)]]);
    second.left().into_iter().for_each(|left| drop(left.remove()));
    assert_eq!(files(folder.path()), 0);
}

#[test]
fn what_was_handed_over_may_have_been_sent_until_it_is_known_to_be_taken_or_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let killed = journal(folder.path(), 1);
    let noted: Vec<_> = (0..3).map(|n| killed.handed_over(&delivery(n))).collect();
    assert_eq!(killed.taken(&delivery(1), noted[1]), noted[1], "in the same place");
    killed.given_back(noted[2].unwrap());
    drop(killed);
    assert_eq!(left(&journal(folder.path(), 2)), [[unknown(0), taken(1)]]);
}

#[test]
fn a_place_is_used_again_once_it_is_not_needed_and_one_that_is_needed_for_long_keeps_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path(), 1);
    assert_eq!(journal.handed_over(&delivery(0)), Some(Noted(0)));
    for n in 1..2_000 {
        let noted = journal.handed_over(&delivery(n)).unwrap();
        assert_eq!(noted, Noted(1), "{n}");
        if n % 2 == 0 {
            journal.given_back(noted);
        } else {
            journal.taken(&delivery(n), Some(noted));
            journal.marked(noted);
        }
    }
    let size = fs::metadata(journal.path()).unwrap().len();
    assert!(size <= record::offset(2), "{size}");
    drop(journal);
    // What was marked last may still stand there.
    assert_eq!(left(&self::journal(folder.path(), 2)), [[unknown(0), taken(1_999)]]);
}

#[test]
fn a_journal_has_a_largest_size_and_goes_on_when_marks_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let unnoted = Counter::default();
    let journal = Journal::with_places(100, folder.path().to_owned(), 1, unnoted.clone());
    assert_eq!((0..).take_while(|n| journal.taken(&delivery(*n), None).is_some()).count(), 100);
    assert!(fs::metadata(journal.path()).unwrap().len() <= record::offset(100));
    assert_eq!(unnoted.get(), 1);
    journal.marked(Noted(7));
    assert_eq!(journal.handed_over(&delivery(1)), Some(Noted(7)));
    assert_eq!(journal.handed_over(&delivery(2)), None);
}

#[test]
fn a_journal_of_which_all_is_marked_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path(), 1);
    journal.close();
    assert_eq!(files(folder.path()), 0, "nothing is made before something is noted");
    journal.taken(&delivery(1), None);
    let second = journal.handed_over(&delivery(2)).unwrap();
    journal.given_back(second);
    journal.close();
    assert_eq!(files(folder.path()), 1, "it is not marked");
    journal.marked(Noted(0));
    journal.close();
    assert_eq!(files(folder.path()), 0);
    assert_eq!(journal.handed_over(&delivery(3)), Some(Noted(0)), "what comes late has a file of its own");
}

#[test]
fn a_folder_that_cannot_be_used_stops_nothing_and_is_used_when_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken");
    fs::write(&path, "a file").unwrap();
    let unnoted = Counter::default();
    let journal = Journal::new(path.clone(), 1, unnoted.clone());
    assert!(journal.left().is_empty());
    assert_eq!((journal.taken(&delivery(1), None), journal.handed_over(&delivery(2)), unnoted.get()), (None, None, 2));
    fs::remove_file(&path).unwrap();
    assert_eq!(journal.taken(&delivery(3), None), Some(Noted(0)));
}

#[test]
fn what_is_damaged_is_passed_over_and_what_is_of_another_form_stays() {
    let folder = tempfile::tempdir().unwrap();
    let killed = journal(folder.path(), 1);
    (0..3).for_each(|n| assert!(killed.taken(&delivery(n), None).is_some()));
    let mut bytes = fs::read(killed.path()).unwrap();
    let own = killed.path();
    drop(killed);
    fs::remove_file(own).unwrap();
    bytes[record::offset(1) as usize + 12] ^= 1;
    let torn = bytes.len() - 5;
    let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    put("a.taken", &bytes);
    put("b.taken", &bytes[..torn]);
    put("c.taken", b"pushgate taken 3 and more");
    put("d.taken", &record::HEAD[..4]);
    put("e.other", &bytes);
    put("f.taken", record::FIRST);
    let journal = journal(folder.path(), 1);
    assert_eq!(left(&journal), [vec![taken(0), taken(2)], vec![taken(0)], vec![], vec![], vec![]]);
    journal.left().into_iter().for_each(|left| drop(left.remove()));
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["c.taken", "e.other"]);
}

#[test]
fn a_file_that_cannot_be_read_stays() {
    let folder = tempfile::tempdir().unwrap();
    // It can be opened and locked, and no descriptor of it reads.
    let path = folder.path().join(format!("0.{ENDING}"));
    fs::write(&path, record::HEAD).unwrap();
    let mut unread = Left::of(path.clone(), OpenOptions::new().write(true).open(&path).unwrap());
    assert!(unread.read().is_empty());
    drop(unread.remove());
    assert_eq!(files(folder.path()), 1);
    journal(folder.path(), 1).left().into_iter().for_each(|left| drop(left.remove()));
    assert_eq!(files(folder.path()), 0);
}

/// Prints how long a note takes: `cargo test -p pushgate-dispatcher --lib -- --ignored --nocapture what_a_note_costs`.
#[test]
#[ignore = "a measurement"]
fn what_a_note_costs() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, delivery) = (journal(folder.path(), 1), delivery(1));
    let told = |what: &str, notes: u32, note: &dyn Fn()| {
        let mut runs: Vec<u128> = (0..11)
            .map(|_| {
                let since = std::time::Instant::now();
                (0..notes).for_each(|_| note());
                since.elapsed().as_nanos() / u128::from(notes)
            })
            .collect();
        runs.sort_unstable();
        println!("{what}: {} ns, {} to {} in {} runs", runs[5], runs[0], runs[10], runs.len());
    };
    told("taken and marked", 20_000, &|| {
        journal.taken(&delivery, None).into_iter().for_each(|noted| journal.marked(noted))
    });
    told("handed over, taken and marked", 20_000, &|| {
        let noted = journal.handed_over(&delivery);
        journal.taken(&delivery, noted).into_iter().for_each(|noted| journal.marked(noted));
    });
}

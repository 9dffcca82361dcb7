//! Journals that live, that were left, that are damaged, and disks that fail.

use std::path::Path;

use pushgate_protocol::ids::{AppId, UserId};

use super::*;
use crate::seams::{DeliveryKey, UserKey};

fn delivery(n: usize) -> MarkQuery {
    let user = UserKey { app: AppId::parse("shop").unwrap(), user: UserId::parse(&format!("u{n}@b.example")).unwrap() };
    MarkQuery { user, key: DeliveryKey::of_user(&format!("m{n}"), "email") }
}

fn journal(folder: &Path, name: u64) -> Arc<Journal> {
    Journal::new(folder.to_owned(), name, Counter::default())
}

/// The recipients of all that was left, by file.
fn left(journal: &Journal) -> Vec<Vec<String>> {
    let read = |mut left: Left| left.read().into_iter().map(|taken| taken.user.user.to_string()).collect();
    journal.left().into_iter().map(read).collect()
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, |entries| entries.count())
}

/// Notes deliveries until the part that is written is another one; how many.
fn fill(journal: &Journal, part: u8) -> usize {
    (0..).take_while(|n| journal.note(&delivery(*n)) == Some(Noted(part))).count()
}

#[test]
fn what_a_process_noted_is_found_when_it_is_gone_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let first = journal(folder.path(), 1);
    assert_eq!((0..3).map(|n| first.note(&delivery(n))).collect::<Vec<_>>(), [Some(Noted(0)); 3]);
    first.marked(Noted(0));
    let second = journal(folder.path(), 2);
    assert!(second.left().is_empty(), "it lives");
    drop(first);
    assert_eq!(left(&second), [["u0@b.example", "u1@b.example", "u2@b.example"]]);
    second.left().into_iter().for_each(Left::remove);
    assert_eq!(files(folder.path()), 0);
}

#[test]
fn a_part_is_emptied_once_all_that_stands_in_it_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path(), 1);
    let first = fill(&journal, 0);
    assert!(first > 1_000);
    // The one that went into the other part is the first there.
    let mut second = 1;
    for _ in 0..2 * first {
        assert_eq!(journal.note(&delivery(second)), Some(Noted(1)), "the first is not marked");
        second += 1;
    }
    (0..first - 1).for_each(|_| journal.marked(Noted(0)));
    assert_eq!(journal.note(&delivery(0)), Some(Noted(1)));
    journal.marked(Noted(0));
    assert_eq!(journal.note(&delivery(7)), Some(Noted(0)));
    drop(journal);
    let found = left(&self::journal(folder.path(), 2));
    assert_eq!((found[0].as_slice(), found[1].len()), (["u7@b.example".to_owned()].as_slice(), second + 1));
}

#[test]
fn a_journal_has_a_largest_size_and_goes_on_when_marks_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let unnoted = Counter::default();
    let journal = Journal::new(folder.path().to_owned(), 1, unnoted.clone());
    let first = fill(&journal, 0);
    let second = (0..).take_while(|n| journal.note(&delivery(*n)).is_some()).count();
    let size = fs::metadata(folder.path().join(format!("{:016x}-1.{ENDING}", 1))).unwrap().len();
    assert!(size <= limits::JOURNAL_PART_BYTES_MAX && size > limits::JOURNAL_PART_BYTES_MAX - 1_000, "{size} {second}");
    assert_eq!(unnoted.get(), 1);
    (0..first).for_each(|_| journal.marked(Noted(0)));
    assert_eq!(journal.note(&delivery(1)), Some(Noted(0)));
}

#[test]
fn a_journal_of_which_all_is_marked_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path(), 1);
    journal.close();
    assert_eq!(files(folder.path()), 0, "nothing is made before something is noted");
    journal.note(&delivery(1));
    journal.close();
    assert_eq!(files(folder.path()), 1, "it is not marked");
    journal.marked(Noted(0));
    journal.close();
    assert_eq!(files(folder.path()), 0);
}

#[test]
fn a_folder_that_cannot_be_used_stops_nothing_and_is_used_when_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken");
    fs::write(&path, "a file").unwrap();
    let unnoted = Counter::default();
    let journal = Journal::new(path.clone(), 1, unnoted.clone());
    assert!(journal.left().is_empty());
    assert_eq!((journal.note(&delivery(1)), journal.note(&delivery(2)), unnoted.get()), (None, None, 2));
    fs::remove_file(&path).unwrap();
    assert_eq!(journal.note(&delivery(3)), Some(Noted(0)));
}

#[test]
fn what_is_damaged_is_passed_over_and_what_is_of_another_form_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = record::HEAD.to_vec();
    (0..3).for_each(|n| record::write(&delivery(n), &mut bytes));
    let third = (bytes.len() - record::HEAD.len()) / 3;
    bytes[record::HEAD.len() + third + 12] ^= 1;
    let torn = bytes.len() - 5;
    let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    put("a.taken", &bytes);
    put("b.taken", &bytes[..torn]);
    put("c.taken", b"pushgate taken 2 and more");
    put("d.taken", &record::HEAD[..4]);
    put("e.other", &bytes);
    let journal = journal(folder.path(), 1);
    assert_eq!(left(&journal), [vec!["u0@b.example", "u2@b.example"], vec!["u0@b.example"], vec![], vec![]]);
    journal.left().into_iter().for_each(Left::remove);
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
    unread.remove();
    assert_eq!(files(folder.path()), 1);
    journal(folder.path(), 1).left().into_iter().for_each(Left::remove);
    assert_eq!(files(folder.path()), 0);
}

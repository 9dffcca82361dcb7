//! Files as they are written, cut short, damaged, and of before.

use proptest::prelude::*;

use super::*;

fn delivery(n: usize) -> MarkQuery {
    let user =
        UserKey { app: AppId::parse("shop").unwrap(), user: UserId::parse(&format!("u{n}@ü.example")).unwrap() };
    MarkQuery { user, key: DeliveryKey::of_user(&format!("m{n}"), "email") }
}

fn names(page: &Page) -> Vec<(String, Mark)> {
    page.noted.iter().map(|(delivery, mark)| (delivery.user.user.to_string(), *mark)).collect()
}

fn named(n: usize, mark: Mark) -> (String, Mark) {
    (delivery(n).user.user.to_string(), mark)
}

/// A file in whose places such records stand, and where each ends.
fn file(kinds: &[Kind]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends) = (HEAD.to_vec(), Vec::new());
    for (n, kind) in kinds.iter().enumerate() {
        bytes.resize(offset(n as u32) as usize, 0);
        write(*kind, &delivery(n), &mut bytes);
        ends.push(bytes.len());
    }
    (bytes, ends)
}

/// A file of before with so many records, and where each begins.
fn first(records: usize) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut begins) = (FIRST.to_vec(), Vec::new());
    for n in 0..records {
        begins.push(bytes.len());
        write_behind(&delivery(n), &mut bytes);
    }
    (bytes, begins)
}

#[test]
fn what_was_handed_over_and_taken_is_read_and_what_was_given_back_is_not() {
    let (mut bytes, ends) = file(&[Kind::HandedOver, Kind::Taken, Kind::GivenBack, Kind::HandedOver]);
    let page = read(&bytes);
    assert_eq!((page.damaged, page.torn, page.foreign), (0, 0, false));
    assert_eq!(names(&page), [named(0, Mark::Unknown), named(1, Mark::Delivered), named(3, Mark::Unknown)]);
    assert_eq!(page.noted[2].0.key, delivery(3).key);
    // One byte says what became of it.
    bytes[offset(0) as usize] = Kind::GivenBack as u8;
    bytes[offset(3) as usize] = Kind::Taken as u8;
    assert_eq!(names(&read(&bytes)), [named(1, Mark::Delivered), named(3, Mark::Delivered)]);
    for cut in 0..bytes.len() {
        let page = read(&bytes[..cut]);
        let whole = [ends[1], ends[3]].iter().filter(|end| **end <= cut).count();
        assert_eq!((page.noted.len(), page.damaged, page.foreign), (whole, 0, false), "cut at {cut}");
    }
}

#[test]
fn a_damaged_record_is_passed_over_and_the_longest_has_room() {
    let (bytes, ends) = file(&[Kind::Taken; 3]);
    for at in offset(1) as usize..ends[1] {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x20;
        let page = read(&bytes);
        assert_eq!(names(&page), [named(0, Mark::Delivered), named(2, Mark::Delivered)], "{at}");
        assert_eq!(page.damaged, 1, "{at}");
    }
    assert!(read(b"something else altogether").foreign && !read(b"").foreign);
    let user = UserKey { app: AppId::parse(&"a".repeat(64)).unwrap(), user: UserId::parse(&"u".repeat(255)).unwrap() };
    let mut longest = Vec::new();
    write(Kind::Taken, &MarkQuery { user, key: DeliveryKey([7; 16]) }, &mut longest);
    assert_eq!(longest.len(), JOURNAL_RECORD_BYTES_MAX);
    let place = [HEAD.to_vec(), vec![0; JOURNAL_PLACE_BYTES - HEAD.len()], longest].concat();
    assert_eq!(read(&place).noted.len(), 1);
}

#[test]
fn a_file_of_before_is_read_wherever_it_is_cut_or_damaged() {
    let (bytes, begins) = first(3);
    assert_eq!(names(&read(&bytes)), [0, 1, 2].map(|n| named(n, Mark::Delivered)));
    for cut in 0..bytes.len() {
        let page = read(&bytes[..cut]);
        let whole = begins.iter().skip(1).chain([&bytes.len()]).filter(|end| **end <= cut).count();
        assert_eq!((page.noted.len(), page.damaged, page.foreign), (whole, 0, false), "cut at {cut}");
    }
    for at in begins[1] + 2..begins[2] {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x20;
        let page = read(&bytes);
        assert_eq!((names(&page).len(), page.damaged), (2, 1), "{at}");
    }
    let mut lengthless = bytes.clone();
    lengthless[begins[1]..].fill(0);
    let page = read(&lengthless);
    assert_eq!((page.noted.len(), page.damaged), (1, 1));
}

proptest! {
    /// Whatever stands in a file: it is read to its end, and only what was written is found.
    #[test]
    fn bytes_of_any_kind_are_read_without_harm(
        noise in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..2_000, of_before in any::<bool>()
    ) {
        let mut bytes = if of_before { first(4).0 } else { file(&[Kind::HandedOver; 4]).0 };
        for (n, byte) in noise.iter().enumerate() {
            if let Some(of_file) = bytes.get_mut(HEAD.len() + at + n) {
                *of_file = *byte;
            }
        }
        let page = read(&bytes);
        let written: Vec<_> = (0..4).map(|n| delivery(n).key).collect();
        prop_assert!(page.noted.len() <= 4 && page.noted.iter().all(|(noted, _)| written.contains(&noted.key)));
    }
}

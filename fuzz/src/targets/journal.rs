//! A journal of what was handed to providers: whatever a disk gives back, it is read to its end, and nothing is found but what was written.

use pushgate_dispatcher::{
    channels::journal::record::{self, Kind, Page},
    seams::{DeliveryKey, Mark, MarkQuery, UserKey},
};
use pushgate_protocol::ids::{AppId, UserId};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "journal",
    run,
    words: &[
        record::HEAD,
        record::FIRST,
        b"t\x1a\0",
        b"h\x1a\0",
        b"shop",
        b"ann@example.org",
        b"+8613800138000",
        b"\0",
        b"\n",
        b"\x1a\0",
        b"\x04shop\x01u",
    ],
    modules: &["dispatcher/src/channels/journal/record.rs"],
    input_bytes_max: 2048,
    heap_bytes_max: 1 << 20,
};

/// The first byte says what the rest is: a file, or names that are written to one, which is then changed.
fn run(input: &[u8]) {
    let Some((&mode, rest)) = input.split_first() else { return };
    if mode % 2 == 0 {
        let page = record::read(rest);
        assert_eq!(found_again(&page, rest), page.noted.len(), "what is read was written so");
        return;
    }
    let kinds = [Kind::HandedOver, Kind::Taken, Kind::GivenBack];
    let written: Vec<_> =
        rest.split(|byte| *byte == b'\n').filter_map(delivery).zip(kinds.into_iter().cycle()).collect();
    let mut file = record::HEAD.to_vec();
    for (place, (delivery, kind)) in (0..).zip(&written) {
        file.resize(record::offset(place) as usize, 0);
        record::write(*kind, delivery, &mut file);
    }
    let to_mark = written.iter().filter(|(_, kind)| *kind != Kind::GivenBack).count();
    let page = record::read(&file);
    assert_eq!((page.noted.len(), page.damaged, page.torn, page.foreign), (to_mark, 0, 0, false));
    let cut = file.len() * usize::from(mode) / 256;
    let page = record::read(&file[..cut]);
    assert!(page.noted.len() <= to_mark && page.damaged == 0, "what is cut short is not damaged");
    assert_eq!(found_again(&page, &file), page.noted.len());
    file[cut] ^= 1 << (mode % 8);
    let page = record::read(&file);
    let has = |one: &MarkQuery| written.iter().any(|(other, _)| (&other.user, other.key) == (&one.user, one.key));
    assert!(page.noted.len() <= to_mark && page.noted.iter().all(|(one, _)| has(one)));
}

fn delivery(line: &[u8]) -> Option<MarkQuery> {
    let (app, user) = std::str::from_utf8(line).ok()?.split_once('\0')?;
    let user = UserKey { app: AppId::parse(app).ok()?, user: UserId::parse(user).ok()? };
    Some(MarkQuery { key: DeliveryKey::of_user(user.user.as_str(), "email"), user })
}

/// How many of those that are to be marked stand in the file as they would be written, whatever is known of them.
fn found_again(page: &Page, file: &[u8]) -> usize {
    let stands = |(delivery, _): &&(MarkQuery, Mark)| {
        let mut bytes = Vec::new();
        record::write(Kind::Taken, delivery, &mut bytes);
        file.windows(bytes.len() - 1).any(|window| window == &bytes[1..])
    };
    page.noted.iter().filter(stands).count()
}

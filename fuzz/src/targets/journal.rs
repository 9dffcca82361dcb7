//! A journal of what providers took: whatever a disk gives back, it is read to its end, and nothing is found but what was written.

use pushgate_dispatcher::{
    channels::journal::record,
    seams::{DeliveryKey, MarkQuery, UserKey},
};
use pushgate_protocol::ids::{AppId, UserId};

use super::Target;

pub(super) const TARGET: Target = Target {
    name: "journal",
    run,
    words: &[record::HEAD, b"shop", b"ann@example.org", b"+8613800138000", b"\0", b"\n", b"\x1a\0", b"\x04shop\x01u"],
    modules: &["dispatcher/src/channels/journal/record.rs"],
    input_bytes_max: 2048,
    heap_bytes_max: 1 << 20,
};

/// The first byte says what the rest is: a file, or names that are written to one, which is then changed.
fn run(input: &[u8]) {
    let Some((&mode, rest)) = input.split_first() else { return };
    if mode % 2 == 0 {
        let page = record::read(rest);
        assert_eq!(found_again(&page.taken, rest), page.taken.len(), "what is read was written so");
        return;
    }
    let written: Vec<MarkQuery> = rest.split(|byte| *byte == b'\n').filter_map(delivery).collect();
    let mut file = record::HEAD.to_vec();
    written.iter().for_each(|delivery| record::write(delivery, &mut file));
    let page = record::read(&file);
    assert_eq!((page.taken.len(), page.damaged, page.torn, page.foreign), (written.len(), 0, 0, false));
    let cut = file.len() * usize::from(mode) / 256;
    let page = record::read(&file[..cut]);
    assert!(page.taken.len() <= written.len() && page.damaged == 0, "what is cut short is not damaged");
    assert_eq!(found_again(&page.taken, &file), page.taken.len());
    file[cut] ^= 1 << (mode % 8);
    let page = record::read(&file);
    assert!(page.taken.len() <= written.len() && page.taken.iter().all(|one| has(&written, one)));
}

fn delivery(line: &[u8]) -> Option<MarkQuery> {
    let (app, user) = std::str::from_utf8(line).ok()?.split_once('\0')?;
    let user = UserKey { app: AppId::parse(app).ok()?, user: UserId::parse(user).ok()? };
    Some(MarkQuery { key: DeliveryKey::of_user(user.user.as_str(), "email"), user })
}

fn has(all: &[MarkQuery], one: &MarkQuery) -> bool {
    all.iter().any(|other| (&other.user, other.key) == (&one.user, one.key))
}

/// How many of these stand in the file as they would be written.
fn found_again(taken: &[MarkQuery], file: &[u8]) -> usize {
    let stands = |delivery: &&MarkQuery| {
        let mut bytes = Vec::new();
        record::write(delivery, &mut bytes);
        file.windows(bytes.len()).any(|window| window == bytes)
    };
    taken.iter().filter(stands).count()
}

//! Revocations: what is remembered, for how long, and who is refused.

use super::*;

const NOW_MS: u64 = 1_000_000;

fn shop() -> AppId {
    AppId::parse("shop").unwrap()
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn of_user(name: &str, before_ms: u64) -> Revocation {
    let until_ms = NOW_MS + 500;
    Revocation { app: shop(), user: Some(user(name)), device: None, jti: None, before_ms: Some(before_ms), until_ms }
}

fn of_token(jti: &str) -> Revocation {
    Revocation { user: None, jti: Some(jti.into()), before_ms: None, ..of_user("any", 0) }
}

fn of_device(name: &str, device: &str, before_ms: u64) -> Revocation {
    Revocation { device: DeviceId::parse(device).ok(), ..of_user(name, before_ms) }
}

fn shows(user: &str, token: TokenMark) -> Bearer<'_> {
    Bearer { app: "shop", user, device: None, token }
}

fn issued(issued_s: u32) -> TokenMark {
    TokenMark { issued_s, id: 0 }
}

fn with_id(jti: &str) -> TokenMark {
    TokenMark { issued_s: u32::MAX, id: TokenMark::id_of(jti) }
}

#[test]
fn a_users_tokens_issued_before_are_revoked_and_later_ones_are_not() {
    let table = Revocations::default();
    let revoked = |name: &str, s| table.is_revoked(shows(name, issued(s)), NOW_MS);
    assert!(!revoked("alice", 1));
    table.add(of_user("alice", 50_001), NOW_MS).unwrap();
    assert!(revoked("alice", 50), "in the second of the revocation");
    assert!(revoked("alice", 0), "it does not say when");
    assert!(!revoked("alice", 51) && !revoked("bob", 50));
    assert!(!table.is_revoked(Bearer { app: "bank", ..shows("alice", issued(1)) }, NOW_MS));
}

#[test]
fn a_token_is_revoked_by_its_id_alone() {
    let table = Revocations::default();
    table.add(of_token("t1"), NOW_MS).unwrap();
    let revoked = |name: &str, mark| table.is_revoked(shows(name, mark), NOW_MS);
    assert!(revoked("alice", with_id("t1")) && revoked("bob", with_id("t1")));
    assert!(!revoked("alice", with_id("t2")) && !revoked("alice", issued(0)));
    table.add(Revocation { user: Some(user("bob")), ..of_token("t2") }, NOW_MS).unwrap();
    assert!(!revoked("alice", with_id("t2")) && revoked("bob", with_id("t2")));
}

#[test]
fn a_device_is_revoked_and_the_users_others_stand() {
    let table = Revocations::default();
    table.add(of_device("alice", "phone", 50_000), NOW_MS).unwrap();
    let revoked = |name, device, s| table.is_revoked(Bearer { device: Some(device), ..shows(name, issued(s)) }, NOW_MS);
    assert!(revoked("alice", "phone", 49));
    assert!(!revoked("alice", "phone", 50) && !revoked("alice", "laptop", 49) && !revoked("bob", "phone", 49));
    assert!(!table.is_revoked(shows("alice", issued(49)), NOW_MS), "it names no device");
    table.add(of_user("alice", 20_000), NOW_MS).unwrap();
    assert!(revoked("alice", "laptop", 19) && revoked("alice", "phone", 49), "each holds for itself");
    assert_eq!((table.len(), table.list(NOW_MS).len()), (2, 2));
}

#[test]
fn all_of_an_app_are_revoked_without_a_user() {
    let table = Revocations::default();
    table.add(Revocation { user: None, ..of_user("any", 50_000) }, NOW_MS).unwrap();
    assert!(table.is_revoked(shows("alice", issued(49)), NOW_MS));
    assert!(!table.is_revoked(shows("alice", issued(50)), NOW_MS));
}

#[test]
fn a_revocation_ends_and_a_second_one_never_shortens_it() {
    let table = Revocations::default();
    table.add(of_user("alice", 50_000), NOW_MS).unwrap();
    let weaker = Revocation { until_ms: NOW_MS + 1, ..of_user("alice", 7_000) };
    assert_eq!(table.add(weaker, NOW_MS), Ok(of_user("alice", 50_000)));
    assert!(table.is_revoked(shows("alice", issued(49)), NOW_MS + 499));
    assert!(!table.is_revoked(shows("alice", issued(49)), NOW_MS + 500));
    assert_eq!((table.list(NOW_MS).len(), table.list(NOW_MS + 500).len(), table.version()), (1, 0, 2));
}

#[test]
fn a_full_table_takes_no_more_until_some_end() {
    let table = Revocations::default();
    for n in 0..REVOCATIONS_MAX {
        table.add(of_user(&n.to_string(), 1_000), NOW_MS).unwrap();
    }
    assert_eq!(table.add(of_user("more", 1_000), NOW_MS), Err(Full));
    assert!(table.add(of_user("7", 2_000), NOW_MS).is_ok(), "one that is known is changed");
    assert_eq!(table.len(), REVOCATIONS_MAX);
    assert_eq!(table.add(of_device("7", "phone", 1_000), NOW_MS), Err(Full), "a known user's device is another");
    let later = Revocation { until_ms: NOW_MS + 9_000, ..of_user("more", 1_000) };
    assert!(table.add(later, NOW_MS + 500).is_ok());
    assert_eq!(table.len(), 1);
}

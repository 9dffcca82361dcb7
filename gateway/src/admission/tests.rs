//! Who is let in, and that what ends is not counted any more.

use super::*;

fn admission(change: impl FnOnce(&mut GatewayLimits)) -> Arc<Admission> {
    let mut limits = GatewayLimits::default();
    change(&mut limits);
    Admission::new(&limits, 7, Clock::start(), 2)
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn an_address_has_as_many_connections_as_it_may_and_others_theirs() {
    let admission = admission(|l| l.connections_per_ip_max = 2);
    let enter = |ip: &str| {
        let mut permit = admission.uncounted();
        permit.count_address(address(ip)).map(|()| permit)
    };
    let first = enter("203.0.113.9").unwrap();
    let ticket = enter("::ffff:203.0.113.9").unwrap().keep();
    assert_eq!(enter("203.0.113.9").unwrap_err(), Limit::AddressConnections);
    let _other = enter("203.0.113.10").unwrap();
    drop(first);
    let _again = enter("203.0.113.9").unwrap();
    assert!(enter("203.0.113.9").is_err(), "what was kept counts until it leaves");
    admission.leave(ShardId(0), ticket, None);
    assert!(enter("203.0.113.9").is_ok());
}

#[test]
fn an_ipv6_address_counts_with_its_network() {
    let admission = admission(|l| l.connections_per_ip_max = 1);
    let mut permits: Vec<Permit> = (0..3).map(|_| admission.uncounted()).collect();
    assert_eq!(permits[0].count_address(address("2001:db8:0:1::1")), Ok(()));
    assert_eq!(permits[1].count_address(address("2001:db8:0:1:ffff::2")), Err(Limit::AddressConnections));
    assert_eq!(permits[2].count_address(address("2001:db8:0:2::1")), Ok(()));
}

#[test]
fn an_app_has_as_many_sessions_as_it_may_on_all_shards_together() {
    let admission = admission(|l| l.connections_per_app_max = 2);
    let (shop, chat) = (AppId::parse("shop").unwrap(), AppId::parse("chat").unwrap());
    let enter = |app: &AppId, shard| {
        let mut permit = admission.uncounted();
        permit.count_app(app, ShardId(shard)).map(|()| permit)
    };
    let _first = enter(&shop, 0).unwrap();
    enter(&shop, 1).unwrap().keep();
    assert_eq!(enter(&shop, 0).unwrap_err(), Limit::AppConnections);
    assert!(enter(&chat, 0).is_ok());
    admission.leave(ShardId(1), 0, Some(&shop));
    assert!(enter(&shop, 0).is_ok());
}

#[test]
fn an_address_that_connects_too_fast_waits_for_its_next_turn() {
    let rates = Rates::new(10);
    let (fast, calm) = (addresses::ticket(1, address("203.0.113.9")), addresses::ticket(1, address("203.0.113.10")));
    assert_eq!((0..50).filter(|_| rates.take(fast, 1_000)).count(), 10);
    assert!(rates.take(calm, 1_000));
    assert!(!rates.take(fast, 1_099));
    assert!(rates.take(fast, 1_100) && !rates.take(fast, 1_100));
    assert_eq!((0..50).filter(|_| rates.take(fast, 60_000)).count(), 10, "no more than a burst is saved up");
}

#[test]
fn a_shard_accepts_a_burst_and_then_evenly() {
    let pace = Pace::new(100);
    assert_eq!((0..500).filter(|_| pace.take(5_000).is_ok()).count(), 100);
    assert_eq!(pace.take(5_000), Err(10));
    assert_eq!(pace.take(5_010), Ok(()));
    assert!((0..100_000).all(|_| Pace::default().take(0).is_ok()), "without a rate there is no limit");
}

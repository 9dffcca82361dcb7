//! A simulation as a whole: nobody is lost, bounds hold, one seed is one result, and the book tells what the program does.

use std::path::Path;

use proptest::prelude::*;
use pushgate_protocol::{
    ids::NodeId,
    ring::{Member, Routing},
};

use super::{
    node::saved_max,
    outcome::Outcome,
    plan::{Clients, Event, Gateways, GoTo, NodeGroup, Pick, Plan, Pushes, What},
    world::World,
    *,
};

const USERS: u64 = 200_000;

fn group(name: &str, count: u32) -> NodeGroup {
    NodeGroup { name: name.to_owned(), count, weight: 1, shards: 2, zones: 3.min(count) }
}

fn plan(go_to: GoTo, events: Vec<(u64, What)>) -> Plan {
    Plan {
        name: "test".to_owned(),
        seed: 5,
        duration_ms: 120_000,
        users: USERS,
        online: USERS,
        nodes: vec![group("gateway", 10)],
        clients: Clients { go_to, ..Clients::default() },
        gateways: Gateways::default(),
        notice_ms: 3_000,
        pushes: Pushes { per_s: 1_000.0, bytes: 300, ttl_ms: 3_600_000 },
        events: events.into_iter().map(|(at_s, what)| Event { at_ms: at_s * 1_000, what }).collect(),
    }
}

fn dies(count: u32) -> What {
    What::Dies { who: Pick::Count(count), silent: false, back_ms: None }
}

/// Goes through a plan and looks at every tick.
fn checked(plan: &Plan) -> Outcome {
    let mut world = World::new(plan);
    for _ in 0..plan.duration_ms / TICK_MS {
        world.pass();
        let [connected, queued, directed, waiting] = world.places();
        let sample_away = world.streams.away();
        assert_eq!(connected + queued + directed + waiting, plan.online, "tick {}", world.tick);
        assert_eq!(queued + directed + waiting, sample_away, "tick {}", world.tick);
        for node in &world.nodes {
            assert!(node.elsewhere.values().sum::<u64>() <= node.sessions, "{}", node.id);
        }
    }
    // The first second after a lull has what was saved up besides.
    let saved = plan.nodes.iter().map(|group| saved_max(group.shards, plan.gateways.handshakes_per_s)).max();
    let most = plan.node_bound_per_s() + saved.unwrap_or_default() / 1_000;
    run(plan, &mut |sample| assert!(sample.reconnects_node_max <= most, "{most}: {sample:?}"))
}

fn events() -> impl Strategy<Value = Vec<(u64, What)>> {
    let who = prop_oneof![
        (1..4_u32).prop_map(Pick::Count),
        (0.0..0.6).prop_map(Pick::Share),
        (1..4_u32).prop_map(Pick::Zone),
        Just(Pick::Node(NodeId::parse("gateway-3").unwrap())),
    ];
    let back = prop::option::of(100..20_000_u64);
    let what =
        prop_oneof![
            (who.clone(), any::<bool>(), back.clone()).prop_map(|(who, silent, back_ms)| What::Dies {
                who,
                silent,
                back_ms
            }),
            (who.clone(), back).prop_map(|(who, back_ms)| What::Drains { who, back_ms }),
            (1..4_u32, any::<u32>()).prop_map(|(count, name)| What::Joins(group(&format!("joined-{name}"), count))),
            (who, 1..4_u32, 100..5_000_u64, 0..3_000_u64)
                .prop_map(|(who, together, down_ms, pause_ms)| What::Restarts { who, together, down_ms, pause_ms }),
        ];
    prop::collection::vec((0..60_u64, what), 0..5).prop_map(|mut events| {
        events.sort_by_key(|(at_s, _)| *at_s);
        events
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn nobody_is_lost_and_no_gateway_lets_in_more_than_its_bound(
        events in events(),
        owner in any::<bool>(),
        handshakes_per_s in prop_oneof![1..50_u32, 500..2_000_u32],
        session_ms in prop_oneof![Just(0), 5_000..600_000_u64],
        seed in any::<u64>(),
    ) {
        let mut plan = plan(if owner { GoTo::Owner } else { GoTo::Any }, events);
        (plan.seed, plan.duration_ms, plan.gateways.handshakes_per_s) = (seed, 70_000, handshakes_per_s);
        plan.clients.session_ms = session_ms;
        checked(&plan);
    }
}

#[test]
fn a_pace_of_one_a_second_lets_in_what_was_saved_up_besides() {
    let mut plan = plan(GoTo::Owner, vec![(1, dies(3))]);
    (plan.duration_ms, plan.gateways.handshakes_per_s) = (20_000, 1);
    let outcome = checked(&plan);
    let most = outcome.samples.iter().map(|sample| sample.reconnects_node_max).max();
    assert!(most > Some(plan.node_bound_per_s()), "{most:?}: the bound is met and the saved ones are seen");
}

#[test]
fn a_seed_is_one_result() {
    let mut plan = plan(GoTo::Owner, vec![(10, dies(3)), (40, What::Joins(group("joined", 2)))]);
    plan.clients.session_ms = 60_000;
    let first = run(&plan, &mut |_| {});
    assert_eq!(first, run(&plan, &mut |_| {}));
    plan.seed += 1;
    assert_ne!(first.samples, run(&plan, &mut |_| {}).samples);
}

#[test]
fn a_join_moves_what_the_ring_says_and_clients_follow_at_the_pace() {
    let mut plan = plan(GoTo::Owner, vec![(10, What::Joins(group("joined", 1)))]);
    plan.gateways.drain_rate_per_s = 100;
    let outcome = checked(&plan);
    let member = |name: &str| Member::new(NodeId::parse(name).unwrap(), name);
    let names = (0..10).map(|n| format!("gateway-{n}")).collect::<Vec<_>>();
    let before: Vec<_> = names.iter().map(|name| member(name)).collect();
    let after = [before.clone(), vec![member("joined-0")]].concat();
    let moved = Routing::new(1, before).moved(&Routing::new(2, after));
    let event = &outcome.events[0];
    assert_eq!((event.lists, event.moved), (1, moved));
    // Some 1,800 at each of ten gateways, 100 a second.
    let reconnects: u64 = outcome.samples.iter().map(|sample| sample.reconnects).sum();
    assert!((reconnects as f64 - moved * USERS as f64).abs() < 200.0, "{reconnects}");
    assert!(event.reconnects_max <= 10 * 100 + 10 && outcome.samples.last().unwrap().sessions_max_mean < 1.1);
}

#[test]
fn clients_that_stay_where_they_are_lose_nothing_by_a_join() {
    let outcome = checked(&plan(GoTo::Any, vec![(10, What::Joins(group("joined", 1)))]));
    assert_eq!((outcome.events[0].away_max, outcome.events[0].reconnects_max), (0, 0));
    assert!(outcome.events[0].moved > 0.05);
}

#[test]
fn who_dies_is_replaced_within_the_lease_and_its_users_come_back() {
    let mut plan = plan(GoTo::Any, vec![(10, dies(2))]);
    plan.gateways.lease_ms = 9_000;
    let outcome = checked(&plan);
    let event = &outcome.events[0];
    assert!(outcome.changes.iter().all(|change| (16.0..=19.2).contains(&change.at_s)), "{:?}", outcome.changes);
    // Two of ten, less those who came back within the first second.
    assert!((USERS / 10..=USERS / 5).contains(&event.away_max), "{event:?}");
    assert!(event.back_s.is_some_and(|back| back < 20), "{event:?}");
    let owned = 0.2 * USERS as f64;
    assert!((0.8 * owned..1.2 * owned).contains(&(event.unowned_max as f64)), "{event:?}");
    let last = outcome.samples.last().unwrap();
    assert_eq!((last.away, last.unowned, last.stream_bytes), (0, 0, 0));
    assert!(event.stream_bytes_max > 0);
}

#[test]
fn a_host_that_vanishes_is_noticed_by_its_clients_within_their_silence() {
    let who = Pick::Zone(1);
    let outcome = checked(&plan(GoTo::Any, vec![(10, What::Dies { who, silent: true, back_ms: None })]));
    let (event, at) = (&outcome.events[0], |s: usize| &outcome.samples[s]);
    assert_eq!(event.mark.nodes, 4);
    // Silence 70 s, the last ping up to 30 s ago: nobody knows before 40 s.
    assert_eq!((at(49).away, at(49).reconnects), (event.away_max, 0));
    assert!(at(55).away < event.away_max && at(55).away > 0 && at(100).away == 0);
}

#[test]
fn a_rolling_restart_restarts_all_one_after_another() {
    let what = What::Restarts { who: Pick::All, together: 2, down_ms: 2_000, pause_ms: 1_000 };
    let mut plan = plan(GoTo::Any, vec![(5, what)]);
    plan.duration_ms = 300_000;
    let outcome = checked(&plan);
    let event = &outcome.events[0];
    assert_eq!((event.mark.nodes, event.lists), (10, 10));
    assert!(outcome.samples.iter().all(|sample| sample.nodes_up >= 8));
    assert_eq!(outcome.samples.last().map(|s| (s.nodes_up, s.connected)), Some((10, USERS)));
    assert!((0.99..1.15).contains(&(event.moved / event.fair)), "{event:?}");
    assert_eq!(event.unowned_max, 0, "who drains is owner of nobody before it goes");
}

fn sample(name: &str) -> Plan {
    file::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/simulate").join(name)).unwrap()
}

#[test]
fn the_samples_can_be_read_and_are_what_the_book_speaks_of() {
    for name in ["failures.toml", "rolling.toml"] {
        let plan = sample(name);
        assert_eq!((plan.users, plan.online, plan.nodes[0].count), (100_000_000, 100_000_000, 1_000), "{name}");
        assert_eq!((&plan.gateways, plan.clients.back_off), (&Gateways::default(), Clients::default().back_off));
    }
    assert_eq!(sample("small.toml").online, 800_000);
}

fn book(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src").join(page);
    std::fs::read_to_string(path).expect("the page is there")
}

#[test]
fn the_book_tells_what_the_program_says_of_the_small_sample() {
    let told = crate::commands::simulation_table(&run(&sample("small.toml"), &mut |_| {}));
    assert!(book("operations/simulate.md").contains(told.trim()), "the page should hold:\n{told}");
}

#[test]
fn clients_wait_as_the_book_tells_them_to() {
    let [first_ms, max_ms] = pushgate_protocol::limits::CLIENT_RECONNECT_MS;
    let [low, high] = pushgate_protocol::limits::CLIENT_RECONNECT_SPREAD;
    let page = book("reference/protocol.md");
    for text in [
        format!("delay = {first_ms}, seen"),
        format!("Math.min(2 * delay, {max_ms})"),
        format!("delay * ({low} + Math.random())"),
    ] {
        assert!(page.contains(&text), "{text}");
    }
    assert_eq!(high - low, 1.0);
}

#[test]
fn what_is_wrong_with_a_plan_is_told_with_key_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.toml");
    let wrong = |text: &str| {
        std::fs::write(&path, text).unwrap();
        file::read(&path).unwrap_err().to_string()
    };
    let sound = "duration = \"1m\"\nusers = 10\n[[nodes]]\ncount = 2\n";
    for (more, told) in [
        ("wieght = 2", "plan.toml:5: unknown key nodes[0].wieght; did you mean nodes[0].weight?"),
        ("weight = 0", "plan.toml:5: nodes[0].weight is 0, must be 1 to 100"),
        ("weight = \"x\"", "plan.toml:5: nodes[0].weight is \"x\", must be"),
        ("[clients]\ngo_to = \"home\"", "plan.toml:6: clients.go_to is \"home\", must be"),
        ("[gateways]\nlease = \"1s\"", "plan.toml:6: gateways.lease is \"1s\", must be 2.00 s to 60.0 s"),
        ("[gateways]\nlease = \"6\"", "plan.toml:6: gateways.lease is \"6\", which is not a number and one of"),
        ("[[events]]\nat = \"2m\"\nwhat = \"dies\"", "plan.toml:6: events[0].at is \"2m\", must be 0 us to 60.0 s"),
        ("[[events]]\nat = \"2s\"\nwhat = \"dies\"\nzone = 2", "plan.toml:8: events[0].zone is 2, must be 1 to 1"),
        (
            "[[events]]\nat = \"2s\"\nwhat = \"joins\"\nsilent = true",
            "plan.toml:8: events[0].silent says nothing where `what` is \"joins\"",
        ),
    ] {
        let said = wrong(&format!("{sound}{more}\n"));
        assert!(said.contains(told), "{said}");
    }
    assert!(wrong("users = 10\nnodes = []").contains("duration is missing"));
    assert!(wrong("duration = \"1m\"\nusers = 10\nnodes = []").contains("nodes are 0"));
}

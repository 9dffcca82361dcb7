//! Scenarios of files and of the command line, and what is wrong with some.

use super::*;

const FILE: &str = r#"
name = "a day"
connections = 1000
devices_per_user = 2
ack_delay = "50ms"
ping_every = "30s"

[[phases]]
name = "morning"
duration = "10s"
warm_up = true
connections = 500
connect_rate = 200

[[phases]]
name = "noon"
duration = "1m"
churn_per_s = 5
slow_share = 0.01
high = { rate = 10, body_bytes = 32, ttl = "30s" }
normal = { rate = 200 }
low = { rate = 1, to = "all", ack = false }
"#;

#[test]
fn a_file_says_who_is_there_and_what_is_sent() {
    let scenario = file::read(FILE).unwrap();
    assert_eq!((scenario.users(), scenario.duration()), (500, Duration::from_secs(70)));
    assert_eq!(scenario.ack_delay, Some(Duration::from_millis(50)));
    let [morning, noon] = scenario.phases.as_slice() else { panic!("two phases") };
    assert_eq!((morning.connections, morning.connect_rate, morning.warm_up), (500, Some(200), true));
    assert_eq!(noon.connections, 1_000, "all, where nothing is said");
    let lanes: Vec<_> = noon.streams.iter().map(|s| (s.lane, s.rate_per_s, s.to, s.ack)).collect();
    let expected = [
        (Lane::High, 10, Audience::Users, true),
        (Lane::Normal, 200, Audience::Users, true),
        (Lane::Low, 1, Audience::All, false),
    ];
    assert_eq!(lanes, expected);
    assert_eq!(noon.streams[0].ttl, Duration::from_secs(30));
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_place() {
    let wrong = |from: &str, to: &str| {
        let text = FILE.replacen(from, to, 1);
        assert_ne!(text, FILE, "{from}");
        file::read(&text).unwrap_err().to_string()
    };
    assert!(wrong("{ rate = 200 }", "{ rate = 0 }").contains("phase noon: lane normal: rate is 0, must be 1 to"));
    assert!(wrong("slow_share = 0.01", "slow_share = 1.5").contains("phase noon: slow_share is 1.5, must be 0 to 1"));
    assert!(wrong("connections = 500", "connections = 1001").contains("connections is 1001, must be 0 to 1000"));
    assert!(wrong("churn_per_s", "churn").contains("unknown field `churn`"));
    assert!(wrong("duration = \"1m\"", "duration = \"1 minute\"").contains("\"1 minute\" is not a number and one of"));
    assert!(wrong("duration = \"1m\"", "").contains("missing field `duration`"));
    assert!(wrong("connections = 1000", "connections = 0").contains("connections is 0"));
}

#[test]
fn a_lane_is_for_users_or_for_devices_and_has_one_ttl() {
    let stream = |to, ttl| Stream {
        lane: Lane::Normal,
        rate_per_s: 1,
        to,
        body_bytes: 1,
        ack: true,
        ttl: Duration::from_secs(ttl),
        delay: Duration::ZERO,
    };
    let with = |streams: [Stream; 2]| {
        let mut scenario = file::read(FILE).unwrap();
        for (phase, stream) in scenario.phases.iter_mut().zip(streams) {
            phase.streams = vec![stream];
        }
        scenario.check()
    };
    assert_eq!(with([stream(Audience::Users, 9), stream(Audience::All, 9)]), Ok(()));
    assert_eq!(
        with([stream(Audience::Users, 9), stream(Audience::Devices, 9)]),
        Err(ScenarioError::Audiences("normal"))
    );
    assert_eq!(with([stream(Audience::Users, 9), stream(Audience::Users, 8)]), Err(ScenarioError::Ttls("normal")));
    let mut twice = file::read(FILE).unwrap();
    twice.phases[0].streams = vec![stream(Audience::Users, 300), stream(Audience::Users, 300)];
    assert_eq!(twice.check(), Err(ScenarioError::LaneTwice("morning".into(), "normal")));
}

#[test]
fn every_named_workload_is_within_its_bounds() {
    let common = presets::Common {
        connections: 100,
        devices_per_user: 1,
        connect_rate: None,
        duration: Duration::from_secs(10),
        warm_up: Duration::from_secs(2),
        ack_delay: Some(Duration::ZERO),
        ping_every: None,
        recipients: 1,
        domain: "b.example".into(),
    };
    let sending = presets::Sending {
        lane: Lane::High,
        rate_per_s: 100,
        to: Audience::Users,
        body_bytes: 64,
        ack: true,
        ttl: Duration::from_secs(60),
        slow_share: 0.0,
        delay: Duration::ZERO,
    };
    for stay in [presets::Stay::Hold, presets::Stay::Churn(5), presets::Stay::Storm] {
        let scenario = presets::connect(&common, stay);
        assert_eq!((scenario.check(), scenario.sends(), scenario.duration()), (Ok(()), false, common.duration));
    }
    let push = presets::push("push", &common, &sending);
    assert_eq!((push.check(), push.phases.len(), push.phases[0].warm_up), (Ok(()), 2, true));
    let later = presets::Sending { delay: Duration::from_secs(10), ..sending };
    let schedule = presets::push("schedule", &common, &later);
    assert_eq!(schedule.phases[0].duration, later.delay, "the first is due when measuring begins");
    assert_eq!((schedule.check(), schedule.patience()), (Ok(()), schedule.drain + later.delay));
}

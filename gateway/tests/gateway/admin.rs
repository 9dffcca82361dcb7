//! The admin port.

use pushgate_gateway::{
    boot::{StartOptions, start},
    config::EngineChoice,
};

use super::{
    peer::Peer,
    server::{Client, apps, call, config, gateway},
};

#[test]
fn readiness_names_the_shards_without_a_dispatcher() {
    let gateway = gateway(EngineChoice::Auto, 2);
    assert_eq!(call(gateway.admin(), "GET", "/healthz").status, 200);
    let _first = Peer::connect(&gateway, 0);
    let unready = call(gateway.admin(), "GET", "/readyz");
    assert_eq!(unready.status, 503);
    let failing = &unready.json()["failing"][0];
    assert_eq!((failing["dependency"].as_str(), failing["shard"].as_u64()), (Some("dispatcher"), Some(1)));
    assert!(failing["since_ms"].as_u64().unwrap() > 1_600_000_000_000);
    let mut second = Peer::connect(&gateway, 1);
    second.say(&pushgate_protocol::link::ToGateway::Ping);
    second.body();
    assert_eq!(call(gateway.admin(), "GET", "/readyz").status, 200);
}

#[test]
fn a_gateway_that_is_held_serves_and_is_ready_once_it_is_released() {
    let options = StartOptions { held: true, ..StartOptions::default() };
    let gateway = start(&config(EngineChoice::Auto, 1), apps(), options).unwrap();
    let mut peer = Peer::connect(&gateway, 0);
    peer.say(&pushgate_protocol::link::ToGateway::Ping);
    peer.body();
    let _client = Client::connect(&gateway, "u1");
    let held = call(gateway.admin(), "GET", "/readyz");
    let failing = held.json()["failing"].clone();
    assert_eq!((held.status, failing.as_array().unwrap().len()), (503, 1), "{failing}");
    assert_eq!(failing[0]["detail"], "the process is starting");
    gateway.release();
    assert_eq!(call(gateway.admin(), "GET", "/readyz").status, 200);
}

#[test]
fn a_users_sessions_are_listed_and_ended() {
    let gateway = gateway(EngineChoice::Auto, 2);
    let (mut client, hello) = Client::connect(&gateway, "u 1");
    let id = hello["session"].as_str().unwrap();
    let listed = call(gateway.admin(), "GET", "/v1/sessions?app=shop&user=u%201").json();
    assert_eq!(listed["sessions"][0]["id"], id);
    assert_eq!(listed["sessions"][0]["device"], "phone");
    assert_eq!(call(gateway.admin(), "DELETE", &format!("/v1/sessions/{id}")).status, 204);
    assert_eq!(client.close_code(), 4003);
    let gone = call(gateway.admin(), "DELETE", &format!("/v1/sessions/{id}"));
    assert_eq!((gone.status, gone.json()["status"].as_u64()), (404, Some(404)));
    assert_eq!(call(gateway.admin(), "DELETE", "/v1/sessions/zz").status, 400);
    assert_eq!(call(gateway.admin(), "GET", "/v1/sessions?app=shop").status, 400);
    let empty = call(gateway.admin(), "GET", "/v1/sessions?app=shop&user=nobody").json();
    assert_eq!(empty["sessions"].as_array().unwrap().len(), 0);
}

#[test]
fn metrics_are_prometheus_text() {
    let gateway = gateway(EngineChoice::Auto, 2);
    call(gateway.listen(), "GET", "/nowhere");
    let metrics = call(gateway.admin(), "GET", "/metrics").body;
    assert!(metrics.contains("# TYPE pushgate_sessions gauge"), "{metrics}");
    for name in ["completions_overflowed_total", "receives_starved_total", "spare_buffer_bytes", "unsent_bytes"] {
        assert!(metrics.contains(&format!("pushgate_{name}{{shard=\"0\"}}")), "{name}: {metrics}");
    }
    assert!(metrics.contains("status=\"404\"") && metrics.trim_end().ends_with("# EOF"), "{metrics}");
    assert_eq!(call(gateway.admin(), "GET", "/nowhere").status, 404);
}

//! Keys that change while a gateway serves.

use std::cell::RefCell;

use pushgate_gateway::{
    boot::{RunningGateway, StartOptions, start},
    config::EngineChoice,
};
use pushgate_protocol::{
    auth::{AppsFiles, ClientIdentity, Look},
    ids::UserId,
};
use serde_json::json;

use super::{
    bad_input::UPGRADE,
    server::{Answer, Client, call, config, exchange, now_s, request, shop},
};

const OLD: &str = "the key of yesterday, long enough";
const NEW: &str = "the key of today, long enough";

/// A file with one key, in memory.
struct Disk(RefCell<&'static str>);

impl Disk {
    fn holding(key: &'static str) -> Self {
        Self(RefCell::new(key))
    }

    fn open(&self) -> AppsFiles {
        let apps = json!([{ "id": "shop", "keys": [{ "alg": "HS256", "key_file": "key" }] }]);
        AppsFiles::open(serde_json::from_value(apps).unwrap(), &mut |_| Ok(self.0.borrow().to_string())).unwrap()
    }

    fn look(&self, files: &mut AppsFiles) -> Look {
        files.look(5, &mut |_| Ok(self.0.borrow().to_string()))
    }
}

fn token(key: &'static str) -> String {
    let identity = ClientIdentity { user: UserId::parse("u1").unwrap(), device: None, platform: None };
    let apps = Disk::holding(key).open().shared().current();
    apps.mint_client(&shop(), &identity, 3600, now_s()).unwrap()
}

fn connect(gateway: &RunningGateway, key: &'static str) -> Client {
    let request = request(gateway, "/v1/ws", &[("Authorization", &format!("Bearer {}", token(key)))]);
    let mut client = Client::open(gateway, request).unwrap();
    assert_eq!(client.frame()["type"], "hello");
    client
}

fn refused(gateway: &RunningGateway, key: &'static str) -> Answer {
    exchange(gateway.listen(), format!("GET /v1/ws?token={} HTTP/1.1\r\n{UPGRADE}\r\n", token(key)).as_bytes())
}

#[test]
fn a_new_key_works_and_a_removed_one_stops_for_connections_and_refreshes() {
    let disk = Disk::holding(OLD);
    let mut files = disk.open();
    let gateway = start(&config(EngineChoice::Auto, 2), files.shared().clone(), StartOptions::default()).unwrap();
    let mut client = connect(&gateway, OLD);
    assert_eq!(refused(&gateway, NEW).status, 401);
    let refresh = |client: &mut Client, key: &'static str| {
        client.say(json!({ "type": "refresh", "token": token(key), "ref": "r" }));
        client.frame()["type"].clone()
    };
    assert_eq!(refresh(&mut client, OLD), "reply");
    disk.0.replace(NEW);
    assert_eq!(disk.look(&mut files), Look::Replaced);
    assert_eq!(refused(&gateway, OLD).status, 401);
    assert_eq!(refresh(&mut client, OLD), "error");
    assert_eq!(refresh(&mut client, NEW), "reply", "sessions stand");
    connect(&gateway, NEW);
}

#[test]
fn a_broken_file_of_keys_is_told_of_and_nobody_is_refused() {
    let disk = Disk::holding(OLD);
    let mut files = disk.open();
    let gateway = start(&config(EngineChoice::Auto, 1), files.shared().clone(), StartOptions::default()).unwrap();
    assert!(call(gateway.admin(), "GET", "/readyz").json().get("warnings").is_none());
    disk.0.replace("short");
    assert!(matches!(disk.look(&mut files), Look::Refused(_)));
    connect(&gateway, OLD);
    let ready = call(gateway.admin(), "GET", "/readyz").json();
    let expected = json!([{
        "what": "keys", "since_ms": 5, "detail": "app shop, keys[0]: key has 5 bytes, at least 16 are needed"
    }]);
    assert_eq!(ready["warnings"], expected);
    assert!(ready["failing"].as_array().unwrap().iter().all(|f| f["dependency"] == "dispatcher"));
    let metrics = call(gateway.admin(), "GET", "/metrics").body;
    assert!(metrics.contains("pushgate_key_reloads_total{result=\"error\"} 1"), "{metrics}");
}

//! Key files: what is read, and what is kept when a file cannot be used.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use super::*;
use crate::auth::StaleKeys;
use crate::{
    auth::{AuthError, ClientIdentity},
    ids::{AppId, UserId},
};

const SECONDS: u64 = 1_000;

/// Files by name.
#[derive(Default)]
struct Disk(BTreeMap<&'static str, String>);

impl Disk {
    fn open(&self, apps: serde_json::Value) -> Result<AppsFiles, AppsError> {
        AppsFiles::open(serde_json::from_value(apps).unwrap(), &mut |path| self.read(path))
    }

    fn look(&self, files: &mut AppsFiles, now_ms: u64) -> Look {
        files.look(now_ms, &mut |path| self.read(path))
    }

    fn read(&self, path: &str) -> Result<String, String> {
        self.0.get(path).cloned().ok_or_else(|| format!("cannot read {path}"))
    }

    fn write(&mut self, path: &'static str, text: impl Into<String>) {
        self.0.insert(path, text.into());
    }
}

fn jwks(keys: &[(&str, &str)]) -> String {
    let key = |(kid, secret): &(&str, &str)| json!({ "kty": "oct", "kid": kid, "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(secret) });
    json!({ "keys": keys.iter().map(key).collect::<Vec<_>>() }).to_string()
}

/// A token of app `shop` that this key signed.
fn token(kid: &str, secret: &str) -> String {
    let disk = Disk([("k", jwks(&[(kid, secret)]))].into());
    let files = disk.open(json!([{ "id": "shop", "keys": [{ "alg": "HS256", "jwks_file": "k" }] }])).unwrap();
    let identity = ClientIdentity { user: UserId::parse("u1").unwrap(), device: None, platform: None };
    files.shared().current().mint_client(&AppId::parse("shop").unwrap(), &identity, 60, SECONDS).unwrap()
}

const ONE: (&str, &str) = ("one", "the first key, long enough");
const TWO: (&str, &str) = ("two", "the second key, long enough");

#[test]
fn a_key_that_is_added_works_and_one_that_is_removed_does_not() {
    let mut disk = Disk::default();
    disk.write("keys", jwks(&[ONE]));
    let mut files = disk.open(json!([{ "id": "shop", "keys": [{ "alg": "HS256", "jwks_file": "keys" }] }])).unwrap();
    let reader = files.shared().reader();
    let check = |(kid, secret): (&str, &str)| reader.current().client(&token(kid, secret), SECONDS).map(|_| ());
    assert_eq!((check(ONE), check(TWO)), (Ok(()), Err(AuthError::UnknownKey)));
    assert_eq!(disk.look(&mut files, 1), Look::Unchanged);
    disk.write("keys", jwks(&[ONE, TWO]));
    assert_eq!(disk.look(&mut files, 2), Look::Replaced);
    assert_eq!((check(ONE), check(TWO)), (Ok(()), Ok(())));
    disk.write("keys", jwks(&[TWO]));
    assert_eq!(disk.look(&mut files, 3), Look::Replaced);
    assert_eq!((check(ONE), check(TWO)), (Err(AuthError::UnknownKey), Ok(())));
    assert_eq!((files.shared().loads(), files.shared().refusals()), (2, 0));
}

#[test]
fn a_file_that_cannot_be_used_keeps_the_keys_says_so_once_and_holds_no_other_app_up() {
    let mut disk = Disk::default();
    disk.write("shop", jwks(&[ONE]));
    disk.write("bank", "a caller's secret in a file");
    let mut files = disk
        .open(json!([
            { "id": "shop", "keys": [{ "alg": "HS256", "jwks_file": "shop" }] },
            { "id": "bank", "secrets": [{ "id": "s", "secret_file": "bank" }] },
        ]))
        .unwrap();
    let shared = files.shared().clone();
    disk.write("shop", r#"{"keys":["#);
    disk.write("bank", "another secret in a file");
    let wrong = "app shop, keys[0]: jwks_file is not a JSON Web Key Set".to_owned();
    assert_eq!(disk.look(&mut files, 7), Look::Refused(wrong.clone()));
    assert_eq!(disk.look(&mut files, 8), Look::Unchanged);
    assert_eq!(shared.stale(), Some(StaleKeys { problem: wrong, since_ms: 7 }));
    assert!(shared.current().client(&token(ONE.0, ONE.1), SECONDS).is_ok());
    let basic = |secret: &str| {
        let given = base64::engine::general_purpose::STANDARD.encode(format!("bank:{secret}"));
        shared.current().caller(Some(&format!("Basic {given}")), SECONDS).map(|_| ())
    };
    assert_eq!(basic("another secret in a file"), Ok(()));
    assert_eq!(basic("a caller's secret in a file"), Err(AuthError::Secret));
    disk.0.remove("shop");
    assert!(matches!(disk.look(&mut files, 9), Look::Refused(_)));
    assert_eq!(shared.stale().map(|s| s.since_ms), Some(7), "a problem is as old as the first");
    disk.write("shop", jwks(&[ONE]));
    assert_eq!(disk.look(&mut files, 10), Look::Replaced);
    assert_eq!((shared.stale(), shared.loads(), shared.refusals()), (None, 2, 2));
}

#[test]
fn the_first_files_must_be_good() {
    let apps = json!([{ "id": "shop", "keys": [{ "alg": "HS256", "jwks_file": "keys" }] }]);
    let error = Disk::default().open(apps).unwrap_err();
    assert_eq!(error.to_string(), "app shop, keys[0]: cannot read keys");
    let without = json!([{ "id": "shop", "keys": [{ "alg": "HS256", "key": "a key, long enough" }] }]);
    assert!(Disk::default().open(without).unwrap().is_empty());
}

#[test]
fn a_set_with_more_keys_than_are_tried_is_refused() {
    let mut disk = Disk::default();
    disk.write("keys", jwks(&[ONE]));
    let mut files = disk.open(json!([{ "id": "shop", "keys": [{ "alg": "HS256", "jwks_file": "keys" }] }])).unwrap();
    let names: Vec<String> = (0..=crate::limits::APP_KEYS_MAX).map(|n| n.to_string()).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), TWO.1)).collect();
    disk.write("keys", jwks(&many));
    let Look::Refused(problem) = disk.look(&mut files, 1) else { panic!("it is taken") };
    assert_eq!(problem, "app shop has 33 keys, at most 32 are allowed");
}

#[test]
fn other_apps_take_the_place_of_those_of_before_if_all_is_good() {
    let disk = Disk([("k", jwks(&[ONE]))].into());
    let apps = json!([{ "id": "shop", "keys": [{ "alg": "HS256", "jwks_file": "k" }] }]);
    let mut files = disk.open(apps).unwrap();
    let mut again = |apps: serde_json::Value| {
        files.reconfigure(serde_json::from_value(apps).unwrap(), 7, &mut |path| disk.read(path))
    };
    let bank = json!({ "id": "bank", "rest_rate": { "per_s": 5 } });
    let refused = again(json!([bank, { "id": "shop", "keys": [{ "alg": "HS256", "key_file": "none" }] }]));
    assert!(matches!(refused, Look::Refused(problem) if problem.contains("cannot read none")));
    assert_eq!(again(json!([bank])), Look::Replaced);
    let (current, stale) = (files.shared().current(), files.shared().stale());
    let bank = AppId::parse("bank").unwrap();
    assert_eq!(current.ids().collect::<Vec<_>>(), [&bank]);
    assert_eq!((current.rate(&bank).map(|rate| (rate.per_s, rate.burst)), stale), (Some((5, 5)), None));
    assert_eq!(disk.look(&mut files, 8), Look::Unchanged);
}

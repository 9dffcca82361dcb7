//! The server that a client command talks to, and the app it acts for.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use pushgate_loadgen::site::Mint;
use pushgate_protocol::{
    apps::{AppConfig, Scope},
    auth::{Apps, ClientIdentity},
    ids::{AppId, DeviceId, UserId},
    timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{commands::values, config, failure::Failure, runtime_file::RuntimeFile};

/// The app that is taken when several exist and none is named.
const DEFAULT_APP: &str = "default";

/// How the user names the server and the app.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// Data directory of a running `pushgate dev`
    #[arg(long, value_name = "DIR", default_value = "./pushgate-data", conflicts_with = "config")]
    data: PathBuf,
    /// Configuration of the server, instead of --data
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The app; without it the only one, or `default`
    #[arg(long, value_name = "APP", value_parser = values::app)]
    app: Option<AppId>,
}

/// A server, and the app a command acts for.
#[derive(Debug)]
pub struct Server {
    /// Where clients connect, `host:port`.
    pub clients: String,
    /// Where REST is, `host:port`.
    pub rest: String,
    /// Whether clients connect with `wss://`.
    pub tls: bool,
    /// The app's configuration, with its secrets.
    app: AppConfig,
}

/// What it takes to sign tokens of an app's clients.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// Its configuration, with its keys in it.
    app: serde_json::Value,
    /// The files that it names.
    files: BTreeMap<String, String>,
}

impl ServerArgs {
    /// Finds the server.
    pub fn find(&self) -> Result<Server, Failure> {
        let (clients, rest, tls, apps) = match &self.config {
            None => {
                let found = RuntimeFile::find(&self.data)?;
                (found.addresses.clients, found.addresses.rest, found.addresses.tls, found.apps)
            }
            Some(file) => {
                let config = config::load(Some(file), std::env::vars())?.config;
                let tls = config.tls.cert.is_some();
                (reachable(&config.gateway.listen), reachable(&config.dispatcher.listen), tls, config.apps)
            }
        };
        Ok(Server { clients, rest, tls, app: self.choose(apps)? })
    }

    /// The data directory, unless a configuration is named.
    pub fn data(&self) -> Option<&Path> {
        self.config.is_none().then_some(&self.data)
    }

    /// The configuration that is named, if one is.
    pub fn config_file(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    fn choose(&self, mut apps: Vec<AppConfig>) -> Result<AppConfig, Failure> {
        let wanted = match (&self.app, apps.as_slice()) {
            (Some(app), _) => app.as_str().to_owned(),
            (None, [only]) => only.id.as_str().to_owned(),
            (None, _) => DEFAULT_APP.to_owned(),
        };
        if let Some(at) = apps.iter().position(|app| app.id.as_str() == wanted) {
            return Ok(apps.swap_remove(at));
        }
        let ids: Vec<_> = apps.iter().map(|app| app.id.as_str()).collect();
        Err(match (&self.app, ids.is_empty()) {
            (_, true) => Failure::new("the server has no app").hint("add one to its configuration: [[apps]]"),
            (Some(app), false) => Failure::usage(format!("there is no app {app}; there are: {}", ids.join(", "))),
            (None, false) => {
                Failure::usage(format!("which app? There are: {}", ids.join(", "))).hint("name it with --app")
            }
        })
    }
}

impl Server {
    /// The app's id.
    pub fn app(&self) -> &AppId {
        &self.app.id
    }

    /// A secret that may do what `scope` asks and is still valid.
    pub fn secret(&self, scope: Scope) -> Result<String, Failure> {
        let now_ms = now_s() * 1_000;
        let fits = |entry: &&pushgate_protocol::apps::AppSecretConfig| {
            let expires_ms = entry.expires.as_deref().and_then(|text| timestamp::parse_ms(text).ok());
            let allowed = entry.scopes.contains(&scope) || entry.scopes.contains(&Scope::Admin);
            allowed && expires_ms.is_none_or(|end| now_ms < end)
        };
        let entry = self.app.secrets.iter().find(fits).ok_or_else(|| {
            Failure::new(format!("app {} has no secret in use with scope {}", self.app.id, scope.as_str()))
                .hint("add one to its [[apps]] secrets")
        })?;
        match (&entry.secret, &entry.secret_file) {
            (Some(secret), _) => Ok(secret.expose().to_owned()),
            (None, Some(path)) => {
                let text = fs::read_to_string(path).map_err(|e| Failure::new(format!("cannot read {path}: {e}")))?;
                Ok(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            (None, None) => Err(Failure::usage(format!("secret {} of app {} is empty", entry.id, self.app.id))),
        }
    }

    /// A client's token, valid for `ttl_s` from now.
    pub fn token(&self, identity: &ClientIdentity, ttl_s: u64) -> Result<String, Failure> {
        let mut read = |path: &str| fs::read_to_string(path).map_err(|e| format!("cannot read {path}: {e}"));
        let app = self.app.resolve(&mut read).map_err(|e| Failure::usage(e.to_string()))?;
        let apps = Apps::new(vec![app]).map_err(|e| Failure::usage(e.to_string()))?;
        apps.mint_client(&self.app.id, identity, ttl_s, now_s()).map_err(|e| Failure::new(e.to_string()))
    }

    /// What it takes to sign its clients' tokens, on this machine or another: the app's keys, and nothing else of it.
    pub fn signer(&self) -> Result<Signer, Failure> {
        let keys = AppConfig { secrets: Vec::new(), rest_rate: None, webhook: None, ..self.app.clone() };
        let mut files = BTreeMap::new();
        let mut read = |path: &str| {
            let text = fs::read_to_string(path).map_err(|e| format!("cannot read {path}: {e}"))?;
            files.insert(path.to_owned(), text.clone());
            Ok(text)
        };
        keys.resolve(&mut read).map_err(|e| Failure::usage(e.to_string()))?;
        Ok(Signer { app: keys.to_json_with_secrets(), files })
    }
}

impl Signer {
    /// Signs tokens of many clients, valid for `ttl` from when they are signed.
    pub fn mint(&self, ttl: Duration) -> Result<Mint, Failure> {
        let app: AppConfig = serde_json::from_value(self.app.clone()).map_err(|e| Failure::usage(e.to_string()))?;
        let mut read = |path: &str| self.files.get(path).cloned().ok_or_else(|| format!("{path} did not come along"));
        let (id, ttl_s) = (app.id.clone(), ttl.as_secs().max(1));
        let app = app.resolve(&mut read).map_err(|e| Failure::usage(e.to_string()))?;
        let apps = Apps::new(vec![app]).map_err(|e| Failure::usage(e.to_string()))?;
        let sign = move |user: &str, device: &str| {
            let identity = ClientIdentity {
                user: UserId::parse(user).map_err(|e| e.to_string())?,
                device: Some(DeviceId::parse(device).map_err(|e| e.to_string())?),
                platform: None,
            };
            apps.mint_client(&id, &identity, ttl_s, now_s()).map_err(|e| e.to_string())
        };
        // What would fail for one would fail for all: better now.
        sign("load", "d0").map_err(Failure::new)?;
        Ok(Arc::new(move |user, device| sign(user, device).unwrap_or_default()))
    }
}

/// Unix seconds.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Where a server that listens on this address is reached from its own host.
pub fn reachable(listen: &str) -> String {
    match listen.rsplit_once(':') {
        Some(("0.0.0.0" | "*", port)) => format!("127.0.0.1:{port}"),
        Some(("[::]", port)) => format!("[::1]:{port}"),
        _ => listen.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(app: Option<&str>) -> ServerArgs {
        ServerArgs { data: "d".into(), config: None, app: app.map(|a| AppId::parse(a).unwrap()) }
    }

    fn apps(ids: &[&str]) -> Vec<AppConfig> {
        ids.iter().map(|id| AppConfig::generate(AppId::parse(id).unwrap()).unwrap()).collect()
    }

    #[test]
    fn the_app_is_the_named_one_else_the_only_one_else_default() {
        let chosen = |app, ids: &[&str]| args(app).choose(apps(ids)).map(|app| app.id.to_string());
        assert_eq!(chosen(Some("b"), &["a", "b"]).unwrap(), "b");
        assert_eq!(chosen(None, &["a"]).unwrap(), "a");
        assert_eq!(chosen(None, &["a", "default"]).unwrap(), "default");
        assert!(chosen(None, &["a", "b"]).unwrap_err().what.contains("which app? There are: a, b"));
        assert!(chosen(Some("c"), &["a"]).unwrap_err().what.contains("there is no app c; there are: a"));
        assert!(chosen(None, &[]).unwrap_err().what.contains("has no app"));
    }

    #[test]
    fn an_address_that_means_all_is_reached_over_loopback() {
        assert_eq!(reachable("0.0.0.0:7400"), "127.0.0.1:7400");
        assert_eq!(reachable("[::]:7400"), "[::1]:7400");
        assert_eq!(reachable("10.0.0.1:7400"), "10.0.0.1:7400");
    }
}

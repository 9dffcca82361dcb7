//! What a configuration comes to: which form of Redis, where it is, and who we are there.

use pushgate_protocol::apps::Secret;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use tokio_rustls::TlsConnector;

use super::{address::Address, config::RedisConfig};
use crate::channels::{connector_as, password_in};

/// How to come to the data.
pub(super) struct Settings {
    pub(super) form: Form,
    pub(super) door: Door,
    /// Replicas that must have a write.
    pub(super) replicas: u32,
}

/// The forms of Redis.
pub(super) enum Form {
    Single(Address),
    Sentinel {
        sentinels: Vec<Address>,
        /// What they call the primary.
        name: String,
        door: Door,
    },
    /// Some nodes of a cluster.
    Cluster(Vec<Address>),
}

/// How one is let in.
#[derive(Clone, Default)]
pub(super) struct Door {
    login: Option<Login>,
    pub(super) database: u64,
    pub(super) tls: Option<TlsConnector>,
}

#[derive(Debug, Clone)]
struct Login {
    user: Option<String>,
    password: Password,
}

#[derive(Debug, Clone)]
enum Password {
    Given(Secret),
    /// In this file; the key that names it.
    File {
        path: String,
        key: String,
    },
}

impl Settings {
    /// Fails with what is wrong, without secrets.
    pub(super) fn of(config: &RedisConfig) -> Result<Self, String> {
        let info = parse_url(&config.url)?;
        let of_url = url_login(&info);
        let login = login("", &config.user, &config.password, &config.password_file)?;
        let replicas = config.replicas();
        let tls = tls(config)?;
        let addresses = |key: &str, texts: &[String]| -> Result<Vec<Address>, String> {
            let address = |text: &String| Address::parse(text).ok_or_else(|| Address::problem(key, text));
            texts.iter().map(address).collect()
        };
        let form = match (config.nodes.is_empty(), config.sentinels.is_empty()) {
            (false, false) => return Err("redis.nodes and redis.sentinels are both set: keep one".into()),
            (false, true) => Form::Cluster(addresses("nodes", &config.nodes)?),
            (true, false) if config.master_name.is_empty() => {
                return Err("redis.master_name is empty, must be what the Sentinels call the primary".into());
            }
            (true, false) => {
                let (user, password) = (&config.sentinel_user, &config.sentinel_password);
                let door = Door {
                    login: self::login("sentinel_", user, password, &config.sentinel_password_file)?,
                    database: 0,
                    tls: tls.clone(),
                };
                let sentinels = addresses("sentinels", &config.sentinels)?;
                Form::Sentinel { sentinels, name: config.master_name.clone(), door }
            }
            (true, true) => {
                if of_url.is_some() && login.is_some() {
                    return Err(
                        "a password is in both redis.url and redis.password or redis.password_file: keep one".into()
                    );
                }
                let database = u64::try_from(info.redis_settings().db()).unwrap_or(0);
                let door = Door { login: of_url.or(login), database, tls };
                return Ok(Self { form: Form::Single(address_of(&info)?), door, replicas });
            }
        };
        Ok(Self { form, door: Door { login, database: 0, tls }, replicas })
    }
}

impl Door {
    /// The user, if one is named, and the password. `None` where nobody logs in; fails if the password's file cannot be read.
    pub(super) fn login(&self) -> Result<Option<(Option<&str>, Secret)>, String> {
        let Some(Login { user, password }) = &self.login else { return Ok(None) };
        let password = match password {
            Password::Given(password) => password.clone(),
            Password::File { path, key } => {
                password_in(path).map_err(|problem| format!("redis.{key}password_file: {problem}"))?
            }
        };
        Ok(Some((user.as_deref(), password)))
    }
}

/// Reads `redis.url`. What is wrong with it is told without the URL, which may hold a password.
pub(super) fn parse_url(url: &str) -> Result<ConnectionInfo, String> {
    let wrong =
        || "redis.url is of another form, must be redis://[user:password@]host:port[/database] or rediss://".to_owned();
    // The library takes its own TLS for granted, which is not built in.
    let plain = url.strip_prefix("rediss://").map(|rest| format!("redis://{rest}"));
    let plain = plain.as_deref().unwrap_or(url);
    if !plain.starts_with("redis://") {
        return Err(wrong());
    }
    let info = plain.into_connection_info().map_err(|_| wrong())?;
    address_of(&info).map(|_| info).map_err(|_| wrong())
}

/// Whom to believe and who to be, if TLS is spoken.
fn tls(config: &RedisConfig) -> Result<Option<TlsConnector>, String> {
    let single = config.nodes.is_empty() && config.sentinels.is_empty();
    let files = [("ca_file", &config.ca_file), ("cert_file", &config.cert_file), ("key_file", &config.key_file)];
    if !(config.tls || single && config.url.starts_with("rediss://")) {
        let idle = files.iter().find(|(_, file)| file.is_some());
        return idle.map_or(Ok(None), |(key, _)| {
            Err(format!("redis.{key} is set, and no TLS is spoken: use rediss:// in redis.url, or set redis.tls"))
        });
    }
    if single && !config.url.starts_with("rediss://") {
        return Err("redis.tls is set, and redis.url speaks without: use rediss:// there".into());
    }
    let identity = match (&config.cert_file, &config.key_file) {
        (Some(cert), Some(key)) => Some((cert.as_str(), key.as_str())),
        (None, None) => None,
        (Some(_), None) => return Err("redis.cert_file is set without redis.key_file".into()),
        (None, Some(_)) => return Err("redis.key_file is set without redis.cert_file".into()),
    };
    let connector = connector_as(config.ca_file.as_deref(), identity).map_err(|problem| format!("redis.{problem}"))?;
    connector.map(Some).ok_or_else(|| "this system trusts no certificates: set redis.ca_file".into())
}

fn address_of(info: &ConnectionInfo) -> Result<Address, String> {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => Ok(Address { host: host.clone(), port: *port }),
        _ => Err("redis.url names no host and port".into()),
    }
}

fn url_login(info: &ConnectionInfo) -> Option<Login> {
    let settings = info.redis_settings();
    let password = Password::Given(Secret::new(settings.password()?));
    Some(Login { user: settings.username().map(str::to_owned), password })
}

fn login(
    key: &str,
    user: &Option<String>,
    password: &Option<Secret>,
    file: &Option<String>,
) -> Result<Option<Login>, String> {
    let user = user.clone();
    match (password, file) {
        (Some(_), Some(_)) => Err(format!("redis.{key}password and redis.{key}password_file are both set: keep one")),
        (Some(password), None) => Ok(Some(Login { user, password: Password::Given(password.clone()) })),
        (None, Some(path)) => {
            password_in(path).map_err(|problem| format!("redis.{key}password_file: {problem}"))?;
            Ok(Some(Login { user, password: Password::File { path: path.clone(), key: key.to_owned() } }))
        }
        (None, None) if user.is_some() => {
            Err(format!("redis.{key}user is set without redis.{key}password or redis.{key}password_file"))
        }
        (None, None) => Ok(None),
    }
}

//! TLS and the rights of a user at Redis.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use pushgate_dispatcher::{
    redis::{RedisConfig, RedisLink, RedisStreams},
    seams::{StoreError, Streams},
    stored::StreamBounds,
};
use pushgate_protocol::apps::Secret;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::{
    ports,
    redis_fleet::{Fleet, Form, rights},
    stream_facts::{NOW, append, push, user},
};

const START_MAX: Duration = Duration::from_secs(20);

/// A server that speaks TLS alone, and asks for a certificate.
struct TlsServer {
    process: Child,
    dir: TempDir,
    port: u16,
}

impl TlsServer {
    fn start() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for (ca, names) in [("ca", &["server", "client"][..]), ("strangers", &["stranger"])] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, ca);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            fs::write(dir.path().join(ca), params.self_signed(&key).unwrap().pem()).unwrap();
            let issuer = Issuer::new(params, key);
            for name in names {
                let key = KeyPair::generate().unwrap();
                let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
                params.distinguished_name.push(DnType::CommonName, *name);
                fs::write(dir.path().join(name), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
                fs::write(dir.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
            }
        }
        let port = ports::reserve().unwrap().port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", "0", "--tls-port", &port.to_string(), "--save", ""]);
        command.arg("--tls-cert-file").arg(dir.path().join("server"));
        command.arg("--tls-key-file").arg(dir.path().join("server.key"));
        command.arg("--tls-ca-cert-file").arg(dir.path().join("ca")).arg("--dir").arg(dir.path());
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        Self { process, dir, port }
    }

    fn config(&self, ca: &str, who: Option<&str>) -> RedisConfig {
        let file = |name: &str| Some(path(self.dir.path(), name));
        RedisConfig {
            ca_file: file(ca),
            cert_file: who.and_then(file),
            key_file: who.and_then(|who| file(&format!("{who}.key"))),
            ..RedisConfig::single(&format!("rediss://127.0.0.1:{}", self.port), 0)
        }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_owned()
}

async fn write(config: &RedisConfig) -> Result<(), StoreError> {
    let streams = RedisStreams::new(RedisLink::open(config)?, StreamBounds::default());
    streams.apply(vec![append(&user("alice"), push(1))], NOW).await.map(drop)
}

#[tokio::test]
async fn redis_is_spoken_to_with_tls_and_each_side_shows_its_certificate() {
    let server = TlsServer::start();
    let known = server.config("ca", Some("client"));
    // It starts meanwhile.
    let start = Instant::now();
    while let Err(error) = write(&known).await {
        assert!(error.to_string().contains("refused") && start.elapsed() < START_MAX, "{error}");
        tokio::task::yield_now().await;
    }
    let plain = RedisConfig::single(&format!("redis://127.0.0.1:{}", server.port), 0);
    for (config, said) in [
        (server.config("strangers", Some("client")), "UnknownIssuer"),
        (server.config("ca", None), "ertificate"),
        (server.config("ca", Some("stranger")), "UnknownCA"),
        (plain, "connection"),
    ] {
        let error = write(&config).await.unwrap_err();
        assert!(error.retryable() && error.to_string().contains(said), "{error} does not say {said}");
    }
}

#[tokio::test]
async fn the_rights_that_are_documented_are_enough_and_reach_no_further() {
    let fleet = Fleet::shared(Form::Sentinel);
    let config = fleet.config(1);
    // The facts of each seam run as this user.
    assert_eq!(config.user.as_deref(), Some("pushgate"));
    let link = RedisLink::open(&config).unwrap();
    assert_eq!(link.durability_report().await.unwrap(), []);
    link.ahead_ms().await.unwrap();
    let mut connection = fleet.primary();
    redis::cmd("AUTH").arg("pushgate").arg(rights().1.expose()).exec(&mut connection).unwrap();
    for other in
        [&["FLUSHALL"][..], &["GET", "other"], &["KEYS", "*"], &["CONFIG", "SET", "appendonly", "no"], &["ACL", "LIST"]]
    {
        let error = redis::cmd(other[0]).arg(&other[1..]).exec(&mut connection).unwrap_err().to_string();
        assert!(error.contains("NOPERM") || error.contains("permission"), "{other:?}: {error}");
    }
    let another = || Some(Secret::new("another"));
    for (wrong, said) in [
        (RedisConfig { password: another(), ..config.clone() }, "authentication failed"),
        (RedisConfig { sentinel_password: another(), ..config.clone() }, "(redis.sentinel_password)"),
    ] {
        let error = write(&wrong).await.unwrap_err().to_string();
        assert!(error.contains(said) && !error.contains("another"), "{error}");
    }
}

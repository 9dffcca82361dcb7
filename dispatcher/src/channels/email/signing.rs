//! DKIM keys of an account, and mails signed with them where nothing waits for it.

use std::{
    fs::File,
    io::Read,
    sync::{Arc, OnceLock},
    thread::available_parallelism,
    time::{SystemTime, UNIX_EPOCH},
};

use pushgate_protocol::apps::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::mail::{Letter, Sender};
use crate::{
    channels::config::AccountConfig,
    core::{
        dkim::{self, Key, Record},
        smtp::Mail,
    },
    limits::{DKIM_INLINE_BYTES_MAX, DKIM_KEY_BYTES_MAX, DKIM_KEYS_MAX},
};

/// `[[email.dkim]]`: a key that signs the account's mail. With several every mail has a signature of each, so that receivers that do not know
/// Ed25519 check the one by RSA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DkimConfig {
    /// The domain that signs. Default: that of `from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Under which name receivers find the public key: in the TXT record `SELECTOR._domainkey.DOMAIN`, which `pushgate dkim` prints.
    pub selector: String,
    /// The private key in PEM, not encrypted: RSA of 2048 to 4096 bits, or Ed25519.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// A file that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
}

/// The TXT records to publish for an account's keys, or what is wrong with them.
pub fn records(account: &AccountConfig) -> Result<Vec<Record>, String> {
    let from = account.from.as_deref().and_then(Sender::parse);
    let domain = from.as_ref().map_or("", |sender| sender.domain());
    Ok(keys(account, domain)?.iter().map(Record::of).collect())
}

/// What signs an account's mail.
#[derive(Debug, Clone)]
pub(super) struct Signing(Arc<[Key]>);

impl Signing {
    /// That of an account, or what is wrong with its keys.
    pub(super) fn of(account: &AccountConfig, sender: &Sender) -> Result<Self, String> {
        keys(account, sender.domain()).map(|keys| Self(keys.into()))
    }

    /// The mail, signed. RSA takes a good part of a millisecond: it is computed on other threads, as many at once as there are processors,
    /// and never where connections are served. Fails only while the process ends.
    pub(super) async fn signed(&self, letter: Letter) -> Result<Mail, String> {
        if self.0.is_empty() {
            return Ok(letter.into_mail(Vec::new()));
        }
        let keys = Arc::clone(&self.0);
        let sign = move |letter: Letter| {
            let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let signatures = dkim::signatures(&keys, &letter.text, now_s);
            letter.into_mail(signatures)
        };
        if letter.text.len() <= DKIM_INLINE_BYTES_MAX && !self.0.iter().any(Key::is_slow) {
            return Ok(sign(letter));
        }
        let turn = Arc::clone(turns()).acquire_owned().await.map_err(|_| ENDS.to_owned())?;
        let signed = tokio::task::spawn_blocking(move || {
            let mail = sign(letter);
            drop(turn);
            mail
        });
        signed.await.map_err(|_| ENDS.to_owned())
    }
}

const ENDS: &str = "the mail was not signed";

/// Of all accounts.
fn turns() -> &'static Arc<Semaphore> {
    static TURNS: OnceLock<Arc<Semaphore>> = OnceLock::new();
    TURNS.get_or_init(|| Arc::new(Semaphore::new(available_parallelism().map_or(1, usize::from))))
}

fn keys(account: &AccountConfig, domain: &str) -> Result<Vec<Key>, String> {
    if account.dkim.len() > DKIM_KEYS_MAX {
        return Err(format!("dkim has {} keys, must be at most {DKIM_KEYS_MAX}", account.dkim.len()));
    }
    let mut keys: Vec<Key> = Vec::new();
    for (at, config) in account.dkim.iter().enumerate() {
        let key = key(config, domain).map_err(|problem| format!("dkim[{at}].{problem}"))?;
        if keys.iter().any(|k| k.selector() == key.selector() && k.domain() == key.domain()) {
            return Err(format!(
                "dkim[{at}].selector is {:?}, which another key of {} has",
                config.selector,
                key.domain()
            ));
        }
        keys.push(key);
    }
    Ok(keys)
}

fn key(config: &DkimConfig, domain: &str) -> Result<Key, String> {
    let domain = config.domain.as_deref().unwrap_or(domain);
    let (name, pem) = match (&config.key, &config.key_file) {
        (Some(_), Some(_)) => return Err("key and key_file are both set: keep one".into()),
        (None, None) => return Err("key is missing: give the private key in PEM, or key_file".into()),
        (Some(key), None) => ("key", key.clone()),
        (None, Some(path)) => ("key_file", read(path).map_err(|problem| format!("key_file: {problem}"))?),
    };
    Key::parse(domain, &config.selector, pem.expose()).map_err(|problem| {
        let of_key = !problem.starts_with("domain") && !problem.starts_with("selector");
        if of_key { format!("{name}: {problem}") } else { problem }
    })
}

fn read(path: &str) -> Result<Secret, String> {
    let mut text = String::new();
    let failed = |error| format!("cannot read {path}: {error}");
    File::open(path).map_err(failed)?.take(DKIM_KEY_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::{runtime::Builder, sync::oneshot};

    use super::*;
    use crate::channels::{
        Offered,
        email::{mail, message_id::MessageIds},
        tests::parcel,
    };

    const ED25519: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";

    fn signing(pem: &str) -> (Signing, Letter) {
        let mut account = AccountConfig::new("relay", "smtp", "smtp://h");
        let key = Some(Secret::new(pem));
        account.dkim = vec![DkimConfig { domain: None, selector: "s".into(), key, key_file: None }];
        let sender = Sender::parse("shop@example.org").unwrap();
        let offered = Offered { links: None, ids: Arc::new(MessageIds::of_one()) };
        let letter = mail::of(&sender, &offered, &parcel(), SystemTime::now()).ok().unwrap();
        (Signing::of(&account, &sender).unwrap(), letter)
    }

    #[test]
    fn a_signature_that_takes_long_is_made_on_no_thread_that_serves_connections() {
        // One thread serves, and the only other is taken.
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (release, released) = oneshot::channel::<()>();
            let (begin, begun) = oneshot::channel();
            let taken = tokio::task::spawn_blocking(move || {
                begin.send(()).unwrap();
                released.blocking_recv()
            });
            begun.await.unwrap();
            let (fast, letter) = signing(ED25519);
            assert!(fast.signed(letter).now_or_never().is_some_and(|mail| mail.is_ok()), "a fast one is made at once");
            let (slow, letter) = signing(include_str!("../../../tests/keys/rsa2048.pem"));
            let mut signed = Box::pin(slow.signed(letter));
            for _ in 0..100 {
                assert!((&mut signed).now_or_never().is_none(), "there is no thread for it");
                tokio::task::yield_now().await;
            }
            release.send(()).unwrap();
            let mail = signed.await.unwrap();
            assert!(String::from_utf8_lossy(&mail.data).contains("a=rsa-sha256"));
            taken.await.unwrap().unwrap();
        });
    }
}

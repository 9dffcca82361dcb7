//! What a configuration says of an app.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{App, AppsError, CallerSecret, Key, RateConfig, Secret, SecretDigest, Webhook, WebhookConfig};
use crate::{ids::AppId, limits, timestamp};

/// `[[apps]]`: a tenant, its callers' secrets and the keys of its tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppConfig {
    /// The app's id: the user name of callers, the claim `app` of tokens.
    pub id: AppId,
    /// Secrets of REST callers (`Authorization: Basic appId:secret`). Several may be valid at once, for rotation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<AppSecretConfig>,
    /// Keys that verify the tokens of clients and callers. Several may be valid at once, for rotation. Files are looked at
    /// again each second, and at SIGHUP: what they say then holds from then on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<AppKeyConfig>,
    /// How fast it may call REST; without it, as fast as it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest_rate: Option<RateConfig>,
    /// Where its results are posted; without it, nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookConfig>,
}

/// One secret. Exactly one of `secret` and `secret_file` is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppSecretConfig {
    /// A name for it, shown in logs.
    pub id: String,
    /// The secret itself, at least 16 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// A file that holds it; a line end after it is ignored. Looked at again each second, and at SIGHUP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<String>,
    /// What its callers may do: `send` (the default), `admin` (everything).
    #[serde(default = "send_only")]
    pub scopes: Vec<Scope>,
    /// From when on it is refused, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// One key, or the keys of one JWKS. Exactly one of `key`, `key_file` and `jwks_file` is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppKeyConfig {
    /// What it verifies: `jwt`.
    #[serde(default)]
    pub kind: KeyKind,
    /// The one algorithm it is used with, whatever a token's header says.
    pub alg: Algorithm,
    /// HS256: the shared secret, at least 16 bytes (RFC 7518 asks for 32). RS256 and EdDSA: the public key in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// A file that holds it; a line end after an HS256 secret is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// A JSON Web Key Set (RFC 7517) with keys of type `oct`, `RSA` or `OKP`. Its signature keys that fit `alg` are taken, each
    /// with its `kid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<String>,
    /// The key's id: a token whose header names one is checked with that key alone. Keys without an id are tried for
    /// tokens whose id no key carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// From when on it is not used, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
}

/// What a key verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// JSON Web Tokens (RFC 7519).
    #[default]
    Jwt,
}

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// HMAC with SHA-256: a shared secret.
    HS256,
    /// RSASSA-PKCS1-v1_5 with SHA-256: a public key of at least 2,048 bits.
    RS256,
    /// Ed25519: a public key.
    EdDSA,
}

impl Algorithm {
    /// The name in a token's header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::RS256 => "RS256",
            Self::EdDSA => "EdDSA",
        }
    }
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Send messages and ask what became of them; of which `report` is a part.
    Send,
    /// Report what became of mails at a provider.
    Report,
    /// Everything, of which `send` is a part.
    Admin,
}

impl Scope {
    /// Parses `send`, `report` or `admin`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Send, Self::Report, Self::Admin].into_iter().find(|s| s.as_str() == text)
    }

    /// `send`, `report` or `admin`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Report => "report",
            Self::Admin => "admin",
        }
    }
}

fn send_only() -> Vec<Scope> {
    vec![Scope::Send]
}

impl AppConfig {
    /// A new app with a random secret for callers (both scopes) and a random HS256 key. Fails only if the system gives no
    /// random numbers.
    pub fn generate(id: AppId) -> Result<Self, ring::error::Unspecified> {
        let secret = AppSecretConfig {
            id: "first".into(),
            secret: Some(random_secret()?),
            secret_file: None,
            scopes: vec![Scope::Send, Scope::Admin],
            expires: None,
        };
        let key = AppKeyConfig {
            kind: KeyKind::Jwt,
            alg: Algorithm::HS256,
            key: Some(random_secret()?),
            key_file: None,
            jwks_file: None,
            kid: Some("first".into()),
            not_after: None,
        };
        Ok(Self { id, secrets: vec![secret], keys: vec![key], rest_rate: None, webhook: None })
    }

    /// The configuration as JSON *with* its secrets in it, for a file that only its owner may read. It parses as an
    /// `AppConfig` again. (`Serialize` hides secrets.)
    pub fn to_json_with_secrets(&self) -> serde_json::Value {
        let mut json = serde_json::to_value(self).expect("a configuration is plain data");
        for (n, entry) in self.secrets.iter().enumerate() {
            if let Some(secret) = &entry.secret {
                json["secrets"][n]["secret"] = secret.expose().into();
            }
        }
        for (n, entry) in self.keys.iter().enumerate() {
            if let Some(key) = &entry.key {
                json["keys"][n]["key"] = key.expose().into();
            }
        }
        if let Some(secret) = self.webhook.as_ref().and_then(|hook| hook.secret.as_ref()) {
            json["webhook"]["secret"] = secret.expose().into();
        }
        json
    }

    /// Checks everything and parses every key. `read` answers the contents of a file that the configuration names, or why
    /// it cannot be read.
    pub fn resolve(&self, read: &mut dyn FnMut(&str) -> Result<String, String>) -> Result<App, AppsError> {
        let entry = |entry: String| {
            let app = self.id.clone();
            move |problem: String| AppsError::Entry { app, entry, problem }
        };
        if self.id.as_str() == AppId::RESERVED {
            return Err(AppsError::Reserved { app: self.id.clone() });
        }
        if !self.secrets.is_empty() && self.id.as_str().contains(':') {
            return Err(AppsError::Colon { app: self.id.clone() });
        }
        let mut secrets = Vec::with_capacity(self.secrets.len());
        for (n, secret) in self.secrets.iter().enumerate() {
            secrets.push(secret.resolve(read).map_err(entry(format!("secrets[{n}]")))?);
        }
        let mut keys = Vec::with_capacity(self.keys.len());
        for (n, key) in self.keys.iter().enumerate() {
            keys.extend(key.resolve(read).map_err(entry(format!("keys[{n}]")))?);
        }
        for (what, count, max) in
            [("keys", keys.len(), limits::APP_KEYS_MAX), ("secrets", secrets.len(), limits::APP_SECRETS_MAX)]
        {
            if count > max {
                return Err(AppsError::TooMany { app: self.id.clone(), what, count, max });
            }
        }
        let rate = self.rest_rate.map(RateConfig::resolve).transpose().map_err(entry("rest_rate".into()))?;
        let webhook =
            self.webhook.as_ref().map(|hook| hook_of(hook, read)).transpose().map_err(entry("webhook".into()))?;
        Ok(App { id: self.id.clone(), secrets, keys, rate, webhook })
    }
}

/// A secret, wherever it stands.
fn secret_of(
    secret: Option<&Secret>,
    file: Option<&String>,
    read: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<String, String> {
    let text = match (secret, file) {
        (Some(secret), None) => secret.expose().to_owned(),
        (None, Some(path)) => without_line_end(read(path)?),
        _ => return Err("give exactly one of secret and secret_file".into()),
    };
    long_enough("secret", &text)?;
    Ok(text)
}

fn hook_of(hook: &WebhookConfig, read: &mut dyn FnMut(&str) -> Result<String, String>) -> Result<Webhook, String> {
    let secret = secret_of(hook.secret.as_ref(), hook.secret_file.as_ref(), read)?;
    let authorities = hook.ca_file.as_deref().map(read).transpose()?;
    hook.resolve(&secret, authorities.as_deref())
}

impl AppSecretConfig {
    fn resolve(&self, read: &mut dyn FnMut(&str) -> Result<String, String>) -> Result<CallerSecret, String> {
        let text = secret_of(self.secret.as_ref(), self.secret_file.as_ref(), read)?;
        Ok(CallerSecret {
            digest: SecretDigest::of(&text),
            scopes: self.scopes.clone(),
            expires_ms: instant("expires", self.expires.as_deref())?,
        })
    }
}

impl AppKeyConfig {
    fn resolve(&self, read: &mut dyn FnMut(&str) -> Result<String, String>) -> Result<Vec<Key>, String> {
        let not_after_ms = instant("not_after", self.not_after.as_deref())?;
        let text = match (&self.key, &self.key_file, &self.jwks_file) {
            (Some(key), None, None) => key.expose().to_owned(),
            (None, Some(path), None) => without_line_end(read(path)?),
            (None, None, Some(path)) => {
                if self.kid.is_some() {
                    return Err("kid has no meaning with jwks_file, whose keys carry their own".into());
                }
                return Key::from_jwks(self.alg, &read(path)?, not_after_ms);
            }
            _ => return Err("give exactly one of key, key_file and jwks_file".into()),
        };
        if self.alg == Algorithm::HS256 {
            long_enough("key", &text)?;
        }
        Ok(vec![Key::from_text(self.alg, &text, self.kid.clone(), not_after_ms)?])
    }
}

/// 32 random bytes in 43 characters of base64url.
fn random_secret() -> Result<Secret, ring::error::Unspecified> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

fn long_enough(what: &str, text: &str) -> Result<(), String> {
    match text.len() {
        bytes if bytes < limits::SECRET_BYTES_MIN => {
            Err(format!("{what} has {bytes} bytes, at least {} are needed", limits::SECRET_BYTES_MIN))
        }
        _ => Ok(()),
    }
}

fn instant(what: &str, text: Option<&str>) -> Result<Option<u64>, String> {
    text.map(|t| timestamp::parse_ms(t).map_err(|e| format!("{what} is {t:?}, {e}"))).transpose()
}

fn without_line_end(mut text: String) -> String {
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    text
}

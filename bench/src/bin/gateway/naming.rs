//! Users, devices and their tokens.

use std::{
    error::Error,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use pushgate_bench::installation::APP;
use pushgate_loadgen::fleet::Tokens;
use pushgate_protocol::{
    apps::AppConfig,
    auth::{Apps, ClientIdentity},
    ids::{AppId, DeviceId, UserId},
};
use serde::Deserialize;

/// Its part of the configuration.
pub const APPS: &str = r#"
[[apps]]
id = "bench"
keys = [{ alg = "HS256", key = "token-key-of-a-throwaway-server-0123" }]
"#;
/// Tokens outlive every run.
const TOKEN_TTL_S: u64 = 12 * 3_600;

/// How users and devices are called: numbers, padded to a length.
#[derive(Debug, Clone, Copy)]
pub struct Naming {
    /// Length of a user id, bytes.
    pub user_bytes: usize,
    /// Length of a device id, bytes.
    pub device_bytes: usize,
}

impl Naming {
    /// 24-byte users, 16-byte devices.
    pub const USUAL: Self = Self { user_bytes: 24, device_bytes: 16 };

    /// The user of a client.
    pub fn user(self, client: u32) -> String {
        format!("u{client:0width$}", width = self.user_bytes - 1)
    }

    /// Tokens of all clients, each a user with one device.
    pub fn tokens(self) -> Result<Tokens, Box<dyn Error>> {
        let apps = apps(APPS)?;
        let app = AppId::parse(APP)?;
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        Ok(Arc::new(move |client| {
            let device = format!("d{client:0width$}", width = self.device_bytes - 1);
            let identity = ClientIdentity {
                user: UserId::parse(&self.user(client)).expect("a padded number is a user id"),
                device: Some(DeviceId::parse(&device).expect("a padded number is a device id")),
                platform: None,
            };
            apps.mint_client(&app, &identity, TOKEN_TTL_S, now_s).expect("the app has a signing key")
        }))
    }
}

/// The apps of a configuration.
pub fn apps(configuration: &str) -> Result<Arc<Apps>, Box<dyn Error>> {
    #[derive(Deserialize)]
    struct Configured {
        apps: Vec<AppConfig>,
    }
    let configured: Configured = toml::from_str(configuration)?;
    let mut no_files = |_: &str| Err("no file is named".into());
    let apps = configured.apps.iter().map(|app| app.resolve(&mut no_files)).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Apps::new(apps)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_length_and_tokens_are_distinct() {
        let naming = Naming { user_bytes: 36, device_bytes: 36 };
        assert_eq!(naming.user(99_999).len(), 36);
        let tokens = naming.tokens().unwrap();
        assert_ne!(tokens(1), tokens(2));
    }
}

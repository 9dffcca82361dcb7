//! Mutual TLS of node links: both ends show a certificate of one authority before a byte of the [`handshake`](super::handshake) is said, and the
//! one that dials checks that the other's names the address it dialled. TLS 1.3 alone, and nothing is resumed: each connection checks anew.
//!
//! No I/O: files are read by who is given, bytes go in and out of a [`Veil`].
//!
//! | module | owns |
//! |---|---|
//! | `credentials` | certificate, key and authority, as files hold them |
//! | `trouble` | why there is no link |
//! | `veil` | TLS of one connection |

mod credentials;
#[cfg(test)]
mod tests;
mod trouble;
mod veil;

use std::{
    fmt, io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::credentials::Credentials;
pub use self::{credentials::CredentialsError, trouble::Trouble, veil::Veil};

/// How long files that were looked at are good for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// First byte of a connection with TLS: a handshake record (RFC 8446 section 5.1). A plain link begins with the length of its first frame,
/// of which this would be a fraction.
const HANDSHAKE: u8 = 22;

/// When a node speaks TLS on links. In this order it is switched on node by node; in the other, off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// Never.
    Off,
    /// It takes links with and without, and opens its own without.
    Accept,
    /// It takes links with and without, and opens its own with TLS.
    Dial,
    /// It takes and opens no link without.
    #[default]
    Require,
}

/// What links are protected with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// File with this node's certificate chain, PEM, its own first.
    pub cert_file: String,
    /// File with its private key, PEM.
    pub key_file: String,
    /// File with the certificates of those who vouch for peers, PEM.
    pub ca_file: String,
    /// When TLS is spoken.
    pub mode: TlsMode,
}

/// Reads a file of the settings.
type Read = Box<dyn Fn(&str) -> io::Result<Vec<u8>> + Send + Sync>;

/// TLS for the links of one node.
pub struct LinkTls {
    settings: TlsSettings,
    read: Read,
    kept: Mutex<Kept>,
}

/// What is in force, and the last look at the files.
struct Kept {
    credentials: Credentials,
    looked: Instant,
    /// What was said of files that cannot be used.
    said: Option<CredentialsError>,
}

impl LinkTls {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn open(
        settings: TlsSettings,
        now: Instant,
        read: impl Fn(&str) -> io::Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Result<Self, CredentialsError> {
        let credentials = Credentials::read(&settings, &read)?;
        let kept = Mutex::new(Kept { credentials, looked: now, said: None });
        Ok(Self { settings, read: Box::new(read), kept })
    }

    /// Looks at the files, once a second at most; new ones are in force from here on. An error, which is told once, leaves those in force that
    /// were: so does a pair caught half replaced.
    pub fn look(&self, now: Instant) -> Option<Result<(), CredentialsError>> {
        let mut kept = self.kept();
        if now.saturating_duration_since(kept.looked) < LOOK_EVERY {
            return None;
        }
        kept.looked = now;
        let same = kept.credentials.are_in(&self.settings, &self.read);
        if same {
            kept.said = None;
            return None;
        }
        match Credentials::read(&self.settings, &self.read) {
            Ok(credentials) => {
                (kept.credentials, kept.said) = (credentials, None);
                Some(Ok(()))
            }
            Err(error) if kept.said.as_ref() == Some(&error) => None,
            Err(error) => {
                kept.said = Some(error.clone());
                Some(Err(error))
            }
        }
    }

    /// Whether this node opens its links with TLS.
    pub fn dials(&self) -> bool {
        matches!(self.settings.mode, TlsMode::Dial | TlsMode::Require)
    }

    /// Whether it takes links with TLS alone.
    pub fn requires(&self) -> bool {
        self.settings.mode == TlsMode::Require
    }

    /// For a connection that was accepted.
    ///
    /// # Errors
    /// The connection must end.
    pub fn accept(&self) -> Result<Veil, Trouble> {
        let config = self.kept().credentials.server.clone();
        Veil::accept(config)
    }

    /// For a connection to `host:port`, which the peer's certificate must name.
    ///
    /// # Errors
    /// That is no address, or the connection must end.
    pub fn dial(&self, address: &str) -> Result<Veil, Trouble> {
        let config = self.kept().credentials.client.clone();
        Veil::dial(config, address)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LinkTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkTls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Whether a connection whose first byte this is begins with TLS.
pub fn is_tls(first: u8) -> bool {
    first == HANDSHAKE
}

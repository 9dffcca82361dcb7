//! Alerts (RFC 8446 section 6), and why a connection's records end it.

/// What we tell a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Alert {
    /// Nothing more comes.
    CloseNotify = 0,
    /// A record that may not come now.
    UnexpectedMessage = 10,
    /// A record that was not sealed by the peer.
    BadRecordMac = 20,
    /// A record that is too long.
    RecordOverflow = 22,
    /// A value that may not be.
    IllegalParameter = 47,
    /// A message that cannot be read.
    DecodeError = 50,
    /// A TLS 1.2 record of another version.
    ProtocolVersion = 70,
    /// Our own limit.
    InternalError = 80,
    /// TLS 1.2: no second handshake.
    NoRenegotiation = 100,
}

impl Alert {
    /// Whether TLS 1.2 sends it as a warning.
    pub fn is_warning(self) -> bool {
        matches!(self, Self::CloseNotify | Self::NoRenegotiation)
    }
}

/// Why a connection ends. Each drops the connection; the peer may come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The peer broke the protocol, or somebody changed its bytes.
    #[error("the peer's record was answered with alert {0:?}")]
    Send(Alert),
    /// The peer sent this alert; it gets no answer.
    #[error("the peer sent alert {0}")]
    Told(u8),
    /// The peer wants a second TLS 1.2 handshake.
    #[error("the peer wants to renegotiate")]
    Renegotiation,
    /// Too many records in a row without data.
    #[error("too many records without data")]
    TooQuiet,
}

impl Fault {
    pub(super) fn send(alert: Alert) -> Self {
        Self::Send(alert)
    }

    /// What the peer is told, if anything.
    pub fn alert(self) -> Option<Alert> {
        match self {
            Self::Send(alert) => Some(alert),
            Self::Told(_) => None,
            Self::Renegotiation => Some(Alert::NoRenegotiation),
            Self::TooQuiet => Some(Alert::UnexpectedMessage),
        }
    }
}

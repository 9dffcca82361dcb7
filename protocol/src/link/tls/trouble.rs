//! Why a connection has no TLS, in words for who looks at the log of the node that says so.

use rustls::{AlertDescription, CertificateError, Error};

/// Why TLS of a link failed. The connection must end; whoever dialled may try again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The peer that was dialled speaks no TLS.
    #[error("it answers without TLS: does it have links.cert_file, and links.tls other than \"off\"?")]
    Plain,
    /// What was dialled cannot be in a certificate.
    #[error("{0:?} is no host:port that a certificate could name")]
    Address(String),
    /// The peer's certificate is not good.
    #[error("its certificate is not accepted: {0}")]
    Certificate(String),
    /// The peer has none.
    #[error("it shows no certificate: a node needs links.cert_file of the authority in links.ca_file")]
    NoCertificate,
    /// The peer does not believe this node's.
    #[error("it does not accept this node's certificate ({0}): compare links.cert_file here with links.ca_file there")]
    Refused(String),
    /// The peer closed the connection.
    #[error("it ended the connection")]
    Closed,
    /// The rest.
    #[error("TLS fails: {0}")]
    Tls(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidCertificate(problem) => Self::Certificate(words(&problem)),
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::AlertReceived(AlertDescription::CloseNotify) => Self::Closed,
            Error::AlertReceived(
                alert @ (AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateRequired
                | AlertDescription::UnknownCA
                | AlertDescription::DecryptError
                | AlertDescription::AccessDenied),
            ) => Self::Refused(format!("{alert:?}")),
            other => Self::Tls(other.to_string()),
        }
    }
}

fn words(problem: &CertificateError) -> String {
    match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet: compare the clocks".into()
        }
        CertificateError::UnknownIssuer => "nobody in links.ca_file vouches for it".into(),
        CertificateError::NotValidForName => "it does not name the address that was dialled".into(),
        // The library names what was wanted and what there is.
        other => other.to_string(),
    }
}

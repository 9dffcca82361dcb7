//! What is found out about an HTTP provider without sending: by a call that asks for something else, or by connecting.

use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};

use super::http::{Call, Client, Endpoint, NoReply, Reply};
use crate::channels::{Checked, config::AccountConfig, trust};

/// What helps where the password cannot be read.
const PASSWORD: &str = "look at password_file and who may read it";
const PLACE: &str = "look at host and port in url, at ca_file, and whether a firewall drops connections to it";

/// Makes the call that was written, and has `found` judge its reply.
pub(super) async fn asked(
    client: &Client,
    written: impl Future<Output = Result<Call, String>>,
    found: impl FnOnce(&Reply) -> Checked,
) -> Checked {
    let call = match written.await {
        Ok(call) => call,
        Err(what) => return Checked::Unfit { what, remedy: PASSWORD },
    };
    match client.call(call).await {
        Ok(reply) => found(&reply),
        // Nothing that is only looked at expires.
        Err(NoReply::Late) => Checked::Unseen,
        Err(NoReply::NotMade(what) | NoReply::Unanswered(what)) => Checked::Unfit { what, remedy: PLACE },
    }
}

/// It knows who calls, and said no to what was asked: that says nothing of sending.
pub(super) fn known(who: &str, code: &str) -> String {
    format!("it knows {who}, and says {code} to what is asked here: whether it sends shows when something is sent")
}

/// It answers, and not as the provider does.
pub(super) fn astray(reply: &Reply) -> Checked {
    Checked::Unfit { what: format!("it answers with status {}", reply.status), remedy: PLACE }
}

/// Connects, and encrypts where that is asked for; nothing is said over the connection.
pub(super) async fn connected(endpoint: &Endpoint, account: &AccountConfig) -> Checked {
    let unfit = |what: String| Checked::Unfit { what, remedy: PLACE };
    match timeout(Duration::from_millis(account.connection.open_ms), connect(endpoint, account)).await {
        Ok(Ok(how)) => {
            Checked::Fit(format!("it can be connected to{how}; whether it sends shows when something is sent"))
        }
        Ok(Err(what)) => unfit(what),
        Err(_) => unfit(format!("no connection in {} ms", account.connection.open_ms)),
    }
}

async fn connect(endpoint: &Endpoint, account: &AccountConfig) -> Result<&'static str, String> {
    let (encrypted, port) = if endpoint.base.starts_with("https:") { (true, 443) } else { (false, 80) };
    let (name, port) = match endpoint.host.rsplit_once(':') {
        Some((name, digits)) if !digits.ends_with(']') => {
            (name, digits.parse().map_err(|_| "url has no port that is a number".to_owned())?)
        }
        _ => (endpoint.host.as_str(), port),
    };
    let name = name.trim_matches(['[', ']']);
    let tcp = TcpStream::connect((name, port)).await.map_err(|error| format!("it cannot be connected to: {error}"))?;
    if !encrypted {
        return Ok(", not encrypted");
    }
    let connector =
        trust::connector(account.ca_file.as_deref())?.ok_or("this system trusts no certificates: set ca_file")?;
    let of = ServerName::try_from(name.to_owned())
        .map_err(|_| "url names no host that a certificate may be of".to_owned())?;
    connector.connect(of, tcp).await.map_err(|error| format!("TLS: {error}"))?;
    Ok(" and encrypts")
}

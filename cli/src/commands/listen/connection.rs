//! One WebSocket connection to a gateway.

use std::{
    io::{self, ErrorKind},
    net::{TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use tungstenite::{
    HandshakeError, Message, WebSocket,
    client::IntoClientRequest,
    error::Error,
    http::header::{AUTHORIZATION, HeaderValue},
};

use super::stream::{Stream, Trust};
use crate::{failure::Failure, limits};

/// Where to connect, and as whom.
pub struct Target<'a> {
    /// `host:port`.
    pub address: &'a str,
    /// Whom to trust, if the server speaks TLS.
    pub trust: Option<&'a Trust>,
    /// The client's token.
    pub token: &'a str,
    /// Token and last acknowledged sequence number of the session to resume.
    pub resume: Option<(&'a str, u64)>,
}

/// What was heard.
pub enum Heard {
    /// A text frame.
    Frame(String),
    /// Nothing until the caller's deadline.
    Deadline,
    /// The connection is over.
    End(End),
}

/// How a connection ended.
pub enum End {
    /// The server closed it.
    Closed {
        /// RFC 6455 section 7.4.
        code: u16,
        /// The server's words.
        reason: String,
    },
    /// It broke.
    Lost(String),
}

/// An open connection.
pub struct Connection {
    socket: WebSocket<Stream>,
    /// Silence after which the server counts as gone.
    silence_max: Duration,
    heard: Instant,
}

/// Silence allowed until the server has told its heartbeat.
const SILENCE: Duration = Duration::from_secs(60);

/// Whether anybody listens there.
pub fn listens(address: &str) -> bool {
    connect(address).is_ok()
}

impl Connection {
    /// Connects and upgrades. A refusal carries the server's reason.
    pub fn open(target: &Target<'_>) -> Result<Self, Failure> {
        let address = target.address;
        let unreachable = |error: &dyn std::fmt::Display| {
            Failure::new(format!("the gateway at {address} does not answer: {error}"))
                .hint("is it running? `pushgate doctor` looks")
        };
        let stream = connect(address).map_err(|error| unreachable(&error))?;
        let timeout = Duration::from_millis(limits::ANSWER_TIMEOUT_MS);
        stream.set_read_timeout(Some(timeout)).map_err(|error| unreachable(&error))?;
        stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let stream = match target.trust {
            None => Stream::Bare(stream),
            Some(trust) => trust.over(address, stream).map_err(|error| unreachable(&error))?,
        };
        let query = target.resume.map(|(token, seq)| format!("?resume={token}&seq={seq}")).unwrap_or_default();
        let mut request = format!("ws://{address}/v1/ws{query}")
            .into_client_request()
            .map_err(|error| Failure::usage(format!("{address} is not an address: {error}")))?;
        let bearer = HeaderValue::from_str(&format!("Bearer {}", target.token)).expect("a JWT is printable ASCII");
        request.headers_mut().insert(AUTHORIZATION, bearer);
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Self { socket, silence_max: SILENCE, heard: Instant::now() }),
            Err(HandshakeError::Failure(Error::Http(response))) => {
                let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                Err(refused(response.status().as_u16(), body.trim()))
            }
            Err(HandshakeError::Failure(error)) => Err(unreachable(&error)),
            Err(HandshakeError::Interrupted(_)) => Err(unreachable(&"no answer to the upgrade in time")),
        }
    }

    /// The server pings a client that was silent this long: twice that without a word, and it is gone.
    pub fn heartbeat(&mut self, heartbeat_s: u64) {
        if heartbeat_s > 0 {
            self.silence_max = limits::silence_max(Duration::from_secs(heartbeat_s));
        }
    }

    /// Waits for the next frame. Pings are answered on the way.
    pub fn hear(&mut self, deadline: Option<Instant>) -> Result<Heard, Failure> {
        loop {
            let now = Instant::now();
            let silent_at = self.heard + self.silence_max;
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(Heard::Deadline);
            }
            if now >= silent_at {
                let silence_s = self.silence_max.as_secs();
                return Ok(Heard::End(End::Lost(format!("the server was silent for {silence_s} s"))));
            }
            let until = deadline.map_or(silent_at, |deadline| deadline.min(silent_at));
            // Zero would mean for ever.
            let wait = until.saturating_duration_since(now).max(Duration::from_millis(1));
            self.socket
                .get_ref()
                .tcp()
                .set_read_timeout(Some(wait))
                .map_err(|error| Failure::new(format!("cannot set the socket's timeout: {error}")))?;
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    self.heard = Instant::now();
                    return Ok(Heard::Frame(text.to_string()));
                }
                Ok(Message::Close(frame)) => {
                    let (code, reason) =
                        frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()));
                    // The answer to the close leaves with the next call.
                    let _ = self.socket.flush();
                    return Ok(Heard::End(End::Closed { code, reason }));
                }
                Ok(_) => {
                    self.heard = Instant::now();
                    // Pongs leave with the next call.
                    if let Err(error) = self.socket.flush() {
                        return Ok(Heard::End(End::Lost(error.to_string())));
                    }
                }
                Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Ok(Heard::End(End::Lost(error.to_string()))),
            }
        }
    }

    /// Sends a text frame. A failure shows at the next [`Connection::hear`].
    pub fn say(&mut self, text: &str) {
        let _ = self.socket.send(Message::text(text));
    }

    /// Closes and waits a moment for the server's answer, so that what was said before has arrived.
    pub fn close(mut self) {
        let _ = self.socket.close(None);
        let timeout = Duration::from_millis(limits::CLOSE_TIMEOUT_MS);
        if self.socket.get_ref().tcp().set_read_timeout(Some(timeout)).is_ok() {
            while self.socket.read().is_ok() {}
        }
    }
}

/// `host:port` of a `ws://` or `wss://` URL, and whether it is the latter.
pub fn address_of(url: &str) -> Option<(String, bool)> {
    let (scheme, rest) = url.split_once("://")?;
    let tls = match scheme {
        "ws" => false,
        "wss" => true,
        _ => return None,
    };
    let address = rest.split('/').next().filter(|address| !address.is_empty())?;
    let port = if tls { 443 } else { 80 };
    Some((if address.contains(':') { address.to_owned() } else { format!("{address}:{port}") }, tls))
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(ErrorKind::NotFound, "no such host");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, Duration::from_millis(limits::CONNECT_TIMEOUT_MS)) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn refused(status: u16, body: &str) -> Failure {
    let reason = serde_json::from_str::<serde_json::Value>(body)
        .ok()
        .and_then(|problem| Some(problem.get("detail").or(problem.get("title"))?.as_str()?.to_owned()))
        .unwrap_or_else(|| body.to_owned());
    let failure = Failure::new(format!("the gateway refused the connection with {status}: {reason}"));
    match status {
        401 | 403 => failure.hint("does the server know the app, and have the key that this command signs with?"),
        503 => failure.hint("it is full or draining: try again in a moment"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_url_has_a_port() {
        assert_eq!(address_of("ws://h:1/v1/ws"), Some(("h:1".into(), false)));
        assert_eq!(address_of("ws://h"), Some(("h:80".into(), false)));
        assert_eq!(address_of("wss://h"), Some(("h:443".into(), true)));
        assert_eq!(address_of("http://h"), None);
    }

    #[test]
    fn a_refusal_carries_the_reason() {
        let failure = refused(401, r#"{"title":"Unauthorized","detail":"the token expired"}"#);
        assert!(failure.what.ends_with("401: the token expired"));
        assert!(refused(503, "full").what.ends_with("503: full"));
    }
}

//! What a request gets: routed by path, checked in full, and its token read, before anything is answered.

use std::borrow::Cow;

use httparse::Header;
use pushgate_protocol::{
    auth::Apps,
    ids::SessionId,
    wire::WireForm,
    ws::handshake::{self, Upgrade},
};

use super::{
    Reason,
    answer::{Answer, Status},
    locate::{Locator, locate},
    request::Request,
};
use crate::{
    config::Origins,
    core::{EchoOpen, SessionOpen, TokenMark},
};

/// The subprotocol of `WireForm::PUSHGATE_V1`.
const PUSHGATE_V1: &str = "pushgate.v1";
/// How a browser, which cannot set headers, sends its token: as another subprotocol.
const BEARER_PROTOCOL: &str = "bearer.";

/// What becomes of a connection.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It is answered and closed.
    Answer(Answer),
    /// It becomes a session of its owner shard.
    Session(Box<SessionOpen>),
    /// It becomes an echo.
    Echo(EchoOpen),
}

/// What a gateway serves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer<'a> {
    /// Who may open a session.
    pub(crate) apps: &'a Apps,
    /// Web pages that may connect.
    pub(crate) origins: &'a Origins,
    /// Whether `/v1/echo` is there.
    pub(crate) echo: bool,
    /// Whether `permessage-deflate` is agreed on.
    pub(crate) compression: bool,
    /// What `/` is, if it is there.
    pub(crate) page: Option<&'a [u8]>,
    /// By what `/v1/locate` is answered, if it is there.
    pub(crate) locator: Option<Locator<'a>>,
    /// Whether the gateway takes nothing new.
    pub(crate) draining: bool,
}

/// Decides; `now_s` is Unix time.
pub(crate) fn decide(request: &Request, offer: Offer<'_>, now_s: u64) -> Decision {
    match answer_or_upgrade(request, offer, now_s) {
        Ok(decision) => decision,
        Err(answer) => Decision::Answer(answer),
    }
}

fn answer_or_upgrade(request: &Request, offer: Offer<'_>, now_s: u64) -> Result<Decision, Answer> {
    let path = request.path();
    let known = match path {
        "/v1/ws" => true,
        "/v1/echo" => offer.echo,
        "/v1/locate" => offer.locator.is_some(),
        "/" => offer.page.is_some(),
        _ => false,
    };
    if !known {
        let detail = "there is nothing at this path: clients connect to /v1/ws";
        return Err(Answer::problem(Status::NotFound, detail));
    }
    if request.method() != "GET" {
        return Err(Answer::problem(Status::MethodNotAllowed, "the method must be GET").with("Allow", "GET"));
    }
    if let ("/", Some(page)) = (path, offer.page) {
        return Err(Answer::page(page));
    }
    if let ("/v1/locate", Some(locator)) = (path, offer.locator) {
        return Err(locate(request, offer.apps, offer.origins, locator, now_s));
    }
    let headers: Vec<Header<'_>> = request.headers().map(|(name, value)| Header { name, value }).collect();
    let mut upgrade = handshake::check(request.method(), 1, &headers).map_err(not_upgrade)?;
    upgrade.deflate = upgrade.deflate.filter(|_| offer.compression);
    if offer.draining {
        let detail = "this gateway is shutting down: connect again";
        let answer = Answer::problem(Status::Unavailable, detail).with("Retry-After", "1");
        return Err(answer.because(Reason::Draining));
    }
    // One line at most, of browsers alone (RFC 6455 section 4.1); of several each must be allowed.
    if !request.header_values("origin").all(|origin| offer.origins.allow(origin)) {
        let detail = "pages of this origin may not connect: gateway.origins names those that may";
        return Err(Answer::problem(Status::Forbidden, detail));
    }
    if path == "/v1/echo" {
        let preface = handshake::switching(upgrade.key, None, upgrade.deflate);
        return Ok(Decision::Echo(EchoOpen { deflate: upgrade.deflate, preface, early: request.early().to_vec() }));
    }
    session(request, &upgrade, offer.apps, now_s).map(|open| Decision::Session(Box::new(open)))
}

fn session(request: &Request, upgrade: &Upgrade<'_>, apps: &Apps, now_s: u64) -> Result<SessionOpen, Answer> {
    let text = token(request, &upgrade.protocols).ok_or_else(Answer::no_token)?;
    let claims = apps.client(&text, now_s).map_err(|e| Answer::bad_token(&e.reason()))?;
    let token = TokenMark::of(&claims);
    let resume = resume(request)?;
    let protocol = upgrade.protocols.contains(&PUSHGATE_V1).then_some(PUSHGATE_V1);
    Ok(SessionOpen {
        app: claims.app,
        user: claims.user,
        device: claims.device,
        platform: claims.platform,
        expires_ms: claims.expires_ms,
        token,
        wire: WireForm::PUSHGATE_V1,
        deflate: upgrade.deflate,
        resume,
        preface: handshake::switching(upgrade.key, protocol, upgrade.deflate),
        early: request.early().to_vec(),
    })
}

/// The token, from the first place that has one: the header, the query, the subprotocols.
pub(super) fn token<'a>(request: &'a Request, protocols: &[&'a str]) -> Option<Cow<'a, str>> {
    let header = request.header_values("authorization").find_map(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| Cow::Borrowed(token.trim()))
    });
    let query = || request.query("token").map(Cow::Owned);
    let protocol = || protocols.iter().find_map(|p| p.strip_prefix(BEARER_PROTOCOL)).map(Cow::Borrowed);
    header.or_else(query).or_else(protocol).filter(|t| !t.is_empty())
}

/// Where a client that was connected before goes on: `?resume=<session>&seq=<last received>`.
fn resume(request: &Request) -> Result<Option<(SessionId, u64)>, Answer> {
    let Some(session) = request.query("resume") else { return Ok(None) };
    let bad = |detail: String| Answer::problem(Status::BadRequest, &detail);
    let session = SessionId::parse(&session).map_err(|e| bad(format!("resume: {e}")))?;
    let seq = match request.query("seq") {
        None => 0,
        Some(text) => text.parse().map_err(|_| bad("seq must be a number".to_owned()))?,
    };
    Ok(Some((session, seq)))
}

fn not_upgrade(refusal: handshake::Refusal) -> Answer {
    let detail = refusal.to_string();
    match refusal.status() {
        426 => Answer::problem(Status::UpgradeRequired, &detail)
            .with("Upgrade", "websocket")
            .with("Sec-WebSocket-Version", "13"),
        _ => Answer::problem(Status::BadRequest, &detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_takes_nobody_any_more_says_when_to_come_again() {
        let asks = "GET /v1/ws?token=x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
        let request = Request::parse(asks.into(), asks.len()).unwrap().unwrap();
        let apps = Apps::new(Vec::new()).unwrap();
        let decided = |draining| {
            let (origins, page, locator) = (&Origins::default(), None, None);
            let offer = Offer { apps: &apps, origins, echo: true, compression: false, page, locator, draining };
            let Decision::Answer(answer) = decide(&request, offer, 0) else { panic!("nobody knows the token") };
            String::from_utf8(answer.encode()).unwrap()
        };
        assert!(decided(false).starts_with("HTTP/1.1 401 "));
        let refused = decided(true);
        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("\r\nRetry-After: 1\r\n"), "{refused}");
    }
}

//! Client connections from accept to hand-off: the request is read and decided upon here, on the shard that accepted
//! it; a session then moves to the shard that owns its user, and gets its 101 there.

pub(crate) mod answer;
mod channel;
mod locate;
mod page;
pub(crate) mod reason;
mod request;
mod route;
mod secure;
pub mod trial;
mod visitor;

use std::{
    io::Write,
    net::{SocketAddr, TcpStream as StdStream},
    rc::Rc,
};

use monoio::net::TcpStream;
use pushgate_protocol::{ids::ShardId, placement};

pub use self::page::page;
pub(crate) use self::reason::Reason;
use self::{
    answer::{Answer, Status},
    channel::Channel,
    locate::Locator,
    request::{Request, RequestError},
    route::{Decision, Offer, decide},
};
use crate::{
    admission::Permit,
    core::SessionOpen,
    limits,
    mailbox::NotSent,
    shard::{Desk, Mail},
    tls::{alert::Alert, sockets::ClientSocket},
};

/// When a client that met a limit may come again, seconds.
const RETRY_AFTER_S: &str = "5";

/// Serves one connection until it is answered or handed on.
pub(crate) async fn serve(desk: Rc<Desk>, stream: TcpStream, from: SocketAddr) {
    let limits = &desk.site.settings.limits;
    let mut timed = desk.deadlines.watch(stream, u64::from(limits.handshake_timeout_ms));
    let mut permit = desk.site.admission.uncounted();
    // Who has too many connections already is not worth an answer: it would take a place until it has read it.
    let address = match visitor::arrive(&desk, &mut timed, from.ip(), &mut permit).await {
        Ok(address) => address,
        Err(reason) => return desk.metrics.failed(reason),
    };
    let mut channel = match &desk.site.tls {
        None => Channel::bare(timed),
        Some(acceptor) => match secure::secure(&desk, acceptor, timed).await {
            Some(channel) => channel,
            None => return desk.metrics.failed(Reason::Tls),
        },
    };
    let decision = match read_request(&mut channel, limits.head_bytes_max as usize).await {
        Ok(Some(request)) => match visitor::look_behind(&desk, &request, address, &mut permit) {
            Ok(()) => admit(&desk, &request, &mut permit),
            Err(reason) => Decision::Answer(too_many("too many connections of this address").because(reason)),
        },
        Ok(None) => return desk.metrics.failed(Reason::Gone),
        Err(answer) => Decision::Answer(answer),
    };
    match decision {
        Decision::Answer(answer) => reply(&desk, channel, &answer).await,
        Decision::Session(open) => {
            let owner = owner_of(&desk, &open);
            if owner != desk.shard {
                desk.metrics.handed_off.add(1);
            }
            hand_over(&desk, owner, Mail::Session { socket: channel.into_socket(), open, permit });
        }
        Decision::Echo(open) => {
            hand_over(&desk, desk.shard, Mail::Echo { socket: channel.into_socket(), open, permit });
        }
    }
}

/// Decides, and counts a session under its app.
fn admit(desk: &Desk, request: &Request, permit: &mut Permit) -> Decision {
    let now = desk.site.clock.now();
    let apps = desk.apps.current();
    let cluster = desk.site.roll.current();
    let offer = Offer {
        apps: &apps,
        origins: &desk.site.settings.origins,
        echo: desk.site.settings.echo,
        compression: desk.site.settings.compression,
        page: desk.site.page.as_deref(),
        locator: Some(Locator { cluster: &cluster, advertise: desk.site.settings.advertise.as_deref() }),
        draining: desk.site.departure.is_closed(now.mono_ms),
    };
    let decision = decide(request, offer, now.unix_ms / 1_000);
    if let Decision::Session(open) = &decision
        && desk.site.revocations.is_revoked(open.bearer(), now.unix_ms)
    {
        return Decision::Answer(Answer::bad_token("the token was revoked").because(Reason::Revoked));
    }
    if let Decision::Session(open) = &decision
        && let Err(limit) = permit.count_app(&open.app, owner_of(desk, open))
    {
        let answer = too_many("the app has as many sessions as it may");
        return Decision::Answer(answer.because(limit.into()));
    }
    decision
}

fn owner_of(desk: &Desk, open: &SessionOpen) -> ShardId {
    let hash = placement::user_hash(desk.site.host.hash_seed, open.app.as_str(), open.user.as_str());
    placement::shard_of(hash, desk.site.host.shards)
}

fn too_many(detail: &str) -> Answer {
    Answer::problem(Status::TooManyRequests, detail).with("Retry-After", RETRY_AFTER_S)
}

/// `None` if the client went away before its request was whole.
async fn read_request(channel: &mut Channel, head_bytes_max: usize) -> Result<Option<Request>, Answer> {
    let mut bytes = Vec::with_capacity(1024.min(head_bytes_max));
    loop {
        let room = bytes.len().min(head_bytes_max);
        let result;
        (result, bytes) = channel.read(bytes, room).await;
        match result {
            Ok(n) if n > 0 => match Request::parse(bytes, head_bytes_max).map_err(not_a_request)? {
                Ok(request) => return Ok(Some(request)),
                Err(part) => bytes = part,
            },
            Ok(_) if channel.is_late() => {
                return Err(Answer::problem(Status::RequestTimeout, "the request did not arrive in time"));
            }
            _ => return Ok(None),
        }
    }
}

fn not_a_request(error: RequestError) -> Answer {
    let status = match error {
        RequestError::Malformed(_) => Status::BadRequest,
        RequestError::Version => Status::VersionNotSupported,
        RequestError::TooLarge(_) | RequestError::TooManyHeaders => Status::HeadTooLarge,
    };
    Answer::problem(status, &error.to_string())
}

/// Writes the answer and reads on for a while: closing a socket with unread bytes resets it, and the client would lose
/// the answer. The deadline stands.
async fn reply(desk: &Desk, mut channel: Channel, answer: &Answer) {
    desk.metrics.answered(answer);
    if channel.write_all(answer.encode()).await.is_err() || channel.finish().await.is_err() {
        return;
    }
    let mut bytes = Vec::with_capacity(4096);
    let mut left = limits::LINGER_BYTES_MAX;
    while left > 0 {
        bytes.clear();
        let result;
        (result, bytes) = channel.read(bytes, 0).await;
        match result {
            Ok(n) if n > 0 => left = left.saturating_sub(n),
            _ => return,
        }
    }
}

/// Gives the socket to its shard, or tells the client to come again.
fn hand_over(desk: &Desk, owner: ShardId, mail: Mail) {
    let mail = match desk.site.mail[usize::from(owner.0)].send(mail) {
        Ok(()) => return,
        Err(NotSent::Full(mail) | NotSent::Closed(mail)) => mail,
    };
    desk.metrics.mailbox_full.add(1);
    if let Mail::Session { socket, .. } | Mail::Echo { socket, .. } = mail {
        refuse(desk, socket, Reason::Full, "too many connections at once: try again");
    }
}

/// Answers 503 without waiting: the answer fits an empty socket buffer.
pub(crate) fn refuse(desk: &Desk, socket: ClientSocket, reason: Reason, detail: &str) {
    let answer = Answer::problem(Status::Unavailable, detail).with("Retry-After", "1").because(reason);
    desk.metrics.answered(&answer);
    let mut bytes = answer.encode();
    if let Some(mut secured) = socket.tls {
        let Ok(sealed) = secured.records.sealed(&bytes) else { return };
        bytes = sealed;
        secured.records.alert(&mut bytes, Alert::CloseNotify);
    }
    let mut stream = StdStream::from(socket.fd);
    // A client that is gone needs no answer.
    let _ = stream.set_nonblocking(true).and_then(|()| stream.write_all(&bytes));
}

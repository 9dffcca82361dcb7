//! A client's TLS handshake, from its first byte on.

use std::time::Instant;

use monoio::io::AsyncWriteRentExt;

use super::{
    answer::{Answer, Status},
    channel::{self, Channel},
};
use crate::{
    limits,
    shard::{Desk, deadline::Timed},
    tls::{
        acceptor::Acceptor,
        handshake::{Failure, Handshake, Progress},
        records::HEADER_BYTES,
    },
};

/// The handshake; `None`: it failed, and the connection is answered as far as it can be.
pub(super) async fn secure(desk: &Desk, acceptor: &Acceptor, timed: Timed) -> Option<Channel> {
    let since = Instant::now();
    match shake_hands(desk, acceptor, timed).await {
        Ok((channel, resumed)) => {
            desk.metrics.tls.done(resumed, since.elapsed());
            Some(channel)
        }
        Err(failure) => {
            desk.metrics.tls.failed(failure);
            None
        }
    }
}

async fn shake_hands(desk: &Desk, acceptor: &Acceptor, mut timed: Timed) -> Result<(Channel, bool), Failure> {
    let mut incoming = first_record(&mut timed).await?;
    if incoming.first().is_some_and(u8::is_ascii_uppercase) {
        return Err(turn_away(&mut timed).await);
    }
    if !desk.turnstile.pass(timed.due_ms()).await {
        return Err(Failure::Timeout);
    }
    let mut handshake = Handshake::new(acceptor.config())?;
    loop {
        let mut outgoing = Vec::new();
        let progress = handshake.advance(&mut incoming, &mut outgoing);
        if !outgoing.is_empty() {
            let sent = timed.stream().write_all(outgoing).await.0;
            if progress.is_ok() && sent.is_err() {
                return Err(Failure::Gone);
            }
        }
        match progress? {
            Progress::Done(established) => {
                let resumed = established.resumed;
                return Ok((Channel::secured(timed, *established, incoming), resumed));
            }
            Progress::NeedsMore(under_way) => {
                handshake = under_way;
                incoming = more(&mut timed, incoming).await?;
            }
        }
    }
}

/// Reads until there is a whole record, so that nobody waits for a handshake that has not begun.
async fn first_record(timed: &mut Timed) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    loop {
        bytes = more(timed, bytes).await?;
        let whole = match bytes.first_chunk::<HEADER_BYTES>() {
            Some([kind, ..]) if *kind != CLIENT_HELLO_RECORD => return Ok(bytes),
            Some([.., high, low]) => HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low])),
            None => HEADER_BYTES,
        };
        if bytes.len() >= whole {
            return Ok(bytes);
        }
    }
}

/// What a client's first record is: handshake.
const CLIENT_HELLO_RECORD: u8 = 22;

async fn more(timed: &mut Timed, bytes: Vec<u8>) -> Result<Vec<u8>, Failure> {
    if bytes.len() >= limits::TLS_HANDSHAKE_BYTES_MAX {
        return Err(Failure::Malformed);
    }
    match channel::read(timed, bytes, limits::TLS_READ_BYTES).await {
        (Ok(n), bytes) if n > 0 => Ok(bytes),
        _ if timed.is_late() => Err(Failure::Timeout),
        _ => Err(Failure::Gone),
    }
}

/// Tells a client that speaks HTTP what to do.
async fn turn_away(timed: &mut Timed) -> Failure {
    let detail = "this port speaks TLS: connect with wss:// or https://";
    let answer = Answer::problem(Status::BadRequest, detail);
    let mut channel_open = timed.stream().write_all(answer.encode()).await.0.is_ok();
    // As after every answer: unread bytes would reset the connection, and the client would lose it.
    let _ = monoio::io::AsyncWriteRent::shutdown(timed.stream()).await;
    let mut left = limits::LINGER_BYTES_MAX;
    while channel_open && left > 0 {
        let (result, bytes) = channel::read(timed, Vec::new(), limits::TLS_READ_BYTES).await;
        left = left.saturating_sub(bytes.len());
        channel_open = result.is_ok_and(|n| n > 0);
    }
    Failure::PlainHttp
}

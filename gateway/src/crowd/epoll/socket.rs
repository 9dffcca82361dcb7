//! How the engine names a socket to epoll, and sends to it.

use std::io;

use mio::Token;
use socket2::Socket;

use crate::crowd::ConnId;

/// Sends from `from` on, which moves past what the socket took.
pub(super) fn send(socket: &Socket, bytes: &[u8], from: &mut usize) -> io::Result<()> {
    while *from < bytes.len() {
        match socket.send_with_flags(&bytes[*from..], libc::MSG_NOSIGNAL) {
            Ok(taken) => *from += taken,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What epoll is told of a connection.
pub(super) fn token(conn: ConnId) -> Token {
    Token((conn.generation as usize) << 32 | conn.slot as usize)
}

/// The connection that epoll was told of.
pub(super) fn conn(token: Token) -> ConnId {
    ConnId { slot: token.0 as u32, generation: (token.0 >> 32) as u32 }
}

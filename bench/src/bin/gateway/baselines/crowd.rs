//! The gateway's engine alone: from staged bytes to the sockets, without sessions, links and tokens.

use std::{error::Error, net::TcpStream};

use pushgate_gateway::crowd::{ConnId, Crowd, Gone, Handler, Outgoing, Settings, engine::Engine};

use super::{Serve, frame};

/// Clients served in one turn: about as many as a shard serves in one of its own.
const CLIENTS_PER_TURN: usize = 512;

/// A crowd and its connections.
pub struct Alone {
    crowd: Box<dyn Crowd>,
    clients: Vec<ConnId>,
    frame: Vec<u8>,
}

/// Clients say nothing here.
struct Deaf;

impl Handler for Deaf {
    fn received(&mut self, _: ConnId, _: &mut [u8], _: &mut dyn Outgoing) {}

    fn gone(&mut self, _: ConnId, _: Gone, _: &mut dyn Outgoing) {}
}

impl Alone {
    /// Of these clients.
    pub fn new(sockets: Vec<TcpStream>) -> Result<Self, Box<dyn Error>> {
        let mut crowd = Engine::Uring.open(Settings::default())?;
        let insert = |socket: TcpStream| crowd.insert(socket.into()).map_err(|(_, error)| error);
        let clients = sockets.into_iter().map(insert).collect::<Result<_, _>>()?;
        Ok(Self { crowd, clients, frame: frame() })
    }
}

impl Serve for Alone {
    /// All copies of a client wait when its turn comes.
    fn fan(&mut self, copies: usize) -> Result<(), Box<dyn Error>> {
        for part in self.clients.chunks(CLIENTS_PER_TURN) {
            for client in part {
                let staging = self.crowd.staging(*client).ok_or("a client has gone")?;
                (0..copies).for_each(|_| staging.extend_from_slice(&self.frame));
            }
            while self.crowd.wants_turn() {
                self.crowd.turn(0, &mut Deaf)?;
            }
        }
        Ok(())
    }
}

//! A blocking `send()` for each client.

use std::{error::Error, io::Write, net::TcpStream};

use super::{Serve, frame};

/// The clients.
pub struct Loop {
    clients: Vec<TcpStream>,
    frame: Vec<u8>,
}

impl Loop {
    /// Of these clients.
    pub fn new(clients: Vec<TcpStream>) -> Self {
        Self { clients, frame: frame() }
    }
}

impl Serve for Loop {
    fn fan(&mut self, copies: usize) -> Result<(), Box<dyn Error>> {
        for _ in 0..copies {
            for client in &mut self.clients {
                client.write_all(&self.frame)?;
            }
        }
        Ok(())
    }
}

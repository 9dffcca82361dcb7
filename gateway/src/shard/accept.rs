//! The accept loops of a shard's listeners: one task per connection, as many as there are places.

use std::{
    cell::Cell,
    net::{Shutdown, TcpListener as StdListener},
    rc::Rc,
    time::Duration,
};

use monoio::net::TcpListener;
use socket2::SockRef;
use tracing::warn;

use super::Desk;
use crate::{limits, links, upgrade};

/// The task that accepts clients, as the loop sees it: so that it closes the listener when no client waits in its queue,
/// for those would be reset.
#[derive(Debug)]
pub(crate) struct Door {
    /// The same socket as the listener's.
    listener: StdListener,
    waits: Cell<bool>,
    /// How many were accepted when the loop last looked.
    seen: Cell<u64>,
    closed: Cell<bool>,
}

impl Door {
    /// For a listener.
    pub(crate) fn new(listener: StdListener) -> Self {
        Self { listener, waits: Cell::new(false), seen: Cell::new(u64::MAX), closed: Cell::new(false) }
    }

    /// Closes the listener if nobody came since the last call and the task waited for somebody all the time. Whether it is
    /// closed.
    pub(crate) fn close_if_quiet(&self, accepted: u64) -> bool {
        let quiet = self.waits.get() && self.seen.replace(accepted) == accepted;
        if quiet && !self.closed.replace(true) {
            // Ends the accept that waits; on a listener nothing else can go wrong.
            let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        }
        self.closed.get()
    }

    /// Whoever could not be accepted is still in the queue, so the time before this was no waiting for nobody.
    fn missed(&self) {
        self.seen.set(u64::MAX);
    }
}

/// Accepts clients until the door is closed.
pub(crate) async fn clients(desk: Rc<Desk>, listener: TcpListener) {
    loop {
        desk.clients.free().await;
        while let Err(wait_ms) = desk.pace.take(desk.site.clock.now().mono_ms) {
            desk.metrics.accept_waits.add(1);
            monoio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        desk.door.waits.set(true);
        let accepted = listener.accept().await;
        desk.door.waits.set(false);
        match accepted {
            Err(_) if desk.door.closed.get() => return,
            Ok((stream, from)) => {
                desk.metrics.accepted.add(1);
                let (desk, seat) = (desk.clone(), desk.clients.take());
                monoio::spawn(async move {
                    upgrade::serve(desk, stream, from).await;
                    drop(seat);
                });
            }
            Err(error) => {
                desk.door.missed();
                failed(&desk, &error).await;
            }
        }
    }
}

/// Accepts peers for as long as the runtime stands.
pub(crate) async fn peers(desk: Rc<Desk>, listener: TcpListener) {
    loop {
        desk.links.free().await;
        match listener.accept().await {
            Ok((stream, from)) => {
                let (desk, seat) = (desk.clone(), desk.links.take());
                monoio::spawn(async move {
                    links::serve(desk, stream, from).await;
                    drop(seat);
                });
            }
            Err(error) => failed(&desk, &error).await,
        }
    }
}

/// A connection that was reset before it was accepted is nothing; a lack of descriptors needs a pause, or the loop
/// would spin.
async fn failed(desk: &Desk, error: &std::io::Error) {
    if desk.metrics.accept_errors.read().is_power_of_two() || desk.metrics.accept_errors.read() == 0 {
        warn!(shard = desk.shard.0, %error, "accept failed");
    }
    desk.metrics.accept_errors.add(1);
    monoio::time::sleep(Duration::from_millis(limits::ACCEPT_PAUSE_MS)).await;
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_door_closes_once_its_task_has_waited_for_nobody_from_one_look_to_the_next() {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let door = Door::new(listener);
        assert!(
            !door.close_if_quiet(3) && !door.close_if_quiet(3),
            "nothing waits at the listener: a place is missing"
        );
        door.waits.set(true);
        assert!(!door.close_if_quiet(3), "it waits, but since when?");
        assert!(!door.close_if_quiet(4), "somebody came meanwhile");
        door.missed();
        assert!(!door.close_if_quiet(4), "somebody could not be accepted");
        door.waits.set(false);
        assert!(!door.close_if_quiet(4), "it serves somebody");
        let _client = TcpStream::connect(address).unwrap();
        door.waits.set(true);
        assert!(door.close_if_quiet(4) && door.close_if_quiet(5), "closed for good");
        assert!(TcpStream::connect(address).is_err());
    }
}

//! The accept loops of a shard's listeners: one task per connection, as many as there are places.

use std::{rc::Rc, time::Duration};

use monoio::net::TcpListener;
use tracing::warn;

use super::Desk;
use crate::{limits, links, upgrade};

/// Accepts clients for as long as the runtime stands.
pub(crate) async fn clients(desk: Rc<Desk>, listener: TcpListener) {
    loop {
        desk.clients.free().await;
        while let Err(wait_ms) = desk.pace.take(desk.site.clock.now().mono_ms) {
            desk.metrics.accept_waits.add(1);
            monoio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        match listener.accept().await {
            Ok((stream, from)) => {
                desk.metrics.accepted.add(1);
                let (desk, seat) = (desk.clone(), desk.clients.take());
                monoio::spawn(async move {
                    upgrade::serve(desk, stream, from).await;
                    drop(seat);
                });
            }
            Err(error) => failed(&desk, &error).await,
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

//! A gateway that runs out of descriptors.

use std::net::TcpStream;

use super::drain::{Dev, token};

const DESCRIPTORS: u32 = 256;

/// How often accepting failed.
fn accept_errors(dev: &Dev) -> u64 {
    let (_, body) = dev.ask("GET", "/metrics");
    let values = body.lines().filter(|line| line.starts_with("pushgate_accept_errors_total"));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn a_gateway_without_descriptors_accepts_again_once_it_has_some() {
    let folder = tempfile::tempdir().expect("a directory");
    let dev = Dev::start_with_descriptors(folder.path(), DESCRIPTORS);
    let token = token(folder.path(), "u1");
    // Clients that say nothing hold a descriptor each, until their time is over.
    let silent: Vec<TcpStream> =
        (0..DESCRIPTORS).map(|_| TcpStream::connect(dev.address("clients")).expect("it listens")).collect();
    while accept_errors(&dev) == 0 {}
    drop(silent);
    dev.connect_with(&token);
}

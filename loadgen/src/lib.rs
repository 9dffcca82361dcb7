//! Load on a running Pushgate from outside: crowds of clients, producers, open-loop plans. It speaks the public
//! protocols alone and knows neither gateway nor dispatcher.
//!
//! | module | owns |
//! |---|---|
//! | [`client`] | one client of `pushgate.v1` over tokio: connects, reads pushes, acknowledges |
//! | [`clock`] | the clock of a run |
//! | [`crowd`] | many such clients on one thread |
//! | [`fleet`] | 100,000 clients and more over io_uring |
//! | [`histogram`] | latencies in buckets |
//! | [`limits`] | bounds |
//! | [`plan`] | when what is to be sent, whatever becomes of it |
//! | [`rest`] | a kept-alive connection to REST |
//! | [`session`] | a client's side of a connection, sans-I/O |
//! | [`stamp`] | numbered messages |
//! | [`verify`] | their judge |

pub mod client;
pub mod clock;
pub mod crowd;
pub mod fleet;
pub mod histogram;
pub mod limits;
pub mod plan;
pub mod rest;
pub mod session;
pub mod stamp;
pub mod verify;

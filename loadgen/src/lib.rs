//! Load on a running Pushgate from outside: crowds of clients, producers, open-loop plans. It speaks the public
//! protocols alone and knows neither gateway nor dispatcher.
//!
//! | module | owns |
//! |---|---|
//! | [`client`] | one client of `pushgate.v1`: connects, reads pushes, acknowledges |
//! | [`crowd`] | many clients on one thread |
//! | [`limits`] | bounds |
//! | [`plan`] | when what is to be sent, whatever becomes of it |
//! | [`rest`] | a kept-alive connection to REST |

pub mod client;
pub mod crowd;
pub mod limits;
pub mod plan;
pub mod rest;

//! Composition: config → build → run → drain. The only place that puts gateway and dispatcher together.

mod account_watch;
mod banner;
mod data;
mod dev;
mod key_watch;
mod node;
mod signals;

pub use self::{
    dev::{OUTBOX, dev},
    node::{dispatcher, gateway},
};

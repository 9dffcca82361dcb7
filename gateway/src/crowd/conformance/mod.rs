//! What every engine must do, as facts. Each runs on every engine that works here.

mod closing;
mod delivery;
mod pressure;
mod random;
mod rig;

/// Runs each named fact on both engines.
macro_rules! on_every_engine {
    ($($fact:ident),* $(,)?) => {
        mod uring {
            $(#[test] fn $fact() { super::super::rig::on_uring(super::$fact) })*
        }
        mod epoll {
            $(#[test] fn $fact() { super::$fact(crate::crowd::engine::Engine::Epoll) })*
        }
    };
}
use on_every_engine;

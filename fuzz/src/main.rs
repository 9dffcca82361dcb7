//! Throws bytes at everything that parses bytes from outside.
//!
//!     pushgate-fuzz list
//!     pushgate-fuzz run TARGET [--seconds N] [--seed S] [--corpus FILE] [--keep] [--lines]
//!     pushgate-fuzz replay TARGET FILE
//!
//! | module | owns |
//! |---|---|
//! | [`targets`] | what is fuzzed, and what must hold for any bytes |
//! | [`explore`] | the search for inputs that reach new code |
//! | [`mutate`] | how one input becomes another |
//! | [`corpus`] | inputs in a file, a line each |
//! | [`counters`] | which code ran, counted by the compiler's instrumentation |
//! | [`lines`] | which lines that is |
//! | [`heap`] | how much memory a run takes |
//!
//! `scripts/fuzz` builds it with the instrumentation, which needs nothing but a stable compiler. Without, as in
//! `cargo test`, the search is blind, but everything else holds.
#![cfg_attr(not(target_os = "linux"), allow(unused))]

#[cfg(target_os = "linux")]
mod arguments;
#[cfg(target_os = "linux")]
mod corpus;
#[cfg(target_os = "linux")]
mod counters;
#[cfg(target_os = "linux")]
mod explore;
#[cfg(target_os = "linux")]
mod heap;
#[cfg(target_os = "linux")]
mod lines;
#[cfg(target_os = "linux")]
mod mutate;
#[cfg(target_os = "linux")]
mod targets;
#[cfg(all(test, target_os = "linux"))]
mod tests;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    arguments::act(std::env::args().skip(1).collect())
}

#[cfg(not(target_os = "linux"))]
compile_error!("Pushgate runs on Linux");

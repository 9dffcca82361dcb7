//! The `pushgate` binary: composition and command line.
//!
//! | module | owns |
//! |---|---|
//! | `allocator` | where the program's memory comes from |
//! | `boot` | composition: config → build → run → drain |
//! | `commands` | what the user asks for, one file per command |
//! | `config` | the configuration file, its checks and its reference |
//! | `failure` | how a command fails: what, where, what to do, exit code |
//! | `limits` | bounds of the command line and of configured values |
//! | `rest` | the dispatcher's REST interface as client commands use it |
//! | `runtime_file` | `runtime.json`: how client commands find a running server |
//! | `server` | the server and app that a client command acts on |
//! | `simulate` | a cluster too large to try, from a plan |

#[cfg(not(target_os = "linux"))]
compile_error!(
    "Pushgate runs on Linux (io_uring from kernel 6.0, epoll before). On another system build and run it in a Linux \
     virtual machine or container, for example: docker run --rm -it -v \"$PWD\":/pushgate -w /pushgate rust:1 cargo run --release -- dev"
);

#[cfg(target_os = "linux")]
mod allocator;
#[cfg(target_os = "linux")]
mod boot;
#[cfg(target_os = "linux")]
mod commands;
#[cfg(target_os = "linux")]
mod config;
#[cfg(target_os = "linux")]
mod failure;
#[cfg(target_os = "linux")]
mod limits;
#[cfg(target_os = "linux")]
mod rest;
#[cfg(target_os = "linux")]
mod runtime_file;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod simulate;

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use clap::Parser;

    allocator::use_small_pages();
    match commands::CommandLine::parse().run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            std::process::ExitCode::from(failure.code)
        }
    }
}

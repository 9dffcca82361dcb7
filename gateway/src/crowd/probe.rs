//! Whether io_uring works here, found out by using it: kernels, containers and sysctls forbid it in too many ways to
//! be guessed from a version.

use std::{
    io::{self, Write},
    os::unix::net::UnixStream,
};

use super::{ConnId, Crowd, Gone, Handler, Outgoing, Settings, uring::UringCrowd};

/// Turns after which a byte written to a socket pair must have come.
const TURNS: u32 = 1_000;

/// Why io_uring cannot be used, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// EPERM or EACCES.
    #[error(
        "io_uring is forbidden here: the container's seccomp profile blocks it, or the sysctl kernel.io_uring_disabled \
         is not 0; allow io_uring_setup, io_uring_enter and io_uring_register, or set gateway.engine to epoll"
    )]
    Forbidden,
    /// ENOSYS.
    #[error("this kernel has no io_uring; it needs Linux 6.0 or later, or gateway.engine set to epoll")]
    Missing,
    /// EINVAL to a flag or registration that came with Linux 6.0.
    #[error("this kernel's io_uring is too old; it needs Linux 6.0 or later, or gateway.engine set to epoll")]
    TooOld,
    /// ENOMEM.
    #[error("io_uring may not lock enough memory; raise the limit of locked memory (ulimit -l)")]
    Memory,
    /// EMFILE or ENFILE.
    #[error("no file descriptors left for io_uring; raise the limit of open files (ulimit -n)")]
    Descriptors,
    /// Another errno.
    #[error("io_uring does not work here: {0}")]
    Other(String),
    /// A byte written to a socket pair did not come.
    #[error("io_uring does not receive here: a byte sent over a socket pair did not come in {TURNS} turns")]
    Deaf,
}

impl Unavailable {
    pub(super) fn from_setup(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden,
            Some(libc::ENOSYS) => Self::Missing,
            Some(libc::EINVAL) => Self::TooOld,
            Some(libc::ENOMEM) => Self::Memory,
            Some(libc::EMFILE | libc::ENFILE) => Self::Descriptors,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Opens a small session ring with all that the engine uses, and receives one byte through it.
///
/// # Errors
/// The reason in words.
pub fn probe() -> Result<(), Unavailable> {
    let settings = Settings { ring_sockets: 1, ring_buffers: 1, ..Settings::default() };
    let mut crowd = UringCrowd::open(settings).map_err(|error| Unavailable::from_setup(&error))?;
    let (mut near, far) = UnixStream::pair().map_err(|error| Unavailable::from_setup(&error))?;
    crowd.insert(far.into()).map_err(|(_, error)| Unavailable::from_setup(&error))?;
    near.write_all(&[1]).map_err(|error| Unavailable::from_setup(&error))?;
    let mut ear = Ear(None);
    for _ in 0..TURNS {
        crowd.turn(0, &mut ear).map_err(|error| Unavailable::from_setup(&error))?;
        if let Some(heard) = ear.0 {
            return heard;
        }
    }
    Err(Unavailable::Deaf)
}

struct Ear(Option<Result<(), Unavailable>>);

impl Handler for Ear {
    fn received(&mut self, _: ConnId, _: &mut [u8], _: &mut dyn Outgoing) {
        self.0 = Some(Ok(()));
    }

    fn gone(&mut self, _: ConnId, why: Gone, _: &mut dyn Outgoing) {
        self.0 = Some(Err(match why {
            Gone::Failed(errno) => Unavailable::from_setup(&io::Error::from_raw_os_error(errno)),
            Gone::PeerClosed | Gone::Closed => Unavailable::Deaf,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_agrees_with_the_engine() {
        assert_eq!(probe().is_ok(), UringCrowd::open(Settings::default()).is_ok());
    }

    #[test]
    fn reasons_say_what_to_do() {
        for errno in [libc::EPERM, libc::ENOSYS, libc::EINVAL, libc::ENOMEM, libc::EMFILE] {
            let words = Unavailable::from_setup(&io::Error::from_raw_os_error(errno)).to_string();
            assert!(words.contains("ulimit") || words.contains("gateway.engine"), "{words}");
        }
    }
}

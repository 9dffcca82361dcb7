//! Which engine holds the crowd: asked for by the configuration, or found out at boot.

use std::{fmt, io, thread};

use tracing::info;

use crate::{
    config::EngineKind,
    crowd::{Crowd, Settings, uring::UringCrowd},
};

/// An engine that works here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// io_uring.
    Uring,
    /// epoll.
    Epoll,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        })
    }
}

impl Engine {
    /// The engine that `kind` asks for; `auto` tries a session ring first. Fails if io_uring is asked for and not to be
    /// had.
    pub(crate) fn choose(kind: EngineKind) -> io::Result<Self> {
        if kind == EngineKind::Epoll {
            return Ok(Self::Epoll);
        }
        // A ring interrupts the system calls of the thread that made it until it is torn down, so the try has its own.
        let tried = thread::spawn(|| UringCrowd::open(Settings::default()).map(drop)).join();
        match tried.unwrap_or_else(|_| Err(io::Error::other("the try of a session ring panicked"))) {
            Ok(()) => Ok(Self::Uring),
            Err(error) if kind == EngineKind::Uring => Err(error),
            Err(error) => {
                info!(%error, "io_uring is not to be had here, epoll is used");
                Ok(Self::Epoll)
            }
        }
    }

    /// A crowd of this engine.
    pub(crate) fn open(self) -> io::Result<Box<dyn Crowd>> {
        Ok(match self {
            Self::Uring => Box::new(UringCrowd::open(Settings::default())?),
            Self::Epoll => return Err(io::Error::new(io::ErrorKind::Unsupported, "this build has no epoll engine")),
        })
    }
}

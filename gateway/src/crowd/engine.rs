//! Which engine holds the crowd: chosen once at boot, by configuration and by what the kernel allows.

use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Crowd, Settings,
    epoll::EpollCrowd,
    probe::{Unavailable, probe},
    uring::UringCrowd,
};

/// What the configuration asks for (`gateway.engine`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EngineChoice {
    /// io_uring where it works, else epoll.
    #[default]
    Auto,
    /// io_uring, or refuse to start.
    Uring,
    /// epoll.
    Epoll,
}

/// The engine that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// See [`super::uring`].
    Uring,
    /// See [`super::epoll`].
    Epoll,
}

impl EngineChoice {
    /// Decides by really trying; a fallback is logged with its reason.
    ///
    /// # Errors
    /// io_uring is asked for and does not work here.
    pub fn resolve(self) -> Result<Engine, Unavailable> {
        self.resolve_with(probe)
    }

    fn resolve_with(self, probe: impl FnOnce() -> Result<(), Unavailable>) -> Result<Engine, Unavailable> {
        if self == Self::Epoll {
            return Ok(Engine::Epoll);
        }
        match probe() {
            Ok(()) => Ok(Engine::Uring),
            Err(reason) if self == Self::Auto => {
                tracing::warn!(%reason, "io_uring does not work here, epoll is used: the same service, at a higher cost");
                Ok(Engine::Epoll)
            }
            Err(reason) => Err(reason),
        }
    }
}

impl Engine {
    /// Opens a crowd; on the thread that will use it.
    ///
    /// # Errors
    /// No descriptors or memory left.
    pub fn open(self, settings: Settings) -> io::Result<Box<dyn Crowd>> {
        Ok(match self {
            Self::Uring => Box::new(UringCrowd::open(settings)?),
            Self::Epoll => Box::new(EpollCrowd::open(&settings)?),
        })
    }

    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbidden() -> Result<(), Unavailable> {
        Err(Unavailable::from_setup(&io::Error::from_raw_os_error(libc::EPERM)))
    }

    #[test]
    fn auto_falls_back_and_uring_refuses() {
        assert_eq!(EngineChoice::Auto.resolve_with(forbidden), Ok(Engine::Epoll));
        assert_eq!(EngineChoice::Auto.resolve_with(|| Ok(())), Ok(Engine::Uring));
        assert_eq!(EngineChoice::Epoll.resolve_with(|| unreachable!("nothing to find out")), Ok(Engine::Epoll));
        let refused = EngineChoice::Uring.resolve_with(forbidden).unwrap_err().to_string();
        assert!(refused.contains("forbidden") && refused.contains("seccomp"), "{refused}");
    }
}

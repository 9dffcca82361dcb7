//! Looks at the files of keys and secrets while a server runs: every `limits::KEY_LOOK_MS`, and at each SIGHUP.

use std::{
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pushgate_protocol::auth::{AppsFiles, Look, SharedApps};
use tracing::{info, warn};

use crate::{config::key_files, failure::Failure, limits};

/// The thread that looks; a disk that does not answer holds up nothing else. Dropped, it ends.
pub struct KeyWatch {
    apps: SharedApps,
    ask: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl KeyWatch {
    /// Begins to look.
    pub fn spawn(files: AppsFiles) -> Result<Self, Failure> {
        let apps = files.shared().clone();
        if files.is_empty() {
            return Ok(Self { apps, ask: None, thread: None });
        }
        let (ask, asked) = mpsc::channel();
        let unstarted = |error| Failure::new(format!("the files of keys cannot be watched: {error}"));
        let thread = thread::Builder::new().name("key-files".into()).spawn(move || watch(files, &asked));
        Ok(Self { apps, ask: Some(ask), thread: Some(thread.map_err(unstarted)?) })
    }

    /// The apps in use.
    pub fn apps(&self) -> SharedApps {
        self.apps.clone()
    }

    /// Looks now.
    pub fn look(&self) {
        if let Some(ask) = &self.ask {
            // The thread ends only with this sender.
            let _ = ask.send(());
        }
    }
}

impl Drop for KeyWatch {
    fn drop(&mut self) {
        drop(self.ask.take());
        if let Some(thread) = self.thread.take() {
            // It ends on its own; a panic there was logged.
            let _ = thread.join();
        }
    }
}

fn watch(mut files: AppsFiles, asked: &mpsc::Receiver<()>) {
    while !matches!(
        asked.recv_timeout(Duration::from_millis(limits::KEY_LOOK_MS)),
        Err(mpsc::RecvTimeoutError::Disconnected)
    ) {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        match files.look(now_ms, &mut key_files::read) {
            Look::Unchanged => {}
            Look::Replaced => info!("keys and secrets of apps were read anew"),
            Look::Refused(problem) => warn!(problem, "keys or secrets cannot be used; those of before stay in force"),
        }
    }
}

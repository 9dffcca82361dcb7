//! Looks at the files of keys and secrets while a server runs: every `limits::KEY_LOOK_MS`, and at each SIGHUP, which also
//! lets it read `[[apps]]` of the configuration again.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pushgate_protocol::{
    apps::AppConfig,
    auth::{AppsFiles, Look, SharedApps},
};
use tracing::{info, warn};

use crate::{config::key_files, failure::Failure, limits};

/// Reads the apps of the configuration again, or says what is wrong with them.
pub type ReadApps = Box<dyn Fn() -> Result<Vec<AppConfig>, String> + Send>;

/// The thread that looks; a disk that does not answer holds up nothing else. Dropped, it ends.
pub struct KeyWatch {
    apps: SharedApps,
    ask: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl KeyWatch {
    /// Begins to look.
    pub fn spawn(files: AppsFiles, read_apps: ReadApps) -> Result<Self, Failure> {
        let apps = files.shared().clone();
        let (ask, asked) = mpsc::channel();
        let unstarted = |error| Failure::new(format!("the files of keys cannot be watched: {error}"));
        let thread = thread::Builder::new().name("key-files".into()).spawn(move || watch(files, &read_apps, &asked));
        Ok(Self { apps, ask: Some(ask), thread: Some(thread.map_err(unstarted)?) })
    }

    /// The apps in use.
    pub fn apps(&self) -> SharedApps {
        self.apps.clone()
    }

    /// Reads the apps again, and looks now.
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

fn watch(mut files: AppsFiles, read_apps: &ReadApps, asked: &mpsc::Receiver<()>) {
    loop {
        let reread = match asked.recv_timeout(Duration::from_millis(limits::KEY_LOOK_MS)) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        if !reread && files.is_empty() {
            continue;
        }
        let look = match reread.then(read_apps) {
            None => files.look(now_ms, &mut key_files::read),
            Some(Ok(apps)) => files.reconfigure(apps, now_ms, &mut key_files::read),
            Some(Err(problem)) => files.refuse(problem, now_ms),
        };
        match look {
            Look::Unchanged => {}
            Look::Replaced => info!("apps, their keys and secrets were read anew"),
            Look::Refused(problem) => {
                warn!(problem, "apps, their keys or secrets cannot be used; those of before stay in force");
            }
        }
    }
}

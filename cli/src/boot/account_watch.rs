//! Looks at the configuration while a dispatcher runs, each `limits::ACCOUNT_LOOK_MS` and at each SIGHUP, and lets it replace its accounts of
//! mail and text messages. A configuration that is wrong changes nothing.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::Duration,
};

use pushgate_dispatcher::channels::{config::AccountConfig, roster::Roster};
use tracing::{info, warn};

use crate::{config::key_files, failure::Failure, limits};

/// Reads the accounts of mail and of text messages again, or says what is wrong with the configuration.
pub type ReadAccounts = Box<dyn Fn() -> Result<[Vec<AccountConfig>; 2], String> + Send>;

/// The thread that looks. Dropped, it ends.
pub struct AccountWatch {
    ask: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AccountWatch {
    /// Begins to look at `file`; without one only when it is asked to.
    pub fn spawn(roster: Roster, file: Option<PathBuf>, read: ReadAccounts) -> Result<Self, Failure> {
        let (ask, asked) = mpsc::channel();
        let unstarted = |error| Failure::new(format!("the accounts cannot be watched: {error}"));
        let before = file.as_deref().and_then(text);
        let run = move || watch(&roster, file.as_deref(), before, &read, &asked);
        let thread = thread::Builder::new().name("accounts".into()).spawn(run);
        Ok(Self { ask: Some(ask), thread: Some(thread.map_err(unstarted)?) })
    }

    /// Looks now.
    pub fn look(&self) {
        if let Some(ask) = &self.ask {
            // The thread ends only with this sender.
            let _ = ask.send(());
        }
    }
}

impl Drop for AccountWatch {
    fn drop(&mut self) {
        drop(self.ask.take());
        if let Some(thread) = self.thread.take() {
            // It ends on its own; a panic there was logged.
            let _ = thread.join();
        }
    }
}

fn watch(
    roster: &Roster,
    file: Option<&Path>,
    mut before: Option<String>,
    read: &ReadAccounts,
    asked: &mpsc::Receiver<()>,
) {
    loop {
        let asked = match asked.recv_timeout(Duration::from_millis(limits::ACCOUNT_LOOK_MS)) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let now = file.and_then(text);
        // A file that is away for a moment, while it is replaced, says nothing.
        if !asked && (now.is_none() || now == before) {
            continue;
        }
        before = now;
        let replaced = read().inspect_err(|_| roster.refuse());
        let replaced =
            replaced.and_then(|[email, sms]| roster.replace(&email, &sms).map_err(|wrong| wrong.to_string()));
        match replaced {
            Ok(true) => info!("accounts of mail and text messages were read anew"),
            Ok(false) => {}
            Err(problem) => {
                warn!(problem, "the configuration cannot be used; accounts of mail and text messages stay as they are");
            }
        }
    }
}

fn text(file: &Path) -> Option<String> {
    key_files::read(file.to_str()?).ok()
}

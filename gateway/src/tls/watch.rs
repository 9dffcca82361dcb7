//! Looks at the certificates' files: a change of any, or a request, reloads them all.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{acceptor::Acceptor, config::CertificateConfig};

/// The thread that looks. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Watcher {
    ask: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Begins to look.
    pub(crate) fn spawn(acceptor: Arc<Acceptor>) -> std::io::Result<Self> {
        let (ask, asked) = mpsc::channel();
        let before = state(&acceptor.settings().certificates);
        let thread =
            thread::Builder::new().name("tls-files".to_owned()).spawn(move || watch(&acceptor, before, &asked))?;
        Ok(Self { ask: Some(ask), thread: Some(thread) })
    }

    /// Reloads now.
    pub(crate) fn reload(&self) {
        if let Some(ask) = &self.ask {
            // The thread ends only with this sender.
            let _ = ask.send(());
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.ask.take());
        if let Some(thread) = self.thread.take() {
            // It ends on its own; a panic there was logged.
            let _ = thread.join();
        }
    }
}

fn watch(acceptor: &Acceptor, mut seen: Vec<FileState>, asked: &mpsc::Receiver<()>) {
    let settings = acceptor.settings();
    let pause = match settings.reload_s {
        0 => Duration::MAX,
        seconds => Duration::from_secs(u64::from(seconds)),
    };
    loop {
        let forced = match asked.recv_timeout(pause) {
            Ok(()) => true,
            Err(mpsc::RecvTimeoutError::Timeout) => false,
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        };
        // Looked at before they are read: a change in between is seen the next time.
        let now = state(&settings.certificates);
        if forced || now != seen {
            seen = now;
            acceptor.reload();
        }
    }
}

/// What tells that a file is another: `None` while it is not there.
type FileState = Option<(u64, u64, i64, i64)>;

fn state(files: &[CertificateConfig]) -> Vec<FileState> {
    let paths = files.iter().flat_map(|pair| [&pair.cert, &pair.key]);
    let state = |path| fs::metadata(path).ok().map(|m| (m.ino(), m.size(), m.mtime(), m.mtime_nsec()));
    paths.map(state).collect()
}

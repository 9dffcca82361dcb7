//! Looks at the configuration while a dispatcher runs, each `limits::ACCOUNT_LOOK_MS` and at each SIGHUP, and lets it replace its accounts of
//! mail and text messages. A configuration that is wrong changes nothing, and is tried again.

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
        let run = move || watch(&roster, file.as_deref(), &read, &asked);
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

fn watch(roster: &Roster, file: Option<&Path>, read: &ReadAccounts, asked: &mpsc::Receiver<()>) {
    let mut looks = Looks::new(roster, file, read);
    loop {
        let asked = match asked.recv_timeout(Duration::from_millis(limits::ACCOUNT_LOOK_MS)) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        looks.look(asked);
    }
}

/// What was seen so far.
struct Looks<'a> {
    roster: &'a Roster,
    file: Option<&'a Path>,
    read: &'a ReadAccounts,
    /// The file whose accounts are in force. At the start none: whatever stands there then is compared with the accounts themselves, so that
    /// nothing that changed while they were opened is missed.
    in_force: Option<String>,
    /// The file at the last look.
    last: Option<String>,
    /// What was wrong at the last try, told once.
    problem: Option<String>,
    /// Looks until what was wrong is tried again.
    rest: u32,
}

impl<'a> Looks<'a> {
    fn new(roster: &'a Roster, file: Option<&'a Path>, read: &'a ReadAccounts) -> Self {
        Self { roster, file, read, in_force: None, last: None, problem: None, rest: 0 }
    }

    /// Looks once; unless it was `asked` for, only a file that is as it was at the last look is read, for one that changes may be half written.
    fn look(&mut self, asked: bool) {
        let now = self.file.and_then(text);
        let settled = now == self.last;
        self.last.clone_from(&now);
        if !settled {
            self.rest = 0;
        }
        // A file that is away for a moment, while it is replaced, says nothing.
        let waits = !settled || now.is_none() || now == self.in_force || self.rest > 0;
        self.rest = self.rest.saturating_sub(1);
        if waits && !asked {
            return;
        }
        let read = (self.read)();
        if self.file.and_then(text) != now {
            // It changed under our hands: the next look settles it.
            return;
        }
        match read.and_then(|[email, sms]| self.roster.replace(&email, &sms).map_err(|wrong| wrong.to_string())) {
            Ok(replaced) => {
                (self.in_force, self.problem, self.rest) = (now, None, 0);
                if replaced {
                    info!("accounts of mail and text messages were read anew");
                }
            }
            Err(problem) => {
                // What it names, like the file of a password, may come later.
                self.rest = limits::ACCOUNT_RETRY_LOOKS;
                if asked || self.problem.as_ref() != Some(&problem) {
                    self.roster.refuse();
                    warn!(
                        problem,
                        "the configuration cannot be used; accounts of mail and text messages stay as they are"
                    );
                }
                self.problem = Some(problem);
            }
        }
    }
}

fn text(file: &Path) -> Option<String> {
    key_files::read(file.to_str()?).ok()
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use pushgate_dispatcher::channels::{ChannelMetrics, config::ChannelsConfig};
    use pushgate_protocol::message::Channel;
    use tempfile::TempDir;

    use super::*;

    /// A file that names an account in each line, and a folder without which an account named `later` is wrong.
    struct Fixture {
        folder: TempDir,
        roster: Roster,
        tries: Arc<AtomicUsize>,
        read: ReadAccounts,
    }

    fn account(name: &str) -> AccountConfig {
        AccountConfig::new(name, "stub", "stub:sent")
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let metrics = ChannelMetrics::register(&mut prometheus_client::registry::Registry::default());
            let (roster, _) = Roster::open(&[account("a")], &[], ChannelsConfig::default(), metrics).unwrap();
            let tries = Arc::new(AtomicUsize::new(0));
            let (counted, path) = (Arc::clone(&tries), folder.path().to_owned());
            let read: ReadAccounts = Box::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                let text = fs::read_to_string(path.join("file")).map_err(|error| error.to_string())?;
                let names: Vec<_> = text.lines().collect();
                if names.contains(&"later") && !path.join("password").exists() {
                    return Err("later has no password".into());
                }
                Ok([names.into_iter().map(account).collect(), Vec::new()])
            });
            let new = Self { folder, roster, tries, read };
            new.write("a\n");
            new
        }

        fn write(&self, text: &str) {
            fs::write(self.file(), text).unwrap();
        }

        fn file(&self) -> PathBuf {
            self.folder.path().join("file")
        }

        fn has(&self, name: &str) -> bool {
            self.roster.accounts().has(Channel::Email, name)
        }

        fn tries(&self) -> usize {
            self.tries.swap(0, Ordering::Relaxed)
        }
    }

    #[test]
    fn what_changed_before_the_first_look_is_not_missed_and_what_did_not_is_read_once() {
        let fixture = Fixture::new();
        fixture.write("a\nb\n");
        let file = fixture.file();
        let mut looks = Looks::new(&fixture.roster, Some(&file), &fixture.read);
        (0..10).for_each(|_| looks.look(false));
        assert_eq!((fixture.has("b"), fixture.tries()), (true, 1));
    }

    #[test]
    fn a_file_that_still_changes_is_not_read_unless_asked_for() {
        let fixture = Fixture::new();
        let file = fixture.file();
        let mut looks = Looks::new(&fixture.roster, Some(&file), &fixture.read);
        (0..2).for_each(|_| looks.look(false));
        assert_eq!(fixture.tries(), 1);
        for half in ["a\nbe", "a\nbet", "a\nbeta"] {
            fixture.write(half);
            looks.look(false);
            assert_eq!(fixture.tries(), 0, "{half}");
        }
        looks.look(false);
        assert!(fixture.has("beta") && !fixture.has("bet"));
        fs::remove_file(&file).unwrap();
        (0..3).for_each(|_| looks.look(false));
        assert_eq!(fixture.tries(), 1, "a file that is away says nothing");
        fixture.write("c");
        looks.look(true);
        assert!(fixture.has("c"));
    }

    #[test]
    fn what_was_refused_is_tried_again_after_a_rest_and_at_once_when_it_changes_or_is_asked_for() {
        let fixture = Fixture::new();
        let file = fixture.file();
        let mut looks = Looks::new(&fixture.roster, Some(&file), &fixture.read);
        fixture.write("later");
        (0..2).for_each(|_| looks.look(false));
        assert_eq!((fixture.tries(), fixture.has("later")), (1, false));
        (0..limits::ACCOUNT_RETRY_LOOKS).for_each(|_| looks.look(false));
        assert_eq!(fixture.tries(), 0);
        fs::write(fixture.folder.path().join("password"), "").unwrap();
        looks.look(false);
        assert_eq!((fixture.tries(), fixture.has("later")), (1, true));
        fs::remove_file(fixture.folder.path().join("password")).unwrap();
        fixture.write("later\nd");
        (0..2).for_each(|_| looks.look(false));
        assert!(!fixture.has("d"));
        fixture.write("d");
        (0..2).for_each(|_| looks.look(false));
        assert!(fixture.has("d") && !fixture.has("later"));
    }

    #[test]
    fn what_goes_back_to_what_is_in_force_is_left_alone() {
        let fixture = Fixture::new();
        let file = fixture.file();
        let mut looks = Looks::new(&fixture.roster, Some(&file), &fixture.read);
        (0..2).for_each(|_| looks.look(false));
        fixture.write("later");
        (0..2).for_each(|_| looks.look(false));
        fixture.write("a\n");
        assert_eq!(fixture.tries(), 2);
        (0..20).for_each(|_| looks.look(false));
        assert_eq!((fixture.tries(), fixture.has("a")), (0, true));
    }
}

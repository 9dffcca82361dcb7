//! Several processes that make one run: how one leads, how others join, and where their shared key is.
//!
//! On one machine the leader leaves a random key where this user's processes alone can read it; between machines the user gives one.

use std::{
    env, fs,
    io::{self, Read},
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use pushgate_loadgen::{
    join::{JoinError, Joining, Lobby, SharedKey},
    plan::Stripe,
    report::Report,
    run::{self, RunError},
    scenario::Scenario,
    span,
};
use ring::rand::{SecureRandom, SystemRandom};

use super::{
    check_machine,
    live::Live,
    options::ReportArgs,
    place::{Directions, PlaceArgs},
    tell,
};
use crate::{failure::Failure, limits::JOIN_KEY_FILE_BYTES_MAX, runtime_file::write_private};

/// Where the shared key is, if no file is named.
const KEY_VARIABLE: &str = "PUSHGATE_JOIN_KEY";
/// Where the leader listens, if nothing is said.
const LISTEN: &str = "127.0.0.1:7460";

/// How many processes make the run, and where the others find the first.
#[derive(Debug, Clone, Args)]
pub struct CompanyArgs {
    /// Processes that make this run together, this one with them; the others: `pushgate loadgen --join HOST:PORT`
    #[arg(long, default_value_t = 1, value_name = "N")]
    processes: u32,
    /// Where this process waits for the others; beyond this machine it takes a shared key
    #[arg(long, default_value = LISTEN, value_name = "ADDRESS", requires = "processes")]
    join_listen: SocketAddr,
    /// How long it waits for them
    #[arg(long, default_value = "2m", value_name = "TIME", value_parser = time, requires = "processes")]
    join_wait: Duration,
    /// File of the shared key, at least 16 bytes [default: of the variable PUSHGATE_JOIN_KEY; on one machine none is needed]
    #[arg(long, value_name = "FILE", requires = "processes")]
    join_key_file: Option<PathBuf>,
}

/// How a process takes part in the run of another.
#[derive(Debug, Clone, Args)]
pub struct JoinArgs {
    /// Take part in a run that another process leads there; everything else it tells
    #[arg(long, value_name = "HOST:PORT")]
    join: Option<String>,
    /// File of the shared key [default: of the variable PUSHGATE_JOIN_KEY; on one machine none is needed]
    #[arg(long, value_name = "FILE", requires = "join")]
    join_key_file: Option<PathBuf>,
}

impl CompanyArgs {
    /// Whether there is more than one process.
    pub fn is_joint(&self) -> bool {
        self.processes != 1
    }

    /// Waits for the others, runs, and reports what became of all.
    pub fn lead(&self, scenario: &Scenario, place: &PlaceArgs, options: &ReportArgs) -> Result<(), Failure> {
        if let Some(why) = place.is_for_one() {
            return Err(Failure::usage(why));
        }
        let (place, directions) = place.find_for_all(scenario)?;
        let far = !self.join_listen.ip().is_loopback();
        if let (true, Some(near)) = (far, directions.near().first()) {
            return Err(Failure::usage(format!("for processes of other machines {near} is their own machine"))
                .hint("say where the server is for all of them: --url ws://HOST:PORT --rest http://HOST:PORT"));
        }
        let share = scenario.share(Stripe { index: 0, of: self.processes });
        let share = share.map_err(|error| Failure::usage(error.to_string()))?;
        check_machine(&share, &place)?;
        let site = serde_json::to_value(&directions).map_err(|error| Failure::new(error.to_string()))?;
        let bound = TcpListener::bind(self.join_listen).and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|error| {
            Failure::new(format!("cannot listen at {}: {error}", self.join_listen))
                .hint("another run may lead there: name another address with --join-listen")
        })?;
        // Removed when this ends. Whoever has the port has its file.
        let (key, _left) = self.key(address)?;
        let lobby = Lobby::open(listener, key, scenario, self.processes, &site);
        let lobby = lobby.map_err(|error| Failure::usage(error.to_string()))?;
        options.check_files()?;
        let mut live = Live::start(scenario, &place, options.json)?;
        let stop = live.stop();
        let others = self.processes - 1;
        eprintln!("waiting up to {:?} for {others} more: pushgate loadgen --join {address}", self.join_wait);
        let leading = lobby.wait(self.join_wait, &stop, |what| eprintln!("{what}"));
        let mut leading = leading.map_err(|error| Failure::new(error.to_string()))?;
        let outcome = run::run_in(&mut leading, &share, &place.site, &stop, &mut |second| live.tell(second));
        live.end();
        let outcome = outcome.map_err(|error| place.explain(&error))?;
        let report = Report::joint(scenario, leading.conclude(outcome), place.circumstances, &options.slo);
        tell(&report, options)?;
        match report.processes.iter().find_map(|process| Some((process.process, process.gone.as_ref()?))) {
            Some((process, why)) => Err(Failure::new(format!("process {process} did not come to its end: {why}"))),
            None => Ok(()),
        }
    }

    /// The shared key; on one machine a new one, which lies in a file as long as what is answered with it lives.
    fn key(&self, address: SocketAddr) -> Result<(SharedKey, Option<LeftKey>), Failure> {
        if let Some(key) = given(self.join_key_file.as_deref())? {
            return Ok((key, None));
        }
        if !address.ip().is_loopback() {
            return Err(Failure::usage(format!("--join-listen {} takes a shared key", self.join_listen))
                .hint(format!("give all processes the same: --join-key-file FILE, or the variable {KEY_VARIABLE}")));
        }
        let left = LeftKey::leave(address)?;
        Ok((parse(&left.text, &left.path.display().to_string())?, Some(left)))
    }
}

impl JoinArgs {
    /// Takes part, and ends when the run does.
    pub fn run(&self) -> Result<(), Failure> {
        let Some(address) = &self.join else {
            return Err(Failure::usage("name a workload, or a run to take part in: --join HOST:PORT"));
        };
        let key = match given(self.join_key_file.as_deref())? {
            Some(key) => key,
            None => left_by_leader(address)?,
        };
        let failed = |error: JoinError| {
            Failure::new(format!("cannot join the run at {address}: {error}")).hint(match error {
                JoinError::WrongKey => "give both processes the same key, or on one machine none",
                _ => "is `pushgate loadgen WORKLOAD --processes N` waiting there?",
            })
        };
        let joining = Joining::join(address, &key).map_err(failed)?;
        let plan = joining.plan.clone();
        let place = serde_json::from_value::<Directions>(plan.site)
            .map_err(|error| Failure::new(format!("the plan of {address} cannot be read: {error}")))
            .and_then(|directions| directions.place())
            .and_then(|place| check_machine(&plan.scenario, &place).map(|()| place));
        let place = match place {
            Ok(place) => place,
            Err(failure) => {
                joining.fail(&failure.what);
                return Err(failure);
            }
        };
        let stripe = plan.seat.stripe;
        let mut live = Live::start(&plan.scenario, &place, false)?;
        let stop: Arc<AtomicBool> = live.stop();
        let mut joined = joining.ready(Arc::clone(&stop)).map_err(failed)?;
        let clock = joined.offset();
        eprintln!(
            "process {} of {} of the run that {address} leads; its clock is known to {} us",
            stripe.index + 1,
            stripe.of,
            clock.bound_us
        );
        let outcome = run::run_in(&mut joined, &plan.scenario, &place.site, &stop, &mut |second| live.tell(second));
        live.end();
        match outcome {
            Ok(_) => {
                eprintln!("done: the report is the leader's");
                Ok(())
            }
            Err(error) => {
                let failure = place.explain(&error);
                if !matches!(error, RunError::Company(_)) {
                    joined.fail(&failure.what);
                }
                Err(failure)
            }
        }
    }
}

/// A key that the leader left for processes of its user and machine. Dropping it removes it.
struct LeftKey {
    path: PathBuf,
    text: String,
}

impl LeftKey {
    fn leave(address: SocketAddr) -> Result<Self, Failure> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| Failure::new("the system gives no random numbers"))?;
        let (path, text) = (left_at(address)?, URL_SAFE_NO_PAD.encode(bytes));
        let unwritable = |error: io::Error| Failure::new(format!("cannot write {}: {error}", path.display()));
        write_private(&path, &text).map_err(unwritable)?;
        Ok(Self { path, text })
    }
}

impl Drop for LeftKey {
    fn drop(&mut self) {
        // One that stays opens nothing: the next leader leaves another.
        let _ = fs::remove_file(&self.path);
    }
}

/// Where the leader that listens there leaves its key: a directory of this user's alone.
fn left_at(address: SocketAddr) -> Result<PathBuf, Failure> {
    let user = rustix::process::getuid().as_raw();
    let directory = match env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) if Path::new(&directory).is_absolute() => Path::new(&directory).join("pushgate"),
        _ => env::temp_dir().join(format!("pushgate-{user}")),
    };
    let unusable = |why: &dyn std::fmt::Display| {
        Failure::new(format!("the directory of keys {} is of no use: {why}", directory.display()))
            .hint(format!("give all processes the same key: --join-key-file FILE, or the variable {KEY_VARIABLE}"))
    };
    match fs::DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(unusable(&error)),
        _ => {}
    }
    // Whoever made it first in a place that is open to all could read what is put there.
    let found = fs::symlink_metadata(&directory).map_err(|error| unusable(&error))?;
    match found.is_dir() && found.uid() == user && found.mode() & 0o077 == 0 {
        true => Ok(directory.join(format!("join-{}-{}.key", address.ip(), address.port()))),
        false => Err(unusable(&"it must be this user's alone (mode 0700)")),
    }
}

/// The key that a leader on this machine left.
fn left_by_leader(address: &str) -> Result<SharedKey, Failure> {
    let mut found = address.to_socket_addrs().map_err(|error| Failure::usage(format!("--join {address}: {error}")))?;
    match found.next() {
        Some(found) if found.ip().is_loopback() => {
            let path = left_at(found)?;
            let none = |error: Failure| error.hint(format!("no run of this user waits at {address} on this machine"));
            read(&path).map_err(none)
        }
        _ => Err(Failure::usage(format!("--join {address} takes the key that the leader has"))
            .hint(format!("--join-key-file FILE, or the variable {KEY_VARIABLE}"))),
    }
}

/// The key that the user gives.
fn given(file: Option<&Path>) -> Result<Option<SharedKey>, Failure> {
    match (file, env::var(KEY_VARIABLE)) {
        (Some(path), _) => read(path).map(Some),
        (None, Ok(text)) => parse(&text, KEY_VARIABLE).map(Some),
        (None, Err(env::VarError::NotPresent)) => Ok(None),
        (None, Err(error)) => Err(Failure::usage(format!("{KEY_VARIABLE}: {error}"))),
    }
}

fn read(path: &Path) -> Result<SharedKey, Failure> {
    let unreadable = |error: io::Error| Failure::usage(format!("cannot read the key {}: {error}", path.display()));
    let mut text = String::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(JOIN_KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    parse(&text, &path.display().to_string())
}

fn parse(text: &str, from: &str) -> Result<SharedKey, Failure> {
    SharedKey::parse(text).map_err(|error| Failure::usage(format!("{from}: {error}")))
}

fn time(text: &str) -> Result<Duration, String> {
    span::parse(text).map_err(|error| error.to_string())
}

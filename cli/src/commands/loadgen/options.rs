//! What workloads have in common: the crowd, what is sent, and what becomes of the report.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use pushgate_loadgen::{
    report::{Report, slo::Objective},
    scenario::{
        Audience, DOMAIN, RECIPIENTS, Scenario,
        presets::{self, Common, Sending},
    },
    span,
};
use pushgate_protocol::link::Lane;

use crate::failure::Failure;

/// The clients, and how long it takes.
#[derive(Debug, Clone, Args)]
pub struct CrowdArgs {
    /// Clients
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    connections: u32,
    /// Clients that share a user
    #[arg(long, default_value_t = 1, value_name = "N")]
    devices: u32,
    /// Clients that start to connect in a second [default: as fast as they are greeted]
    #[arg(long, value_name = "PER_SECOND")]
    connect_rate: Option<u32>,
    /// How long is measured: us, ms, s, m or h
    #[arg(long, default_value = "30s", value_parser = time)]
    duration: Duration,
    /// What comes before and is not measured; not for `connect`
    #[arg(long, default_value = "5s", value_parser = time)]
    warm_up: Duration,
    /// How long a client waits before it acknowledges
    #[arg(long, default_value = "0s", value_parser = time)]
    ack_delay: Duration,
    /// Clients never acknowledge
    #[arg(long, conflicts_with = "ack_delay")]
    never_ack: bool,
    /// How often each client pings the server [default: never]
    #[arg(long, value_name = "TIME", value_parser = time)]
    ping_every: Option<Duration>,
}

impl CrowdArgs {
    /// As scenarios want it.
    pub fn common(&self, warm_up: Duration) -> Common {
        Common {
            connections: self.connections,
            devices_per_user: self.devices,
            connect_rate: self.connect_rate,
            duration: self.duration,
            warm_up,
            ack_delay: (!self.never_ack).then_some(self.ack_delay),
            ping_every: self.ping_every,
            recipients: RECIPIENTS,
            domain: DOMAIN.into(),
        }
    }

    /// What comes before and is not measured.
    pub fn warm_up(&self) -> Duration {
        self.warm_up
    }
}

/// What is sent.
#[derive(Debug, Clone, Args)]
pub struct SendingArgs {
    /// Messages a second [default: 1000; of a fanout 5]
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<u64>,
    /// Whom each message is for [default: users]
    #[arg(long, value_enum)]
    to: Option<ToName>,
    /// Bytes of the body
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    size: u32,
    /// The lane
    #[arg(long, value_enum, default_value = "normal")]
    lane: LaneName,
    /// Messages want no acknowledgement
    #[arg(long)]
    no_ack: bool,
    /// Messages are not delivered after this time
    #[arg(long, default_value = "5m", value_parser = time)]
    ttl: Duration,
    /// Each message is scheduled for this long after its planned time [default: sent at once; of `schedule` 10s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    delay: Option<Duration>,
    /// Share of the clients that do not read
    #[arg(long, default_value = "0%", value_name = "PERCENT", value_parser = share)]
    slow: f64,
}

/// Whom messages are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ToName {
    /// A user, with all its clients.
    Users,
    /// One client.
    Devices,
    /// Everybody.
    All,
}

/// A lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LaneName {
    /// Overtakes the others.
    High,
    /// The default.
    Normal,
    /// Bulk.
    Low,
}

impl LaneName {
    fn lane(self) -> Lane {
        match self {
            Self::High => Lane::High,
            Self::Normal => Lane::Normal,
            Self::Low => Lane::Low,
        }
    }
}

impl SendingArgs {
    /// Whom messages are for.
    pub fn to(&self) -> Audience {
        match self.to {
            None | Some(ToName::Users) => Audience::Users,
            Some(ToName::Devices) => Audience::Devices,
            Some(ToName::All) => Audience::All,
        }
    }

    /// Whether the command line says whom messages are for.
    pub fn names_audience(&self) -> bool {
        self.to.is_some()
    }

    /// How long after its planned time each message is scheduled for, if the command line says so.
    pub fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// As scenarios want it.
    pub fn sending(&self, to: Audience, rate: u64) -> Sending {
        Sending {
            lane: self.lane.lane(),
            rate_per_s: self.rate.unwrap_or(rate),
            to,
            body_bytes: self.size,
            ack: !self.no_ack,
            ttl: self.ttl,
            slow_share: self.slow,
            delay: self.delay.unwrap_or_default(),
        }
    }
}

/// Mails or text messages, and how long it takes.
#[derive(Debug, Clone, Args)]
pub struct AddressArgs {
    /// Recipients, in turn; of text messages at most 1000, numbers that nobody has
    #[arg(long, default_value_t = RECIPIENTS, value_name = "N")]
    recipients: u32,
    /// Domain of the mail addresses: one whose mail you take yourself, or nobody's
    #[arg(long, default_value = DOMAIN, value_name = "DOMAIN", value_parser = domain)]
    domain: String,
    /// Messages a second
    #[arg(long, default_value_t = 100, value_name = "PER_SECOND")]
    rate: u64,
    /// Bytes of the body
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    size: u32,
    /// The lane
    #[arg(long, value_enum, default_value = "normal")]
    lane: LaneName,
    /// Messages are not sent after this time
    #[arg(long, default_value = "5m", value_parser = time)]
    ttl: Duration,
    /// How long is measured: us, ms, s, m or h
    #[arg(long, default_value = "30s", value_parser = time)]
    duration: Duration,
    /// What comes before and is not measured
    #[arg(long, default_value = "5s", value_parser = time)]
    warm_up: Duration,
}

impl AddressArgs {
    /// As scenarios want it.
    pub fn scenario(&self, name: &str, to: Audience) -> Scenario {
        let common = Common {
            connections: 0,
            devices_per_user: 1,
            connect_rate: None,
            duration: self.duration,
            warm_up: self.warm_up,
            ack_delay: None,
            ping_every: None,
            recipients: self.recipients,
            domain: self.domain.clone(),
        };
        let sending = Sending {
            lane: self.lane.lane(),
            rate_per_s: self.rate,
            to,
            body_bytes: self.size,
            ack: true,
            ttl: self.ttl,
            slow_share: 0.0,
            delay: Duration::ZERO,
        };
        presets::push(name, &common, &sending)
    }
}

fn domain(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let whole = !text.is_empty() && text.len() <= 253 && text.chars().all(fits);
    whole.then(|| text.to_owned()).ok_or_else(|| "must be a domain, like example.com".into())
}

/// What becomes of the report.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the report as one page of HTML, with charts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// An objective, for the exit code: p99=10ms, high.p50=2ms, connect.p99=1s, lost=0, errors=0.1%, rate=10000; may be repeated
    #[arg(long, value_name = "OBJECTIVE")]
    pub slo: Vec<Objective>,
    /// Print the report as JSON, and nothing else on stdout
    #[arg(long)]
    pub json: bool,
}

impl ReportArgs {
    /// Fails before a long run if a file cannot be written.
    pub fn check_files(&self) -> Result<(), Failure> {
        for path in [&self.report, &self.html].into_iter().flatten() {
            fs::OpenOptions::new().append(true).create(true).open(path).map_err(|error| unwritable(path, &error))?;
        }
        Ok(())
    }

    /// Writes the files.
    pub fn write(&self, report: &Report, page: impl Fn() -> String) -> Result<(), Failure> {
        if let Some(path) = &self.report {
            let json = serde_json::to_string_pretty(report).map_err(|error| Failure::new(error.to_string()))?;
            fs::write(path, json + "\n").map_err(|error| unwritable(path, &error))?;
            eprintln!("written      {}", path.display());
        }
        if let Some(path) = &self.html {
            fs::write(path, page()).map_err(|error| unwritable(path, &error))?;
            eprintln!("written      {}", path.display());
        }
        Ok(())
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot write {}: {error}", path.display()))
}

fn time(text: &str) -> Result<Duration, String> {
    span::parse(text).map_err(|error| error.to_string())
}

fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    let share = percent.filter(|percent| (0.0..=100.0).contains(percent));
    share.map(|percent| percent / 100.0).ok_or_else(|| "must be a percentage of 0% to 100%, like 1%".to_owned())
}

//! `pushgate loadgen`: load on a running server, and what it did with it.
//!
//! | module | owns |
//! |---|---|
//! | `options` | what all workloads have in common |
//! | `place` | where the load goes |
//! | `entry` | how messages go in other than by REST |
//! | `clock` | how far the server's clock is from this machine's |
//! | `preflight` | what this machine lacks for it |
//! | `company` | several processes that make one run |
//! | `compare`, `capacity` | what is asked of several runs |
//! | `live` | what is told while it runs |
//! | `summary` | what is told at the end |

mod capacity;
mod clock;
mod company;
mod compare;
mod entry;
mod live;
mod options;
mod place;
mod preflight;
mod summary;

use std::{fs, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use pushgate_loadgen::{
    report::{Report, html},
    run,
    scenario::{
        Audience, Scenario, file,
        presets::{self, Sending, Stay},
    },
};

use self::{
    company::CompanyArgs,
    live::Live,
    options::{AddressArgs, CrowdArgs, ReportArgs, SendingArgs},
    place::{Place, PlaceArgs},
};
use crate::failure::Failure;

/// How long after its planned time `loadgen schedule` has a message come, if nothing else is said.
const SCHEDULED_FOR: Duration = Duration::from_secs(10);

/// Arguments of `loadgen`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "Start with `pushgate dev` in one terminal, and in another:\n  \
        pushgate loadgen push\n  \
        pushgate loadgen push --connections 10000 --rate 5000 --duration 1m --slo p99=50ms --slo lost=0\n  \
        pushgate loadgen connect --connections 100000 --html report.html\n  \
        pushgate loadgen fanout --connections 20000 --rate 5\n  \
        pushgate loadgen schedule --delay 30s\n  \
        pushgate loadgen email --rate 200\n  \
        pushgate loadgen mixed day.toml --report day.json\n  \
        pushgate loadgen push --processes 3           and twice: pushgate loadgen --join 127.0.0.1:7460\n  \
        pushgate loadgen capacity --slo p99=50ms\n  \
        pushgate loadgen compare before.json after.json\n\n\
        Every message has its planned time, and latency counts from there: a server that stalls cannot hide it. Every message is \
        numbered, so what is lost, doubled or out of order is told. Ctrl-C ends a run with its report.\n\
        Exit: 0 every objective holds, 1 one does not or the run failed, 2 wrong usage."
)]
pub struct LoadgenCommand {
    #[command(subcommand)]
    workload: Option<Workload>,
    #[command(flatten)]
    join: company::JoinArgs,
}

#[derive(Debug, Subcommand)]
enum Workload {
    /// Clients connect, and stay, come and go, or all come back at once
    Connect(ConnectCommand),
    /// Messages to one user or device each
    Push(PushCommand),
    /// Messages to everybody
    Fanout(PushCommand),
    /// Scheduled messages, measured from when each is due
    Schedule(PushCommand),
    /// Mails, through the accounts of the server: with `pushgate dev` nobody gets them
    Email(AddressCommand),
    /// Text messages, likewise
    Sms(AddressCommand),
    /// Phases of a file: connections, churn, slow readers, messages of all lanes
    Mixed(MixedCommand),
    /// The highest rate, or the most connections, that hold what is asked for
    Capacity(Box<capacity::CapacityCommand>),
    /// Whether two reports differ
    Compare(compare::CompareCommand),
}

/// Arguments of `loadgen connect`.
#[derive(Debug, Args)]
struct ConnectCommand {
    #[command(flatten)]
    crowd: CrowdArgs,
    /// So many clients leave and come back in a second
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "storm")]
    churn: Option<u32>,
    /// Halfway, all clients lose their connection at once and come back
    #[arg(long)]
    storm: bool,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    company: CompanyArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// Arguments of `loadgen push`, `loadgen fanout` and `loadgen schedule`.
#[derive(Debug, Args)]
struct PushCommand {
    #[command(flatten)]
    crowd: CrowdArgs,
    #[command(flatten)]
    sending: SendingArgs,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    company: CompanyArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// Arguments of `loadgen email` and `loadgen sms`.
#[derive(Debug, Args)]
#[command(
    after_help = "Each message is really sent by the accounts that the server has: let these lead to a sink of yours. Latency is from the planned time\n\
    to when the provider took the message, as the server tells after the run."
)]
struct AddressCommand {
    #[command(flatten)]
    what: AddressArgs,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    company: CompanyArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// Arguments of `loadgen mixed`.
#[derive(Debug, Args)]
struct MixedCommand {
    /// The scenario, TOML; docs/src/operations/loadgen.md explains every key
    file: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    company: CompanyArgs,
    #[command(flatten)]
    report: ReportArgs,
}

impl LoadgenCommand {
    /// Runs it and reports.
    pub fn run(self) -> Result<(), Failure> {
        let Some(workload) = self.workload else { return self.join.run() };
        let (scenario, place, company, report) = match workload {
            Workload::Capacity(command) => return command.run(),
            Workload::Compare(command) => return command.run(),
            Workload::Connect(ConnectCommand { crowd, churn, storm, place, company, report }) => {
                let stay = match (churn, storm) {
                    (Some(per_s), _) => Stay::Churn(per_s),
                    (None, true) => Stay::Storm,
                    (None, false) => Stay::Hold,
                };
                (presets::connect(&crowd.common(Duration::ZERO), stay), place, company, report)
            }
            Workload::Push(PushCommand { crowd, sending, place, company, report }) => {
                let sending = sending.sending(sending.to(), 1_000);
                (presets::push("push", &crowd.common(crowd.warm_up()), &sending), place, company, report)
            }
            Workload::Fanout(PushCommand { crowd, sending, place, company, report }) => {
                if sending.names_audience() {
                    return Err(Failure::usage("--to is for `loadgen push`: a fanout goes to everybody"));
                }
                let sending = sending.sending(Audience::All, 5);
                (presets::push("fanout", &crowd.common(crowd.warm_up()), &sending), place, company, report)
            }
            Workload::Schedule(PushCommand { crowd, sending, place, company, report }) => {
                let sending =
                    Sending { delay: sending.delay().unwrap_or(SCHEDULED_FOR), ..sending.sending(sending.to(), 1_000) };
                (presets::push("schedule", &crowd.common(crowd.warm_up()), &sending), place, company, report)
            }
            Workload::Email(AddressCommand { what, place, company, report }) => {
                (what.scenario("email", Audience::Emails), place, company, report)
            }
            Workload::Sms(AddressCommand { what, place, company, report }) => {
                (what.scenario("sms", Audience::Phones), place, company, report)
            }
            Workload::Mixed(MixedCommand { file: path, place, company, report }) => {
                let text = fs::read_to_string(&path)
                    .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
                let scenario =
                    file::read(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
                (scenario, place, company, report)
            }
        };
        scenario.check().map_err(|error| Failure::usage(error.to_string()))?;
        match company.is_joint() {
            true => company.lead(&scenario, &place, &report),
            false => go(&scenario, &place, &report),
        }
    }
}

fn go(scenario: &Scenario, place: &PlaceArgs, options: &ReportArgs) -> Result<(), Failure> {
    let place = place.find(scenario)?;
    options.check_files()?;
    check_machine(scenario, &place)?;
    let mut live = Live::start(scenario, &place, options.json)?;
    let stop = live.stop();
    let outcome = run::run(scenario, &place.site, &stop, &mut |second| live.tell(second));
    live.end();
    let outcome = outcome.map_err(|error| place.explain(&error))?;
    tell(&Report::new(scenario, outcome, place.circumstances, &options.slo), options)
}

/// Says what this machine lacks for a scenario; fails if it cannot be run.
fn check_machine(scenario: &Scenario, place: &Place) -> Result<(), Failure> {
    for check in preflight::checks(scenario, place.site.clients, &place.rest) {
        if check.is_failed() {
            return Err(Failure::new(format!("{}: {}; {}", check.name, check.detail, check.effect)).hint(check.remedy));
        }
        eprintln!("PREFLIGHT  {}: {}: {}\n           remedy: {}", check.name, check.detail, check.effect, check.remedy);
    }
    Ok(())
}

/// Prints and writes a report; fails if an objective does not hold.
fn tell(report: &Report, options: &ReportArgs) -> Result<(), Failure> {
    summary::print(report, options)?;
    options.write(report, || html::page(report))?;
    match report.holds() {
        true => Ok(()),
        false => Err(Failure::new(summary::unmet(report))),
    }
}

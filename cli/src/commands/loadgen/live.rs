//! What is told while a run goes on: on a terminal a few lines that are drawn anew each second, else a line each second. All of
//! it on stderr.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use pushgate_loadgen::{
    run::{Quantiles, Second},
    scenario::Scenario,
    span::of_micros,
};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use super::place::Place;
use crate::failure::Failure;

/// Lines that are drawn anew.
const LINES: usize = 4;
/// Characters of the bar.
const BAR: usize = 30;

/// Tells how a run goes.
pub struct Live {
    stop: Arc<AtomicBool>,
    terminal: bool,
    quiet: bool,
    drawn: bool,
    phases: Vec<(String, Duration)>,
    sends: bool,
    /// Whether anybody connects.
    connects: bool,
    /// The phase of the last second, and when its first was told.
    phase: (usize, f64),
}

impl Live {
    /// Says what is about to run, and listens for Ctrl-C.
    pub fn start(scenario: &Scenario, place: &Place, quiet: bool) -> Result<Self, Failure> {
        let live = Self {
            stop: stop_at_signal()?,
            terminal: io::stderr().is_terminal(),
            quiet,
            drawn: false,
            phases: scenario.phases.iter().map(|phase| (phase.name.clone(), phase.duration)).collect(),
            sends: scenario.sends(),
            connects: scenario.connections > 0,
            phase: (0, 0.0),
        };
        let c = &place.circumstances;
        let door = if live.sends { format!(", messages by {}", c.door) } else { String::new() };
        live.say(&match live.connects {
            true => format!("{}: {} clients of {}{door}", scenario.name, scenario.connections, c.clients),
            false => format!("{}: messages by {}; what became of them is asked at the end", scenario.name, c.door),
        });
        Ok(live)
    }

    /// Set once the run is to end.
    pub fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Tells a second.
    pub fn tell(&mut self, second: &Second) {
        // A phase begins once its clients are there.
        if second.phase != self.phase.0 || !second.steady {
            self.phase = (second.phase, second.at_s);
        }
        if self.quiet {
            return;
        }
        if !self.terminal {
            return self.say(&self.line(second));
        }
        let mut out = String::new();
        if self.drawn {
            out += &format!("\x1b[{LINES}F");
        }
        for line in self.block(second) {
            // Cut at the terminal's width: a line that wrapped would not be drawn over.
            out += &format!("\x1b[?7l\x1b[2K{line}\x1b[?7h\n");
        }
        self.drawn = true;
        // A terminal that is gone is no reason to end the run.
        let _ = io::stderr().write_all(out.as_bytes());
    }

    /// The run is over.
    pub fn end(&mut self) {
        if self.stop.load(Ordering::Relaxed) {
            self.say("ended before its time: the report is of what there was");
        }
    }

    fn say(&self, line: &str) {
        let _ = writeln!(io::stderr(), "{line}");
    }

    fn line(&self, second: &Second) -> String {
        let rate = |count: u64| count as f64 / second.seconds;
        let mut line = format!("{:6.1} s  {}", second.at_s, self.name(second));
        if !self.connects {
            let [planned, accepted] = [second.planned, second.accepted].map(rate);
            return line + &format!("  planned {planned:.0}/s  accepted {accepted:.0}/s") + &troubles(second);
        }
        line += &format!("  {} connected", second.open);
        if second.greeted > 0 {
            line += &format!("  +{:.0}/s ({})", rate(second.greeted), quantiles(&second.greeting));
        }
        if self.sends {
            let pushes = [second.planned, second.accepted, second.pushes].map(rate);
            line += &format!("  planned {:.0}/s  accepted {:.0}/s  received {:.0}/s", pushes[0], pushes[1], pushes[2]);
            line += &format!("  {}", quantiles(&second.latency));
        }
        line + &troubles(second)
    }

    fn block(&self, second: &Second) -> [String; LINES] {
        let rate = |count: u64| count as f64 / second.seconds;
        let (name, whole) = &self.phases[second.phase.min(self.phases.len() - 1)];
        let share = ((second.at_s - self.phase.1) / whole.as_secs_f64().max(1e-3)).clamp(0.0, 1.0);
        let full = (share * BAR as f64).round() as usize;
        let bar = format!("{}{}", "█".repeat(full), "░".repeat(BAR - full));
        let mut generator = format!(
            "generator  {:.2} cores, woken {} late",
            second.generator.cores,
            of_micros(second.generator.lag_p99_us as f64)
        );
        for server in &second.server {
            let megabytes = server.resident_bytes as f64 / 1e6;
            generator += &format!("   {}  {:.2} cores, {megabytes:.0} MB", server.name, server.cores);
        }
        [
            format!("{bar}  {name}  {:.0} s", second.at_s),
            format!(
                "connected  {}   +{:.0}/s ({}){}",
                second.open,
                rate(second.greeted),
                quantiles(&second.greeting),
                troubles(second)
            ),
            match self.sends {
                true => format!(
                    "messages   planned {:.0}/s   accepted {:.0}/s   received {:.0}/s   {}",
                    rate(second.planned),
                    rate(second.accepted),
                    rate(second.pushes),
                    quantiles(&second.latency)
                ),
                false => "messages   none".into(),
            },
            generator,
        ]
    }

    fn name(&self, second: &Second) -> &str {
        self.phases.get(second.phase).map_or("", |(name, _)| name)
    }
}

fn quantiles(quantiles: &Quantiles) -> String {
    match quantiles.samples {
        0 => "no times yet".into(),
        _ => format!("p50 {} p99 {}", of_micros(quantiles.p50_us as f64), of_micros(quantiles.p99_us as f64)),
    }
}

fn troubles(second: &Second) -> String {
    let mut told = String::new();
    if second.failed > 0 {
        told += &format!("  {} connections failed", second.failed);
    }
    if second.unaccepted > 0 {
        told += &format!("  {} messages not accepted", second.unaccepted);
    }
    told
}

/// Set at the first Ctrl-C or SIGTERM from here on; the second ends the program.
pub fn stop_at_signal() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let theirs = Arc::clone(&stop);
    let (ready, listening) = std::sync::mpsc::channel();
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || end_at_signal(&theirs, &ready))
        .map_err(|error| Failure::new(format!("a thread does not start: {error}")))?;
    // A Ctrl-C from here on ends the run, and not the program.
    let _ = listening.recv();
    Ok(stop)
}

/// The first signal ends the run, the second the program.
fn end_at_signal(stop: &AtomicBool, ready: &std::sync::mpsc::Sender<()>) {
    let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        let _ = ready.send(());
        for code in [None, Some(130)] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            stop.store(true, Ordering::Relaxed);
            if let Some(code) = code {
                std::process::exit(code);
            }
        }
    });
}

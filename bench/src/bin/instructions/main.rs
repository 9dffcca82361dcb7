//! Counts the instructions that the steps of a push execute, and holds them against the counts that were kept.
//!
//! A count is the same from run to run, however busy the machine is, where a time is not. It tells nothing of what a processor makes of the
//! instructions: a step that waits for memory is slow with few of them.

mod callgrind;
mod kept;

use std::{error::Error, hint::black_box, process::ExitCode, time::Instant};

use clap::{Parser, Subcommand};
use pushgate_bench::micro::{self, Case};

use crate::kept::{Finding, Kept, Verdict};

/// The allocator of the program, and no part of the C library that another machine may have otherwise.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Before counting: buffers have grown, tables are filled.
const WARM_UP_STEPS: u32 = 200;
/// Counted together, so that what happens once in many steps has its share.
const COUNTED_STEPS: u32 = 500;

/// Counts instructions of the micro-benchmarks under valgrind.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Options {
    /// Those whose names begin so; all by default
    cases: Vec<String>,
    /// Keep these counts in bench/instructions.json
    #[arg(long)]
    accept: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one case, to be counted
    #[command(hide = true)]
    Run { case: String },
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.command {
        Some(Command::Run { case }) => run(case),
        None => count(&options),
    };
    done.unwrap_or_else(|error| {
        eprintln!("instructions: {error}");
        ExitCode::from(2)
    })
}

/// What valgrind runs.
fn run(name: &str) -> Result<ExitCode, Box<dyn Error>> {
    let case = micro::case(name).ok_or_else(|| format!("there is no case {name}"))?;
    let mut step = (case.prepare)();
    (0..WARM_UP_STEPS).for_each(|_| step());
    counted(&mut *step, COUNTED_STEPS);
    Ok(ExitCode::SUCCESS)
}

/// The one function whose instructions count, those below it included: valgrind knows it by its name.
#[inline(never)]
fn counted(step: &mut dyn FnMut(), steps: u32) {
    for _ in 0..steps {
        step();
    }
    // Nothing after the loop may become a jump into another function.
    black_box(steps);
}

fn count(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    if cfg!(debug_assertions) {
        return Err("instructions of a debug build tell nothing: build with --release".into());
    }
    let chosen = |case: &Case| options.cases.is_empty() || options.cases.iter().any(|c| case.name.starts_with(c));
    let cases: Vec<Case> = micro::cases().into_iter().filter(chosen).collect();
    if cases.is_empty() {
        return Err(format!("no case begins with {}", options.cases.join(" or ")).into());
    }
    let (mut counted, began) = (Vec::new(), Instant::now());
    for case in &cases {
        counted.push((case.name.to_owned(), callgrind::instructions(case.name)? / u64::from(COUNTED_STEPS)));
    }
    println!("{} cases counted in {:.0} s", cases.len(), began.elapsed().as_secs_f64());
    let mut kept = Kept::read()?;
    let findings = kept.compare(&counted, options.cases.is_empty());
    findings.iter().for_each(|finding| println!("{finding}"));
    if options.accept {
        kept.accept(counted, options.cases.is_empty());
        kept.write()?;
        println!("kept in {}: commit it and say why the counts changed", kept::PATH);
        return Ok(ExitCode::SUCCESS);
    }
    Ok(told(&kept, &findings))
}

/// The verdict over all cases. What it rests on is told again: it may stand far above.
fn told(kept: &Kept, findings: &[Finding]) -> ExitCode {
    let (lower, mut wrong): (Vec<_>, Vec<_>) =
        findings.iter().filter(|f| f.verdict != Verdict::Same).partition(|f| f.verdict == Verdict::Lower);
    if !lower.is_empty() {
        println!("lower counts: keep them, so that they stay: scripts/bench instructions --accept");
        lower.iter().for_each(|finding| println!("{finding}"));
    }
    if wrong.is_empty() {
        return ExitCode::SUCCESS;
    }
    if let Some(other) = kept.other_compiler() {
        println!("counts are not judged: {other}");
        // Which cases there are depends on no compiler.
        wrong.retain(|finding| finding.verdict != Verdict::Higher);
        if wrong.is_empty() {
            return ExitCode::SUCCESS;
        }
    }
    println!(
        "more than {} % (and {} instructions) above what was kept, or not kept: make it cheaper, or accept it: scripts/bench instructions --accept",
        kept::BOUND_PERCENT,
        kept::BOUND_INSTRUCTIONS
    );
    wrong.iter().for_each(|finding| println!("{finding}"));
    ExitCode::FAILURE
}

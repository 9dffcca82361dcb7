//! The command line.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use crate::{
    corpus, counters,
    explore::{Failure, Search, tell},
    lines,
    targets::{self, TARGETS, Target},
};

const USAGE: &str = "usage: pushgate-fuzz list | run TARGET [--seconds N] [--seed S] [--corpus FILE] [--keep] [--lines] | \
                     replay TARGET FILE";

/// Does what the arguments say: 0 if nothing was found, 1 if something was, 2 for a wrong usage.
pub(crate) fn act(arguments: Vec<String>) -> ExitCode {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["list"] => {
            TARGETS.iter().for_each(|t| println!("{}", t.name));
            Ok(true)
        }
        ["replay", target, file] => find(target).and_then(|t| replay(t, file)),
        ["run", target, ref options @ ..] => find(target).and_then(|t| run(t, options)),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

fn find(name: &str) -> Result<&'static Target, String> {
    let names = || TARGETS.iter().map(|t| t.name).collect::<Vec<_>>().join(", ");
    targets::find(name).ok_or_else(|| format!("there is no target {name}, only {}", names()))
}

/// Runs one input from a file; a panic is shown as it is.
fn replay(target: &Target, file: &str) -> Result<bool, String> {
    let input = std::fs::read(file).map_err(|e| format!("{file}: {e}"))?;
    (target.run)(&input);
    println!("{}: nothing found", target.name);
    Ok(true)
}

fn run(target: &'static Target, options: &[&str]) -> Result<bool, String> {
    let (mut seconds, mut seed, mut file, mut keep, mut show_lines) = (10, 1, None, false, false);
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        let mut number = || rest.next().and_then(|v| v.parse().ok()).ok_or_else(|| USAGE.to_owned());
        match *option {
            "--seconds" => seconds = number()?,
            "--seed" => seed = number()?,
            "--corpus" => file = rest.next().map(PathBuf::from),
            "--keep" => keep = true,
            "--lines" => show_lines = true,
            _ => return Err(USAGE.to_owned()),
        }
    }
    let inputs = match &file {
        Some(path) if path.exists() => corpus::read(path).map_err(|e| format!("{}: {e}", path.display()))?,
        _ => Vec::new(),
    };
    let given = inputs.len();
    let mut search = Search::new(target, seed);
    let outcome = search.run(inputs, Duration::from_secs(seconds));
    println!(
        "{:9} {:>9} runs in {seconds} s, seed {seed}; {given} inputs given, {} kept; {} of {} edges",
        target.name,
        search.runs(),
        search.inputs().len(),
        search.edges(),
        counters::count()
    );
    if let Err(Failure { input, problem }) = outcome {
        tell(target.name, &input, &problem);
        return Ok(false);
    }
    if let (Some(path), true) = (&file, keep) {
        corpus::write(path, &search.smallest()).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if show_lines {
        return lines::report(target, &search.edges_hit());
    }
    Ok(true)
}

//! Which lines of a target's modules ran. A line counts if one of the compiler's basic blocks begins on it, after what was
//! inlined is told apart; the debug information and binutils' `addr2line` tell which.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
    thread,
};

use crate::{counters, targets::Target};

/// Least share of a target's lines that its search must reach, percent.
const SHARE_MIN: usize = 80;

/// Prints the share of lines that ran, by file, and lines that did not; whether it is enough.
pub(crate) fn report(target: &Target, hit: &[bool]) -> Result<bool, String> {
    if counters::count() == 0 {
        return Err("lines are known only with the compiler's instrumentation: use scripts/fuzz".to_owned());
    }
    let mut files: BTreeMap<String, BTreeMap<u32, bool>> = BTreeMap::new();
    for (lines, hit) in places_in_source()?.into_iter().zip(hit) {
        for (file, line) in lines {
            if target.modules.iter().any(|m| file.ends_with(m)) {
                *files.entry(file).or_default().entry(line).or_default() |= hit;
            }
        }
    }
    let (mut all, mut ran) = (0, 0);
    for (file, lines) in &files {
        let missed: Vec<String> = lines.iter().filter(|(_, hit)| !**hit).map(|(line, _)| line.to_string()).collect();
        all += lines.len();
        ran += lines.len() - missed.len();
        println!("    {file}: {} of {} lines; not: {}", lines.len() - missed.len(), lines.len(), missed.join(" "));
    }
    let share = 100 * ran / all.max(1);
    println!("{:9} {share} % of {all} lines of its modules, at least {SHARE_MIN} are wanted", target.name);
    Ok(share >= SHARE_MIN)
}

/// The lines of each edge's code: of the innermost function, and of those it was inlined into.
fn places_in_source() -> Result<Vec<Vec<(String, u32)>>, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let base = load_address().ok_or("the program's place in memory is unknown")?;
    let mut child = Command::new("addr2line")
        .args(["-a", "-i", "-e"])
        .arg(&program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("addr2line (package binutils): {e}"))?;
    let mut stdin = child.stdin.take().ok_or("addr2line takes no input")?;
    let places = counters::places();
    let writer =
        thread::spawn(move || places.iter().try_for_each(|place| writeln!(stdin, "{:#x}", place.saturating_sub(base))));
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    let written = writer.join().map_err(|_| "addr2line was not told the addresses")?;
    written.map_err(|e| e.to_string())?;
    let mut all: Vec<Vec<(String, u32)>> = Vec::new();
    for text in String::from_utf8_lossy(&output.stdout).lines() {
        if text.starts_with("0x") {
            all.push(Vec::new());
        } else if let Some((file, line)) = text.split(" (").next().and_then(|t| t.rsplit_once(':'))
            && let (Some(lines), Ok(line)) = (all.last_mut(), line.parse())
            && line > 0
        {
            let file = file.rfind("/src/").and_then(|at| file[..at].rfind('/')).map_or(file, |at| &file[at + 1..]);
            lines.push((file.to_owned(), line));
        }
    }
    Ok(all)
}

/// Where the program was loaded: the start of its first mapping.
fn load_address() -> Option<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let program = std::fs::read_link("/proc/self/exe").ok()?;
    let line = maps.lines().find(|line| line.ends_with(&*program.to_string_lossy()))?;
    usize::from_str_radix(line.split('-').next()?, 16).ok()
}

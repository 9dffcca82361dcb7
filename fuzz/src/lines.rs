//! Which lines of a target's modules ran: those of the machine code in each basic block that did, with what was inlined told
//! apart; the debug information and binutils' `addr2line` tell which. Lines of functions that no code calls are not counted.

use std::{
    collections::BTreeMap,
    io::Write,
    ops::Range,
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

/// Steps in which a block is looked through, and where that ends, bytes: blocks are short, and the last of a function is
/// followed by others' code.
const STEP_BYTES: usize = 4;
const BLOCK_BYTES_MAX: usize = 256;

/// The lines of each edge's block: of the innermost function, and of those it was inlined into.
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
    let asked: Vec<(usize, usize)> = blocks(base)
        .into_iter()
        .flat_map(|(edge, range)| range.step_by(STEP_BYTES).map(move |at| (edge, at)))
        .collect();
    let edges: Vec<usize> = asked.iter().map(|(edge, _)| *edge).collect();
    let writer = thread::spawn(move || asked.iter().try_for_each(|(_, at)| writeln!(stdin, "{at:#x}")));
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    let written = writer.join().map_err(|_| "addr2line was not told the addresses")?;
    written.map_err(|e| e.to_string())?;
    let mut all: Vec<Vec<(String, u32)>> = vec![Vec::new(); counters::count()];
    let mut answers = edges.into_iter();
    let mut edge = 0;
    for text in String::from_utf8_lossy(&output.stdout).lines() {
        if text.starts_with("0x") {
            edge = answers.next().ok_or("addr2line answers more than it was asked")?;
        } else if let Some((file, line)) = text.split(" (").next().and_then(|t| t.rsplit_once(':'))
            && let Ok(line) = line.parse()
            && line > 0
        {
            let file = file.rfind("/src/").and_then(|at| file[..at].rfind('/')).map_or(file, |at| &file[at + 1..]);
            all[edge].push((file.to_owned(), line));
        }
    }
    Ok(all)
}

/// Each edge with the addresses of its block, up to the next, as they stand in the program's file.
fn blocks(base: usize) -> Vec<(usize, Range<usize>)> {
    let mut starts: Vec<(usize, usize)> =
        counters::places().into_iter().enumerate().map(|(edge, place)| (place.saturating_sub(base), edge)).collect();
    starts.sort_unstable();
    let ends: Vec<usize> = starts.iter().skip(1).map(|(at, _)| *at).chain([usize::MAX]).collect();
    starts.into_iter().zip(ends).map(|((at, edge), end)| (edge, at..end.min(at + BLOCK_BYTES_MAX))).collect()
}

/// Where the program was loaded: the start of its first mapping.
fn load_address() -> Option<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let program = std::fs::read_link("/proc/self/exe").ok()?;
    let line = maps.lines().find(|line| line.ends_with(&*program.to_string_lossy()))?;
    usize::from_str_radix(line.split('-').next()?, 16).ok()
}

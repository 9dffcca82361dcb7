//! The counts that were kept, and what becomes of new ones.

use std::{collections::BTreeMap, error::Error, fmt, fs, io::ErrorKind, path::PathBuf};

use pushgate_bench::record::{answer, root};
use serde::{Deserialize, Serialize};

/// Where they are kept.
pub const PATH: &str = "bench/instructions.json";
/// What a count may rise by.
pub const BOUND_PERCENT: f64 = 3.0;
/// What it may rise by at least, instructions: less than that is one more spilled register.
pub const BOUND_INSTRUCTIONS: u64 = 6;

/// Counts of a step each.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The compiler and the architecture: with others the counts are others.
    counted_with: String,
    instructions: BTreeMap<String, u64>,
}

/// What came of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Within the bound.
    Same,
    /// Above it.
    Higher,
    /// As far below.
    Lower,
    /// No count of it is kept.
    Unknown,
    /// A count is kept, and there is no such case.
    Gone,
}

/// A case, what was kept, what was counted.
#[derive(Debug, PartialEq)]
pub struct Finding {
    pub case: String,
    pub before: u64,
    pub now: u64,
    pub verdict: Verdict,
}

impl Kept {
    /// What was kept; nothing if there is no file.
    pub fn read() -> Result<Self, Box<dyn Error>> {
        match fs::read_to_string(path()) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| format!("{PATH}: {error}").into()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("{PATH}: {error}").into()),
        }
    }

    pub fn write(&self) -> Result<(), Box<dyn Error>> {
        Ok(fs::write(path(), serde_json::to_string_pretty(self)? + "\n")?)
    }

    /// Holds counts against those kept; `all`: every case was counted.
    pub fn compare(&self, counted: &[(String, u64)], all: bool) -> Vec<Finding> {
        let mut findings: Vec<Finding> = (counted.iter())
            .map(|(case, now)| match self.instructions.get(case) {
                Some(&before) => Finding { case: case.clone(), before, now: *now, verdict: verdict(before, *now) },
                None => Finding { case: case.clone(), before: 0, now: *now, verdict: Verdict::Unknown },
            })
            .collect();
        let gone = self.instructions.iter().filter(|(case, _)| all && !counted.iter().any(|(c, _)| c == *case));
        findings.extend(gone.map(|(case, &before)| Finding {
            case: case.clone(),
            before,
            now: 0,
            verdict: Verdict::Gone,
        }));
        findings
    }

    /// Takes counts over; `all`: every case was counted.
    pub fn accept(&mut self, counted: Vec<(String, u64)>, all: bool) {
        if all {
            self.instructions.clear();
        }
        self.counted_with = compiler();
        self.instructions.extend(counted);
    }

    /// Says so if this compiler is not the one that the counts were kept with.
    pub fn other_compiler(&self) -> Option<String> {
        let now = compiler();
        (!self.counted_with.is_empty() && self.counted_with != now)
            .then(|| format!("the counts were kept with {}, and this is {now}", self.counted_with))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, before, now, verdict } = self;
        let mark = match verdict {
            Verdict::Same => "  =",
            Verdict::Higher => "  HIGHER",
            Verdict::Lower => "  lower",
            Verdict::Unknown => "  NOT KEPT",
            Verdict::Gone => "  NO SUCH CASE",
        };
        let change = if *before > 0 { (*now as f64 / *before as f64 - 1.0) * 100.0 } else { 0.0 };
        write!(f, "{case:<32} {before:>9} -> {now:>9}  {change:>+7.2} %{mark}")
    }
}

fn verdict(before: u64, now: u64) -> Verdict {
    let bound = ((before as f64 * BOUND_PERCENT / 100.0) as u64).max(BOUND_INSTRUCTIONS);
    match now.abs_diff(before) > bound {
        true if now > before => Verdict::Higher,
        true => Verdict::Lower,
        false => Verdict::Same,
    }
}

fn compiler() -> String {
    format!("{}, {}", answer("rustc", &["--version"]), std::env::consts::ARCH)
}

fn path() -> PathBuf {
    root().join(PATH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        let instructions = [("large", 10_000), ("small", 40), ("gone", 7)].map(|(case, n)| (case.to_owned(), n)).into();
        Kept { counted_with: compiler(), instructions }
    }

    fn verdicts(counted: &[(&str, u64)], all: bool) -> Vec<(String, Verdict)> {
        let counted: Vec<_> = counted.iter().map(|(case, n)| ((*case).to_owned(), *n)).collect();
        kept().compare(&counted, all).into_iter().map(|f| (f.case, f.verdict)).collect()
    }

    #[test]
    fn a_count_is_judged_by_its_share_and_a_small_one_by_instructions() {
        for (case, now, expected) in [
            ("large", 10_300, Verdict::Same),
            ("large", 10_301, Verdict::Higher),
            ("large", 9_700, Verdict::Same),
            ("large", 9_699, Verdict::Lower),
            ("small", 46, Verdict::Same),
            ("small", 47, Verdict::Higher),
            ("new", 1, Verdict::Unknown),
        ] {
            assert_eq!(verdicts(&[(case, now)], false), [(case.to_owned(), expected)]);
        }
    }

    #[test]
    fn a_case_that_is_no_more_is_told_when_all_were_counted() {
        let told = verdicts(&[("large", 10_000), ("small", 40)], true);
        assert_eq!(told.last(), Some(&("gone".to_owned(), Verdict::Gone)));
        let mut kept = kept();
        kept.accept(vec![("small".to_owned(), 41)], false);
        assert_eq!((kept.instructions["small"], kept.instructions.len()), (41, 3));
        kept.accept(vec![("small".to_owned(), 41)], true);
        assert_eq!(kept.instructions.len(), 1);
    }

    #[test]
    fn counts_of_another_compiler_are_not_judged() {
        assert_eq!(kept().other_compiler(), None);
        let other = Kept { counted_with: "rustc 1.0.0, z80".into(), ..kept() };
        assert!(other.other_compiler().is_some_and(|told| told.contains("z80")));
    }

    #[test]
    fn a_finding_names_case_counts_and_change() {
        let finding = Finding { case: "codec/ack_in".into(), before: 1_000, now: 1_100, verdict: Verdict::Higher };
        let line = finding.to_string();
        for part in ["codec/ack_in", "1000", "1100", "+10.00 %", "HIGHER"] {
            assert!(line.contains(part), "{line}");
        }
    }
}

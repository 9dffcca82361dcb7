//! One case under valgrind's callgrind.
//!
//! What a count depends on besides the program is held still. The processor: valgrind shows every program one of its own making, which has
//! AVX2 if the machine has; the C library is told to use nothing beyond the baseline, so that it copies memory the same way everywhere.
//! The environment: it is empty, since its length moves the stack.

use std::{
    env,
    error::Error,
    fs,
    process::{Command, Output},
};

/// A case takes about a second.
const TIMEOUT_S: &str = "60";
/// What glibc would choose its copying by; the second form of a name is that of glibc before 2.33. Unknown names are ignored.
const BASELINE: &str = "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX_Fast_Unaligned_Load,-BMI1,-BMI2,-ERMS,-EVEX,-FSRM,-LZCNT,-MOVBE,-POPCNT,-RTM,-SSE4_1,-SSE4_2,-SSSE3,-AVX_Usable,-AVX2_Usable,-AVX512F_Usable";

/// Instructions of all counted steps of a case.
pub fn instructions(case: &str) -> Result<u64, Box<dyn Error>> {
    let program = env::current_exe()?;
    let file = tempfile::NamedTempFile::new()?;
    let output = Command::new("timeout")
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("GLIBC_TUNABLES", BASELINE)
        .args([
            TIMEOUT_S,
            "valgrind",
            "--tool=callgrind",
            "--collect-atstart=no",
            "--toggle-collect=*instructions::counted*",
        ])
        .arg(format!("--callgrind-out-file={}", file.path().display()))
        .arg(program)
        .args(["run", case])
        .output()
        .map_err(|error| format!("timeout, of coreutils: {error}"))?;
    match output.status.code() {
        Some(124) => return Err(format!("{case} took longer than {TIMEOUT_S} s under valgrind").into()),
        Some(127) => return Err("valgrind is missing: install the package valgrind".into()),
        _ => {}
    }
    if !output.status.success() {
        return Err(format!("{case} under valgrind: {}: {}", output.status, last_lines(&output)).into());
    }
    total(&fs::read_to_string(file.path())?).ok_or_else(|| format!("{case}: callgrind counted nothing").into())
}

/// The sum that stands in callgrind's file; nothing if nothing was counted.
fn total(text: &str) -> Option<u64> {
    let sum = text.lines().find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")))?;
    sum.trim().parse().ok().filter(|sum| *sum > 0)
}

fn last_lines(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_read_and_nothing_counted_is_an_error() {
        assert_eq!(total("version: 1\nevents: Ir\nsummary: 4200\n\nfn=(1)\n1 4200\n\ntotals: 4200\n"), Some(4_200));
        assert_eq!(total("events: Ir\ntotals: 0\n"), None);
        assert_eq!(total("events: Ir\n"), None);
    }
}

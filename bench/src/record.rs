//! Records of runs: what was measured, with what, on what.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies below the root")
}

/// What a record tells besides its measurement: commit, program, hardware, kernel.
pub fn circumstances(what: &str, command: &str, program: &Path) -> Value {
    json!({
        "what": what,
        "command": command,
        "arguments": std::env::args().skip(1).collect::<Vec<_>>(),
        "commit": answer("git", &["rev-parse", "HEAD"]),
        "uncommitted_changes":
            !answer("git", &["status", "--porcelain", "--untracked-files=no", ":!bench/results"]).is_empty(),
        "profile": if cfg!(debug_assertions) { "dev" } else { "release" },
        "program": answer(&program.display().to_string(), &["--version"]),
        "kernel": answer("uname", &["-sr"]),
        "cpus": processors(),
        "cpu": field("/proc/cpuinfo", "model name"),
        "memory": field("/proc/meminfo", "MemTotal"),
        "load_average_before": fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
    })
}

/// Those of the machine: this program may have bound itself to one of them.
fn processors() -> usize {
    let told = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    told.lines().filter(|line| line.starts_with("processor")).count()
}

/// Writes `NAME.json`: the circumstances, then what was measured. It goes to `bench/results`, or to the folder that the environment names in
/// `BENCH_RESULTS`.
pub fn write(name: &str, circumstances: Value, measured: &Value) -> Result<(), Box<dyn Error>> {
    let mut record = circumstances;
    let members = record.as_object_mut().expect("circumstances are an object");
    members.extend(measured.as_object().cloned().unwrap_or_default());
    let folder = std::env::var_os("BENCH_RESULTS").map_or_else(|| root().join("bench/results"), PathBuf::from);
    let path = folder.join(format!("{name}.json"));
    // Whose machine it was is nobody's business.
    let text = with_short_arrays(&record)?.replace(&root().display().to_string(), ".");
    Ok(fs::write(path, text + "\n")?)
}

/// Pretty JSON in which an array of numbers, or of such arrays, stays on one line.
fn with_short_arrays(record: &Value) -> Result<String, serde_json::Error> {
    let members = record.as_object().expect("a record is an object");
    let mut lines = Vec::with_capacity(members.len());
    for (name, value) in members {
        lines.push(format!("  {}: {}", serde_json::to_string(name)?, indented(value, "  ")?));
    }
    Ok(format!("{{\n{}\n}}", lines.join(",\n")))
}

fn indented(value: &Value, indent: &str) -> Result<String, serde_json::Error> {
    let Value::Object(members) = value else { return serde_json::to_string(value) };
    let deeper = format!("{indent}  ");
    let mut lines = Vec::with_capacity(members.len());
    for (name, value) in members {
        lines.push(format!("{deeper}{}: {}", serde_json::to_string(name)?, indented(value, &deeper)?));
    }
    if lines.is_empty() {
        return Ok("{}".into());
    }
    Ok(format!("{{\n{}\n{indent}}}", lines.join(",\n")))
}

/// What a program prints in the checkout; nothing if it fails.
pub fn answer(program: &str, arguments: &[&str]) -> String {
    let program = if program.contains('/') { fs::canonicalize(program).unwrap_or_default() } else { program.into() };
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}

/// The value behind the first `name … :` of a file of `/proc`.
fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_json_with_its_samples_on_one_line() {
        let record = json!({"a": 1, "samples": {"raw": [1, 2, [3, 4]], "none": {}}, "text": "x"});
        let text = with_short_arrays(&record).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), record);
        assert!(text.contains("\n    \"raw\": [1,2,[3,4]]"), "{text}");
    }

    #[test]
    fn circumstances_name_commit_kernel_and_processors() {
        let told = circumstances("what", "command", Path::new("none"));
        for member in ["commit", "kernel", "cpu", "memory"] {
            assert!(told[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {told}");
        }
        assert!(told["cpus"].as_u64().is_some_and(|n| n > 0));
    }
}

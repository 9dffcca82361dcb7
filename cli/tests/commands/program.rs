//! Runs the binary.

use std::process::{Command, Output};

/// What a run printed, and its exit code.
pub struct Run {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// Exit code.
    pub code: i32,
}

/// The binary, in the repository's root, with an environment free of overrides.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushgate"));
    command.args(arguments).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PUSHGATE__")) {
        command.env_remove(name);
    }
    command
}

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Run {
    ended(command(arguments).output().expect("the binary runs"))
}

/// What a finished run left.
pub fn ended(output: Output) -> Run {
    Run {
        out: String::from_utf8(output.stdout).expect("the output is UTF-8"),
        err: String::from_utf8(output.stderr).expect("the output is UTF-8"),
        code: output.status.code().expect("it ended by itself"),
    }
}

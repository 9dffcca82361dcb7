//! The repository's files, as the rules see them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Directories that hold nothing of the repository.
const SKIPPED: [&str; 5] = [".git", "target", "pushgate-data", "node_modules", "__pycache__"];

/// A text file of the repository.
pub struct Source {
    /// Path from the root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Lines with their number, from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(n, line)| (n + 1, line))
    }

    /// Whether this line belongs to a test: a file of tests, or what follows the file's `mod tests {`.
    pub fn in_tests(&self, line: usize) -> bool {
        self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
            || self.lines().any(|(n, text)| n < line && text.trim_start().starts_with("mod tests {"))
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies below the root").to_path_buf()
}

/// Every text file.
pub fn sources() -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    walk(&root, &mut found);
    let mut sources: Vec<_> = found
        .into_iter()
        .filter_map(|file| {
            let path = file.strip_prefix(&root).expect("found below the root").to_string_lossy().replace('\\', "/");
            Some(Source { path, text: fs::read_to_string(&file).ok()? })
        })
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 20, "the tidy test finds its files");
    sources
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the repository can be read").flatten() {
        let name = entry.file_name();
        let kind = entry.file_type().expect("the file has a type");
        if kind.is_dir() && !SKIPPED.iter().any(|skipped| name == *skipped) {
            walk(&entry.path(), found);
        } else if kind.is_file() && name != ".git" {
            found.push(entry.path());
        }
    }
}

/// Fails with one line per finding.
pub fn report(findings: Vec<String>, instead: &str) {
    assert!(findings.is_empty(), "\n{}\n=> {instead}\n", findings.join("\n"));
}

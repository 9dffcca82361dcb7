//! Files that hold apps' keys and secrets.

use std::{fs::File, io::Read};

use pushgate_protocol::auth::AppsFiles;

use super::Config;
use crate::limits::KEY_FILE_BYTES_MAX;

/// What a file holds, or why it cannot be used.
pub fn read(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|e| format!("cannot read {path}: {e}"))?;
    // One byte more tells whether it was all.
    let limited = &mut file.take(KEY_FILE_BYTES_MAX + 1);
    limited.read_to_string(&mut text).map_err(|e| format!("cannot read {path}: {e}"))?;
    match text.len() as u64 > KEY_FILE_BYTES_MAX {
        true => Err(format!("{path} holds more than {KEY_FILE_BYTES_MAX} bytes")),
        false => Ok(text),
    }
}

impl Config {
    /// The apps with their files, each read.
    pub fn key_files(&self) -> Result<AppsFiles, String> {
        AppsFiles::open(self.apps.clone(), &mut read).map_err(|error| format!("apps: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys").to_string_lossy().into_owned();
        std::fs::write(&path, vec![b' '; KEY_FILE_BYTES_MAX as usize]).unwrap();
        assert_eq!(read(&path).map(|text| text.len() as u64), Ok(KEY_FILE_BYTES_MAX));
        std::fs::write(&path, vec![b' '; KEY_FILE_BYTES_MAX as usize + 1]).unwrap();
        assert!(read(&path).unwrap_err().ends_with("keys holds more than 1048576 bytes"));
        assert!(read("/nowhere/keys").unwrap_err().starts_with("cannot read /nowhere/keys"));
    }
}

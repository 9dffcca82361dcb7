//! The data directory of `dev`: made at the first start, with an app to try things with.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use pushgate_protocol::{apps::AppConfig, ids::AppId};
use ring::rand::{SecureRandom, SystemRandom};

use crate::{failure::Failure, runtime_file::write_private};

/// Where the generated app is kept, with its secrets.
const APPS: &str = "apps.json";
/// Where the key of this installation is kept: node links prove it, and what mails bear is signed with it.
const LINK_KEY: &str = "link.key";
/// The generated app.
const DEFAULT_APP: &str = "default";

/// Makes the directory if need be; its absolute path.
pub fn directory(path: &Path) -> Result<PathBuf, Failure> {
    let unusable = |error: io::Error| {
        Failure::new(format!("cannot use the data directory {}: {error}", path.display()))
            .hint("name another with --data DIR")
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
    path.canonicalize().map_err(unusable)
}

/// The app that was made at the first start, or a new one.
pub fn default_apps(data: &Path) -> Result<Vec<AppConfig>, Failure> {
    let path = data.join(APPS);
    let damaged = |error: &dyn std::fmt::Display| {
        Failure::new(format!("{} is damaged: {error}", path.display()))
            .hint("restore it, or remove it to get a new app with a new secret")
    };
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| damaged(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = AppId::parse(DEFAULT_APP).expect("the name is an id");
            let app = AppConfig::generate(id).map_err(|_| no_randomness())?;
            let text = serde_json::Value::Array(vec![app.to_json_with_secrets()]).to_string();
            let unwritable = |error| Failure::new(format!("cannot write {}: {error}", path.display()));
            write_private(&path, &format!("{text}\n")).map_err(unwritable)?;
            Ok(vec![app])
        }
        Err(error) => Err(damaged(&error)),
    }
}

/// A new key for node links.
pub fn new_link_key() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| no_randomness())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The key for node links that was made at the first start, or a new one: reports of mails that were sent before a restart are still believed
/// after it, and links in them still good.
pub fn link_key(data: &Path) -> Result<String, Failure> {
    let path = data.join(LINK_KEY);
    let failure = |what: String| {
        Failure::new(format!("{} {what}", path.display()))
            .hint("restore it, or remove it to get a new key: links and Message-IDs of mails that were sent are then no longer known")
    };
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().len() >= 32 => Ok(text.trim().to_owned()),
        Ok(_) => Err(failure("is damaged: it holds no key".into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = new_link_key()?;
            let unwritable = |error| Failure::new(format!("cannot write {}: {error}", path.display()));
            write_private(&path, &format!("{key}\n")).map_err(unwritable)?;
            Ok(key)
        }
        Err(error) => Err(failure(format!("cannot be read: {error}"))),
    }
}

fn no_randomness() -> Failure {
    Failure::new("the system gives no random bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_of_the_first_start_is_kept() {
        let data = tempfile::tempdir().unwrap();
        let first = default_apps(data.path()).unwrap();
        assert_eq!(first[0].id.as_str(), "default");
        assert_eq!(default_apps(data.path()).unwrap(), first);
    }

    #[test]
    fn the_key_of_the_first_start_is_kept_and_nobody_else_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let data = tempfile::tempdir().unwrap();
        let first = link_key(data.path()).unwrap();
        assert!(first.len() == 64 && link_key(data.path()).unwrap() == first);
        let mode = fs::metadata(data.path().join(LINK_KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(data.path().join(LINK_KEY), "\n").unwrap();
        assert!(link_key(data.path()).unwrap_err().what.contains("link.key is damaged"));
        assert_ne!(link_key(tempfile::tempdir().unwrap().path()).unwrap(), first);
    }

    #[test]
    fn a_damaged_app_file_is_named_and_not_replaced() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join(APPS), "[").unwrap();
        let failure = default_apps(data.path()).unwrap_err();
        assert!(failure.what.contains("apps.json is damaged"), "{failure}");
        assert_eq!(fs::read_to_string(data.path().join(APPS)).unwrap(), "[");
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        fs::write(&file, "").unwrap();
        assert!(directory(&file.join("data")).unwrap_err().what.contains("cannot use the data directory"));
    }
}

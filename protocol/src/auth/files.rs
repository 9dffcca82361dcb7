//! Files that apps' keys and secrets are in, looked at again and again. What they say replaces the apps in use; a file that cannot
//! be used leaves its app as it is, and the others are not held up by it.
//!
//! Pure: the files come in through a closure.

use ring::digest;

use super::{Apps, SharedApps};
use crate::apps::{AppConfig, AppsError};

/// Answers the contents of a file, or why it cannot be read.
pub type ReadFile<'a> = dyn FnMut(&str) -> Result<String, String> + 'a;

/// The configured apps and what their files said last.
#[derive(Debug)]
pub struct AppsFiles {
    apps: Vec<AppConfig>,
    /// Of all that was read for an app, by app.
    seen: Vec<Digest>,
    problems: Vec<Option<String>>,
    shared: SharedApps,
}

type Digest = [u8; digest::SHA256_OUTPUT_LEN];

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// The files say what they said.
    Unchanged,
    /// Something changed, and all files are good.
    Replaced,
    /// Something changed, and this is wrong; apps with good files were replaced.
    Refused(String),
}

impl AppsFiles {
    /// Reads all files; each must be good.
    pub fn open(apps: Vec<AppConfig>, read: &mut ReadFile<'_>) -> Result<Self, AppsError> {
        let mut seen = Vec::with_capacity(apps.len());
        let mut resolved = Vec::with_capacity(apps.len());
        for app in &apps {
            let (result, digest) = resolve(app, read);
            resolved.push(result?);
            seen.push(digest);
        }
        let shared = SharedApps::new(Apps::new(resolved)?);
        Ok(Self { problems: vec![None; apps.len()], apps, seen, shared })
    }

    /// The apps in use.
    pub fn shared(&self) -> &SharedApps {
        &self.shared
    }

    /// Whether any app has a file.
    pub fn is_empty(&self) -> bool {
        let in_keys = |app: &AppConfig| app.keys.iter().any(|k| k.key_file.is_some() || k.jwks_file.is_some());
        let in_hook = |app: &AppConfig| {
            app.webhook.as_ref().is_some_and(|hook| hook.secret_file.is_some() || hook.ca_file.is_some())
        };
        !self.apps.iter().any(|app| in_keys(app) || in_hook(app) || app.secrets.iter().any(|s| s.secret_file.is_some()))
    }

    /// Puts other apps in their place, with their files, if all is good; else those of before stay.
    pub fn reconfigure(&mut self, apps: Vec<AppConfig>, now_ms: u64, read: &mut ReadFile<'_>) -> Look {
        match Self::open(apps, read) {
            Ok(new) => {
                self.shared.replace(new.shared.current());
                self.shared.report(None, now_ms);
                *self = Self { shared: self.shared.clone(), ..new };
                Look::Replaced
            }
            Err(error) => self.refuse(error.to_string(), now_ms),
        }
    }

    /// The apps cannot be read anew: those of before stay.
    pub fn refuse(&mut self, problem: String, now_ms: u64) -> Look {
        self.shared.report(Some(problem.clone()), now_ms);
        Look::Refused(problem)
    }

    /// Reads all files again; `now_ms` is Unix time.
    pub fn look(&mut self, now_ms: u64, read: &mut ReadFile<'_>) -> Look {
        let mut changed = Vec::new();
        let mut any = false;
        for (n, app) in self.apps.iter().enumerate() {
            let (result, digest) = resolve(app, read);
            if digest == self.seen[n] {
                continue;
            }
            self.seen[n] = digest;
            any = true;
            self.problems[n] = result.as_ref().err().map(ToString::to_string);
            changed.extend(result.ok());
        }
        if !any {
            return Look::Unchanged;
        }
        if !changed.is_empty() {
            let mut apps = Apps::clone(&self.shared.current());
            for app in changed {
                apps.put(app);
            }
            self.shared.replace(apps);
        }
        let problems: Vec<&str> = self.problems.iter().flatten().map(String::as_str).collect();
        let problem = (!problems.is_empty()).then(|| problems.join("; "));
        self.shared.report(problem.clone(), now_ms);
        problem.map_or(Look::Replaced, Look::Refused)
    }
}

/// What an app's configuration and files make, and the digest of what was read. Reading ends at the first fault, so a digest
/// that stays the same means a result that does.
fn resolve(app: &AppConfig, read: &mut ReadFile<'_>) -> (Result<crate::apps::App, AppsError>, Digest) {
    let mut read_so_far = digest::Context::new(&digest::SHA256);
    let result = app.resolve(&mut |path| {
        let answer = read(path);
        let (mark, text) = match &answer {
            Ok(text) => (b'+', text),
            Err(text) => (b'-', text),
        };
        read_so_far.update(&[mark]);
        read_so_far.update(&(text.len() as u64).to_le_bytes());
        read_so_far.update(text.as_bytes());
        answer
    });
    let mut digest = Digest::default();
    digest.copy_from_slice(read_so_far.finish().as_ref());
    (result, digest)
}

#[cfg(test)]
mod tests;

//! A provider that sends nothing: it puts what it is given into a folder, to be looked at. `dev` has one for each channel without an account.
//!
//! Each message is a file of its own, which stands there whole or not at all. The oldest leave when there are too many, or too large ones.

use std::{
    collections::VecDeque,
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use pushgate_protocol::message::Channel;
use serde::{Deserialize, Serialize};

use super::Provider;
use crate::{
    core::account::{Answer, Parcel},
    limits::{OUTBOX_BYTES_MAX, OUTBOX_MESSAGES_MAX},
    seams::BoxFuture,
};

/// A message that was caught.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caught {
    /// When, Unix milliseconds.
    pub time_ms: u64,
    /// `email` or `sms`.
    pub channel: String,
    /// Whose message.
    pub app: String,
    /// Its id.
    pub message: String,
    /// The recipient.
    pub to: String,
    /// Copies of a mail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cc: Vec<String>,
    /// Blind copies of a mail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bcc: Vec<String>,
    /// Where answers to a mail go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// A mail's subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A mail's HTML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// Names of a mail's files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<String>,
    /// The signature of a text message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign: Option<String>,
    /// Its template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

impl Caught {
    fn of(parcel: &Parcel, time_ms: u64) -> Self {
        let message = &parcel.message;
        let overrides = message.overrides.clone().unwrap_or_default();
        let mail = overrides.email.filter(|_| parcel.channel == Channel::Email).unwrap_or_default();
        let sms = overrides.sms.filter(|_| parcel.channel == Channel::Sms).unwrap_or_default();
        let first = parcel.is_first();
        Self {
            time_ms,
            channel: parcel.channel.as_str().to_owned(),
            app: parcel.app.to_string(),
            message: parcel.id.to_string(),
            to: parcel.address.to_string(),
            cc: if first { mail.cc } else { Vec::new() },
            bcc: if first { mail.bcc } else { Vec::new() },
            reply_to: mail.reply_to,
            subject: mail
                .subject
                .or_else(|| message.content.title.clone())
                .filter(|_| parcel.channel == Channel::Email),
            text: mail.text.or(sms.text).or_else(|| message.content.body.clone()),
            html: mail.html,
            attachments: mail.attachments.into_iter().map(|file| file.name).collect(),
            sign: sms.sign,
            template: sms.template,
        }
    }
}

/// The provider.
#[derive(Debug, Clone)]
pub struct Outbox {
    channel: Channel,
    folder: Arc<Path>,
    kept: Arc<Mutex<Option<Kept>>>,
}

/// The files that are there, the oldest first, with their sizes.
#[derive(Debug, Default)]
struct Kept {
    files: VecDeque<(String, u64)>,
    bytes: u64,
    last: u64,
}

impl Outbox {
    /// One whose folder is in the folder that the URL names, or what is wrong with that.
    pub fn parse(channel: Channel, url: &str) -> Result<Self, String> {
        let folder = url.strip_prefix("outbox:").map(Path::new).filter(|folder| folder.is_absolute());
        let folder = folder.ok_or_else(|| format!("url is {url:?}, must be like outbox:/absolute/folder"))?;
        Ok(Self { channel, folder: folder.join(channel.as_str()).into(), kept: Arc::default() })
    }

    /// Puts a message there; the name it has there.
    fn put(&self, caught: &Caught) -> io::Result<String> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = match &mut *kept {
            Some(kept) => kept,
            none => none.insert(Kept::read(&self.folder)?),
        };
        let text = serde_json::to_vec(caught)?;
        // Names are in the order of arrival, whatever the clock does.
        kept.last = (kept.last + 1).max(caught.time_ms);
        let name = format!("{:013}", kept.last);
        let unfinished = self.folder.join(format!("{name}.new"));
        let options = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
        options?.write_all(&text)?;
        fs::rename(&unfinished, file(&self.folder, &name))?;
        kept.bytes += text.len() as u64;
        kept.files.push_back((name.clone(), text.len() as u64));
        kept.make_room(&self.folder);
        Ok(name)
    }
}

impl Kept {
    fn read(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut kept = Self::default();
        for name in names(folder)? {
            let bytes = fs::metadata(file(folder, &name))?.len();
            kept.last = name.parse().unwrap_or(kept.last);
            kept.bytes += bytes;
            kept.files.push_back((name, bytes));
        }
        Ok(kept)
    }

    fn make_room(&mut self, folder: &Path) {
        while self.files.len() > OUTBOX_MESSAGES_MAX || (self.bytes > OUTBOX_BYTES_MAX && self.files.len() > 1) {
            let Some((name, bytes)) = self.files.pop_front() else { return };
            self.bytes -= bytes;
            // Whoever looks at the folder may have removed it.
            let _ = fs::remove_file(file(folder, &name));
        }
    }
}

impl Provider for Outbox {
    fn kind(&self) -> Channel {
        self.channel
    }

    fn remark(&self) -> Option<&'static str> {
        Some("this account sends nothing: what it is given is put into a folder")
    }

    fn deliver<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let caught = Caught::of(parcel, now.as_millis() as u64);
            let outbox = self.clone();
            match tokio::task::spawn_blocking(move || outbox.put(&caught)).await {
                Ok(Ok(name)) => Answer::Sent { provider_id: Some(name) },
                Ok(Err(error)) => Answer::Unavailable { detail: format!("the outbox cannot be written: {error}") },
                Err(_) => Answer::unavailable("the outbox was not written"),
            }
        })
    }
}

/// What is in the folder that outboxes were given, the oldest first, each with its name; a folder that is not there holds nothing.
pub fn read(folder: &Path) -> io::Result<Vec<(String, Caught)>> {
    let mut all = Vec::new();
    for channel in [Channel::Email, Channel::Sms] {
        let folder = folder.join(channel.as_str());
        for name in names(&folder)? {
            match fs::read(file(&folder, &name)) {
                // One that is none of ours is not shown.
                Ok(bytes) => all.extend(serde_json::from_slice(&bytes).ok().map(|caught: Caught| (name, caught))),
                // It left meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(all)
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".json").filter(|name| name.parse::<u64>().is_ok()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caught(n: u64) -> Caught {
        serde_json::from_value(
            serde_json::json!({"time_ms": n, "channel": "email", "app": "a", "message": format!("m{n}"), "to": "a@b.c",
            "text": "x".repeat(100)}),
        )
        .unwrap()
    }

    #[test]
    fn what_is_caught_is_there_in_order_whatever_the_clock_does_and_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("outbox:{}", folder.path().display());
        for turn in 0..2 {
            let outbox = Outbox::parse(Channel::Email, &url).unwrap();
            for n in [5, 5, 3, 9] {
                outbox.put(&caught(turn * 10 + n)).unwrap();
            }
        }
        fs::write(folder.path().join("email/17.json"), "damaged").unwrap();
        let found = read(folder.path()).unwrap();
        let times: Vec<_> = found.iter().map(|(_, caught)| caught.time_ms).collect();
        assert_eq!(times, [5, 5, 3, 9, 15, 15, 13, 19]);
    }

    #[test]
    fn the_oldest_leave_when_there_are_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::parse(Channel::Email, &format!("outbox:{}", folder.path().display())).unwrap();
        for n in 0..OUTBOX_MESSAGES_MAX as u64 + 5 {
            outbox.put(&caught(n)).unwrap();
        }
        let found = read(folder.path()).unwrap();
        assert_eq!((found.len(), found[0].1.time_ms), (OUTBOX_MESSAGES_MAX, 5));
    }

    #[test]
    fn a_folder_that_is_not_there_holds_nothing_and_a_relative_one_is_refused() {
        assert_eq!(read(Path::new("/nowhere/at/all")).unwrap(), []);
        assert!(Outbox::parse(Channel::Sms, "outbox:here").is_err_and(|e| e.contains("must be like outbox:/")));
    }
}

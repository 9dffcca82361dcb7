//! `[log]`

use std::io::IsTerminal;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::{Level, Metadata};
use tracing_subscriber::{filter::filter_fn, fmt, layer::SubscriberExt, registry, util::SubscriberInitExt};

/// `[log]`: logs go to stderr.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// How a line looks: `text` for people, `json` for collectors. Default `text`.
    pub format: LogFormat,
    /// What is logged: `error`, `warn`, `info`, `debug` or `trace`, also by module, separated by commas:
    /// `info,pushgate_gateway=debug`. Default `info`.
    pub level: String,
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Libraries whose `info` tells of every file they touch.
const QUIETER: &str = "fjall=warn,lsm_tree=warn";

/// Libraries that would write what they send, with the secrets of its URL and headers, whatever `level` says: from `debug` on they are silent.
const SECRETIVE: [&str; 2] = ["ureq", "ureq_proto"];

fn is_shown(line: &Metadata<'_>) -> bool {
    let library = line.target().split("::").next().unwrap_or_default();
    *line.level() <= Level::INFO || !SECRETIVE.contains(&library)
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

impl LogConfig {
    /// The filter that `level` describes.
    pub fn filter(&self) -> Result<tracing_subscriber::EnvFilter, String> {
        let wrong = |why: &dyn std::fmt::Display| {
            let levels = LEVELS.join(", ");
            format!("log.level is {:?}, must be one of {levels}, or module=level pairs: {why}", self.level)
        };
        // To the library a bare word that is no level is a module to be logged whole, and all others fall silent.
        let stray = |word: &&str| !word.contains(['=', '[']) && !LEVELS.iter().any(|l| l.eq_ignore_ascii_case(word));
        if let Some(word) = self.level.split(',').find(stray) {
            return Err(wrong(&format_args!("{word:?} is no level")));
        }
        // Before what is configured, so that it may say otherwise.
        let level = format!("{QUIETER},{}", self.level);
        tracing_subscriber::EnvFilter::builder().parse(&level).map_err(|error| wrong(&error))
    }

    /// Starts logging to stderr; called once, at the start of a server.
    pub fn start(&self) -> Result<(), String> {
        let colours = std::io::stderr().is_terminal();
        let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
        let shown = registry().with(self.filter()?).with(filter_fn(is_shown));
        let started = match self.format {
            LogFormat::Text => shown.with(lines).try_init(),
            LogFormat::Json => shown.with(lines.json().flatten_event(true)).try_init(),
        };
        started.map_err(|error| format!("logging was started before: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(level: &str) -> Result<(), String> {
        LogConfig { level: level.into(), ..LogConfig::default() }.filter().map(drop)
    }

    #[test]
    fn what_is_sent_to_providers_is_not_logged_at_any_level() {
        for level in ["trace", "ureq=trace", "ureq::run=trace,ureq_proto=debug"] {
            let written = Written::default();
            let lines = fmt::layer().with_writer(written.clone()).with_ansi(false);
            let config = LogConfig { level: level.into(), ..LogConfig::default() };
            let shown = registry().with(config.filter().unwrap()).with(filter_fn(is_shown)).with(lines);
            tracing::subscriber::with_default(shown, || {
                tracing::debug!(target: "ureq::run", "GET https://h/?key=hunter2");
                tracing::trace!(target: "ureq_proto::util", "authorization: hunter2");
                tracing::info!(target: "ureq::run", "a word");
                tracing::warn!(target: "ureq_proto", "another");
            });
            let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
            assert!(
                !text.contains("hunter2") && text.contains("a word") && text.contains("another"),
                "{level}: {text}"
            );
        }
    }

    /// What was logged.
    #[derive(Clone, Default)]
    struct Written(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl fmt::MakeWriter<'_> for Written {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_level_is_a_known_word_or_pairs_of_module_and_level() {
        for level in ["info", "WARN", "off", "info,pushgate_gateway=debug", "warn,pushgate_dispatcher=trace"] {
            assert_eq!(filter(level), Ok(()), "{level}");
        }
        for level in ["inof", "", "info,", "info,pushgate_gateway", "pushgate_gateway=loud", "warn, info"] {
            let error = filter(level).unwrap_err();
            assert!(error.starts_with(&format!("log.level is {level:?}, must be one of error, warn")), "{error}");
        }
    }
}

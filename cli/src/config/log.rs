//! `[log]`

use std::io::IsTerminal;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
        let builder =
            tracing_subscriber::fmt().with_env_filter(self.filter()?).with_writer(std::io::stderr).with_ansi(colours);
        let started = match self.format {
            LogFormat::Text => builder.try_init(),
            LogFormat::Json => builder.json().flatten_event(true).try_init(),
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

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
        // Before what is configured, so that it may say otherwise.
        let level = format!("{QUIETER},{}", self.level);
        tracing_subscriber::EnvFilter::builder().parse(&level).map_err(|error| {
            format!(
                "log.level is {:?}, must be error, warn, info, debug, trace or module=level pairs: {error}",
                self.level
            )
        })
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

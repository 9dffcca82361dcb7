//! How fast an app may call.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `rest_rate`: what one dispatcher takes of an app's REST calls; each message of a batch counts as one. Beyond it calls are
/// answered 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// Calls per second on average, 1 to 1,000,000.
    pub per_s: u32,
    /// Calls at once after a pause, 1 to 10,000,000. Default: those of one second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// A checked rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Per second.
    pub per_s: u32,
    /// At once.
    pub burst: u32,
}

const PER_S_MAX: u32 = 1_000_000;
const BURST_MAX: u32 = 10_000_000;

impl RateConfig {
    /// Checks it; an error names the field.
    pub(super) fn resolve(self) -> Result<Rate, String> {
        let burst = self.burst.unwrap_or(self.per_s);
        for (name, value, max) in [("per_s", self.per_s, PER_S_MAX), ("burst", burst, BURST_MAX)] {
            if !(1..=max).contains(&value) {
                return Err(format!("{name} is {value}, must be 1 to {max}"));
            }
        }
        Ok(Rate { per_s: self.per_s, burst })
    }
}

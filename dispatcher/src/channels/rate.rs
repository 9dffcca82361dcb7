//! The keys of how fast an account may send.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::AccountConfig;
use crate::{
    core::account::{Rate, Rates},
    limits,
};

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// Messages a second on average, from 1 to 1000000. Either this or `per_min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_s: Option<u32>,
    /// Messages a minute on average, from 1 to 1000000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_min: Option<u32>,
    /// Messages at once after a pause, from 1 to 1000000; a quarter of them for lane high alone. Default: those of a tenth of a second, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// How fast to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateToConfig {
    /// The domain, `"*"` for each other one, or how telephone numbers begin.
    pub to: String,
    /// Messages a second on average, from 1 to 1000000. Either this or `per_min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_s: Option<u32>,
    /// Messages a minute on average, from 1 to 1000000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_min: Option<u32>,
    /// Messages at once after a pause, from 1 to 1000000. Default: those of a tenth of a second, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

impl RateConfig {
    fn resolve(self) -> Result<Rate, String> {
        let max = limits::RATE_MAX;
        for (key, value) in [("per_s", self.per_s), ("per_min", self.per_min), ("burst", self.burst)] {
            if let Some(value) = value.filter(|value| !(1..=max).contains(value)) {
                return Err(format!("{key} is {value}, must be from 1 to {max}"));
            }
        }
        let per_min = match (self.per_s, self.per_min) {
            (Some(per_s), None) => u64::from(per_s) * 60,
            (None, Some(per_min)) => per_min.into(),
            _ => return Err("needs either per_s or per_min".into()),
        };
        Ok(Rate { per_min, burst: self.burst.map_or((per_min / 600).max(1), u64::from) })
    }
}

impl AccountConfig {
    /// How fast it may send, or what is wrong with that.
    pub fn rates(&self) -> Result<Rates, String> {
        let all = self.rate.map(RateConfig::resolve).transpose().map_err(|problem| format!("rate: {problem}"))?;
        if self.rates_to.len() > limits::RATES_MAX {
            return Err(format!("rates_to has {} entries, must be at most {}", self.rates_to.len(), limits::RATES_MAX));
        }
        let mut to: Vec<(Arc<str>, Rate)> = Vec::new();
        for (n, entry) in self.rates_to.iter().enumerate() {
            let key = entry.to.to_ascii_lowercase();
            if key.is_empty() || key.contains(['@', ' ']) || to.iter().any(|(other, _)| **other == *key) {
                let form = "must be a domain, \"*\" or how numbers begin, each once";
                return Err(format!("rates_to[{n}].to is {:?}, {form}", entry.to));
            }
            let rate = RateConfig { per_s: entry.per_s, per_min: entry.per_min, burst: entry.burst };
            to.push((key.into(), rate.resolve().map_err(|problem| format!("rates_to[{n}]: {problem}"))?));
        }
        Ok(Rates { all, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(toml: serde_json::Value) -> Result<Rates, String> {
        let account = AccountConfig::new("a", "stub", "stub:sent");
        let entry = |key: &str| toml.get(key).cloned();
        AccountConfig {
            rate: entry("rate").map(|rate| serde_json::from_value(rate).unwrap()),
            rates_to: entry("rates_to").map_or_else(Vec::new, |to| serde_json::from_value(to).unwrap()),
            ..account
        }
        .rates()
    }

    #[test]
    fn a_rate_is_of_a_second_or_of_a_minute_and_its_burst_a_tenth_of_a_second() {
        use serde_json::json;
        let rate = |rate| rates(json!({ "rate": rate })).map(|rates| rates.all);
        assert_eq!(rate(json!({"per_s": 2_000})), Ok(Some(Rate { per_min: 120_000, burst: 200 })));
        assert_eq!(rate(json!({"per_min": 30})), Ok(Some(Rate { per_min: 30, burst: 1 })));
        assert_eq!(rate(json!({"per_s": 1, "burst": 7})), Ok(Some(Rate { per_min: 60, burst: 7 })));
        assert_eq!(rate(json!({})).unwrap_err(), "rate: needs either per_s or per_min");
        assert_eq!(rate(json!({"per_s": 0})).unwrap_err(), "rate: per_s is 0, must be from 1 to 1000000");
        let twice = json!({"rates_to": [{"to": "QQ.com", "per_s": 5}, {"to": "qq.com", "per_s": 5}]});
        assert!(rates(twice).unwrap_err().starts_with("rates_to[1].to is \"qq.com\", must be"));
    }
}

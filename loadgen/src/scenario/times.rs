//! Times as milliseconds in JSON: a whole number where it is one, else with its fraction, so that what is read is what was written.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// The longest time that is read, milliseconds: a year. Below it every nanosecond has its own number.
const MS_MAX: f64 = 366.0 * 86_400_000.0;

pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    match time.subsec_nanos() % 1_000_000 {
        0 => to.serialize_u64(time.as_millis() as u64),
        _ => to.serialize_f64(time.as_nanos() as f64 / 1e6),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    time(f64::deserialize(from)?)
}

fn time<E: Error>(ms: f64) -> Result<Duration, E> {
    match (0.0..=MS_MAX).contains(&ms) {
        true => Ok(Duration::from_nanos((ms * 1e6).round() as u64)),
        false => Err(E::custom(format!("a time is {ms} ms, must be 0 to {MS_MAX}"))),
    }
}

/// The same of what may never be.
pub(super) mod or_never {
    use super::{Deserialize, Deserializer, Duration, Serializer, time};

    pub(in super::super) fn serialize<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::serialize(time, to),
            None => to.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(from)?.map(time).transpose()
    }
}

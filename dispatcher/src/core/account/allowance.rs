//! What an account may send: in all, and to each domain or prefix of telephone numbers.
//!
//! Destinations are counted apart up to a bound; those whose bucket is full are forgotten, for a new one would be full as well. While
//! all that are counted have something to wait for, further ones share one bucket.

use std::sync::Arc;

use hashbrown::HashMap;
use pushgate_protocol::{link::Lane, message::Channel};

use super::{
    Parcel,
    bucket::{Bucket, Rate},
};
use crate::limits::{DESTINATIONS_MAX, DESTINATIONS_SWEEP_MS, PARK_HIGH_MS_MAX, PARK_MS_MAX};

/// Stands for each domain that is not named.
pub const EACH: &str = "*";

/// What an account may send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rates {
    /// In all.
    pub all: Option<Rate>,
    /// To recipients of a domain, or whose number begins so; [`EACH`]: to each domain that is not named.
    pub to: Vec<(Arc<str>, Rate)>,
}

/// What is left of it.
#[derive(Debug)]
pub(super) struct Allowance {
    rates: Rates,
    all: Option<Bucket>,
    to: HashMap<Arc<str>, To>,
    swept_ms: u64,
}

#[derive(Debug)]
struct To {
    rate: Rate,
    bucket: Bucket,
    /// When the last that was sent away comes again.
    tail_ms: u64,
}

impl Allowance {
    pub(super) fn new(rates: Rates, now_ms: u64) -> Self {
        let all = rates.all.map(|rate| Bucket::full(rate, now_ms));
        Self { rates, all, to: HashMap::new(), swept_ms: 0 }
    }

    /// Other rates from now on. What was taken stays taken.
    pub(super) fn set(&mut self, rates: Rates, now_ms: u64) {
        self.all = match (rates.all, self.all) {
            (Some(rate), Some(mut bucket)) => {
                bucket.set(rate);
                Some(bucket)
            }
            (Some(rate), None) => Some(Bucket::full(rate, now_ms)),
            (None, _) => None,
        };
        if rates.to != self.rates.to {
            self.to.clear();
        }
        self.rates = rates;
    }

    /// When the account may send something of a lane; in the past, if it may now.
    pub(super) fn ready_ms(&mut self, now_ms: u64, lane: Lane) -> u64 {
        let (Some(rate), Some(bucket)) = (self.rates.all, &mut self.all) else { return 0 };
        bucket.fill(rate, now_ms);
        bucket.ready_ms(rate, if lane == Lane::High { 0 } else { rate.reserve() })
    }

    /// The destination of a parcel, if it is counted.
    pub(super) fn destination(&mut self, now_ms: u64, parcel: &Parcel) -> Option<Arc<str>> {
        let (key, rate) = self.key(parcel)?;
        Some(self.counted(now_ms, key, rate))
    }

    fn key(&self, parcel: &Parcel) -> Option<(Arc<str>, Rate)> {
        if self.rates.to.is_empty() {
            return None;
        }
        let address = parcel.address.as_str();
        match parcel.channel {
            Channel::Email => {
                let domain = address.rsplit_once('@')?.1.to_ascii_lowercase();
                let named = self.rates.to.iter().find(|(to, _)| **to == *domain);
                match named {
                    Some((to, rate)) => Some((Arc::clone(to), *rate)),
                    None => Some((domain.into(), self.rates.to.iter().find(|(to, _)| &**to == EACH)?.1)),
                }
            }
            _ => {
                let fits = self.rates.to.iter().filter(|(to, _)| address.starts_with(&**to));
                let (to, rate) = fits.max_by_key(|(to, _)| to.len())?;
                Some((Arc::clone(to), *rate))
            }
        }
    }

    fn counted(&mut self, now_ms: u64, key: Arc<str>, rate: Rate) -> Arc<str> {
        if self.to.contains_key(&key) {
            return key;
        }
        if self.to.len() >= DESTINATIONS_MAX && now_ms >= self.swept_ms + DESTINATIONS_SWEEP_MS {
            self.swept_ms = now_ms;
            self.to.retain(|_, to| {
                to.bucket.fill(to.rate, now_ms);
                !to.bucket.is_full(to.rate) || to.tail_ms > now_ms
            });
        }
        let key = if self.to.len() >= DESTINATIONS_MAX { EACH.into() } else { key };
        let new = || To { rate, bucket: Bucket::full(rate, now_ms), tail_ms: 0 };
        self.to.entry(Arc::clone(&key)).or_insert_with(new);
        key
    }

    /// When something may go to a destination; in the past, if it may now.
    pub(super) fn ready_to_ms(&mut self, now_ms: u64, destination: &str) -> u64 {
        self.to.get_mut(destination).map_or(0, |to| {
            to.bucket.fill(to.rate, now_ms);
            to.bucket.ready_ms(to.rate, 0)
        })
    }

    /// Whether a parcel may go now.
    pub(super) fn lets(&mut self, now_ms: u64, parcel: &Parcel) -> bool {
        let destination = self.key(parcel).map(|(key, _)| key);
        self.ready_ms(now_ms, parcel.lane) <= now_ms
            && destination.is_none_or(|destination| self.ready_to_ms(now_ms, &destination) <= now_ms)
    }

    /// A message goes.
    pub(super) fn take(&mut self, destination: Option<&str>) {
        self.all.iter_mut().for_each(Bucket::take);
        if let Some(to) = destination.and_then(|destination| self.to.get_mut(destination)) {
            to.bucket.take();
        }
    }

    /// When a parcel that has no room comes again at the earliest: one after another, as fast as its destination allows.
    pub(super) fn comes_again_ms(&mut self, now_ms: u64, parcel: &Parcel) -> u64 {
        let Some((key, _)) = self.key(parcel) else { return 0 };
        let key = if self.to.contains_key(&key) { &key } else { EACH };
        let Some(to) = self.to.get_mut(key) else { return 0 };
        let max_ms = if parcel.lane == Lane::High { PARK_HIGH_MS_MAX } else { PARK_MS_MAX };
        to.tail_ms = (to.tail_ms.max(now_ms) + to.rate.step_ms()).min(now_ms + max_ms);
        if to.tail_ms < parcel.expires_ms { to.tail_ms } else { 0 }
    }

    /// Messages that may go at once; `None` if nothing bounds them.
    pub(super) fn tokens(&self) -> Option<u64> {
        self.all.map(|bucket| bucket.tokens())
    }

    #[cfg(test)]
    pub(super) fn destinations(&self) -> usize {
        self.to.len()
    }
}

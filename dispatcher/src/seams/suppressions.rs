//! Addresses that are sent nothing.

use std::sync::Arc;

use pushgate_protocol::{ids::AppId, message::Channel};

use super::{BoxFuture, StoreError};
use crate::suppressed::Reasons;

/// An address of a channel, as an app may not use it. In the form of [`normalized`](crate::suppressed::normalized).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AppAddress {
    /// The app.
    pub app: AppId,
    /// The channel.
    pub channel: Channel,
    /// The address.
    pub address: String,
}

/// An address that is sent nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// The channel.
    pub channel: Channel,
    /// The address, in its one form.
    pub address: String,
    /// Why.
    pub reasons: Reasons,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
}

/// The list of each app, bounded ([`SUPPRESSIONS_MAX`](crate::limits::SUPPRESSIONS_MAX)).
pub trait Suppressions: Send + Sync {
    /// Adds reasons to addresses of an app, durably; what is known of an address stays, `since_ms` too. Answers of each whether there
    /// was room.
    fn suppress(&self, app: AppId, entries: Vec<Suppression>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>>;

    /// Takes reasons from an address; one without any is sent to again. Answers whether it had one of them.
    fn release(&self, address: AppAddress, reasons: Reasons) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// The reasons of each address, in the order asked.
    fn suppressed(&self, addresses: Vec<AppAddress>) -> BoxFuture<'_, Result<Vec<Reasons>, StoreError>>;

    /// Addresses of an app after this one, by channel and address, at most `limit`.
    fn list(
        &self,
        app: AppId,
        after: Option<(Channel, String)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Suppression>, StoreError>>;
}

impl<T: Suppressions + ?Sized> Suppressions for Arc<T> {
    fn suppress(&self, app: AppId, entries: Vec<Suppression>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>> {
        (**self).suppress(app, entries)
    }

    fn release(&self, address: AppAddress, reasons: Reasons) -> BoxFuture<'_, Result<bool, StoreError>> {
        (**self).release(address, reasons)
    }

    fn suppressed(&self, addresses: Vec<AppAddress>) -> BoxFuture<'_, Result<Vec<Reasons>, StoreError>> {
        (**self).suppressed(addresses)
    }

    fn list(
        &self,
        app: AppId,
        after: Option<(Channel, String)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Suppression>, StoreError>> {
        (**self).list(app, after, limit)
    }
}

//! A store whose apps carry a prefix of their own, so that facts share a server and never meet.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use pushgate_dispatcher::{
    seams::{
        AppAddress, BoxFuture, Count, Glance, Mark, MarkQuery, MessageKey, MessageStore, MessageView, Reservation,
        StateChange, StoreError, StreamOp, StreamOutcome, StreamPage, Streams, Suppression, Suppressions, UserKey,
    },
    seen::SeenRuns,
    suppressed::Reasons,
};
use pushgate_protocol::{
    ids::{AppId, MessageId},
    link::Lane,
    message::Channel,
};

pub struct Scoped<T> {
    inner: T,
    scope: String,
}

impl<T> Scoped<T> {
    pub fn new(inner: T, scope: &str) -> Self {
        Self { inner, scope: scope.to_owned() }
    }

    /// A prefix no other run has.
    pub fn fresh() -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        format!("{nanos:x}-{:x}-{:x}-", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn app(&self, app: &AppId) -> AppId {
        AppId::parse(&format!("{}{app}", self.scope)).unwrap()
    }

    fn user(&self, user: UserKey) -> UserKey {
        UserKey { app: self.app(&user.app), user: user.user }
    }
}

impl<T: Streams> Streams for Scoped<T> {
    fn marks(&self, queries: Vec<MarkQuery>, now_ms: u64) -> BoxFuture<'_, Result<Vec<Option<Mark>>, StoreError>> {
        let scope = |query: MarkQuery| MarkQuery { user: self.user(query.user), key: query.key };
        self.inner.marks(queries.into_iter().map(scope).collect(), now_ms)
    }

    fn apply(&self, ops: Vec<StreamOp>, now_ms: u64) -> BoxFuture<'_, Result<Vec<StreamOutcome>, StoreError>> {
        let scope = |mut op| {
            let (StreamOp::Append { user, .. }
            | StreamOp::Settle { user, .. }
            | StreamOp::Mark { user, .. }
            | StreamOp::Tag { user, .. }
            | StreamOp::Publish { user, .. }
            | StreamOp::Seen { user, .. }) = &mut op;
            *user = self.user(user.clone());
            op
        };
        self.inner.apply(ops.into_iter().map(scope).collect(), now_ms)
    }

    fn read(
        &self,
        user: UserKey,
        after: u64,
        limit: usize,
        episode: u64,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<StreamPage, StoreError>> {
        self.inner.read(self.user(user), after, limit, episode, now_ms)
    }

    fn glance(&self, asked: Vec<(UserKey, u64)>, now_ms: u64) -> BoxFuture<'_, Result<Vec<Glance>, StoreError>> {
        self.inner.glance(asked.into_iter().map(|(user, episode)| (self.user(user), episode)).collect(), now_ms)
    }

    fn seen(&self, user: UserKey) -> BoxFuture<'_, Result<SeenRuns, StoreError>> {
        self.inner.seen(self.user(user))
    }
}

impl<T: MessageStore> MessageStore for Scoped<T> {
    fn record(&self, changes: Vec<StateChange>) -> BoxFuture<'_, Result<Vec<MessageKey>, StoreError>> {
        let scope = |change: StateChange| StateChange { app: self.app(&change.app), ..change };
        let recalled = self.inner.record(changes.into_iter().map(scope).collect());
        let bare = |m: MessageKey| MessageKey { app: AppId::parse(&m.app.as_str()[self.scope.len()..]).unwrap(), ..m };
        Box::pin(async move { Ok(recalled.await?.into_iter().map(bare).collect()) })
    }

    fn recall(&self, message: MessageKey, now_ms: u64) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.inner.recall(MessageKey { app: self.app(&message.app), ..message }, now_ms)
    }

    fn recalled(&self, messages: Vec<MessageKey>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>> {
        let scope = |message: MessageKey| MessageKey { app: self.app(&message.app), ..message };
        self.inner.recalled(messages.into_iter().map(scope).collect())
    }

    fn count(&self, counts: Vec<Count>) -> BoxFuture<'_, Result<(), StoreError>> {
        let scope = |count: Count| Count { app: self.app(&count.app), ..count };
        self.inner.count(counts.into_iter().map(scope).collect())
    }

    fn message(
        &self,
        app: AppId,
        id: MessageId,
        page: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<MessageView>, StoreError>> {
        self.inner.message(self.app(&app), id, page, limit)
    }

    fn reserve(
        &self,
        app: AppId,
        ids: Vec<(MessageId, [u8; 16], Lane)>,
        now_ms: u64,
    ) -> BoxFuture<'_, Result<Vec<Reservation>, StoreError>> {
        self.inner.reserve(self.app(&app), ids, now_ms)
    }

    fn confirm(&self, app: AppId, ids: Vec<MessageId>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.confirm(self.app(&app), ids)
    }
}

impl<T: Suppressions> Suppressions for Scoped<T> {
    fn suppress(&self, app: AppId, entries: Vec<Suppression>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>> {
        self.inner.suppress(self.app(&app), entries)
    }

    fn release(&self, address: AppAddress, reasons: Reasons) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.inner.release(AppAddress { app: self.app(&address.app), ..address }, reasons)
    }

    fn suppressed(&self, addresses: Vec<AppAddress>) -> BoxFuture<'_, Result<Vec<Reasons>, StoreError>> {
        let scope = |address: AppAddress| AppAddress { app: self.app(&address.app), ..address };
        self.inner.suppressed(addresses.into_iter().map(scope).collect())
    }

    fn list(
        &self,
        app: AppId,
        after: Option<(Channel, String)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Suppression>, StoreError>> {
        self.inner.list(self.app(&app), after, limit)
    }
}

//! `kind = "outbox"`: no mail is sent, each is put into a folder.

use std::sync::Arc;

use pushgate_protocol::message::Channel;

use crate::channels::{Provider, config::AccountConfig, outbox::Outbox};

pub(super) fn open(account: &AccountConfig) -> Result<Arc<dyn Provider>, String> {
    account.refuse_secrets()?;
    Outbox::parse(Channel::Email, &account.url).map(|outbox| Arc::new(outbox) as _)
}

//! `kind = "stub"`: no text message is sent.

use std::sync::Arc;

use pushgate_protocol::message::Channel;

use crate::channels::{Provider, config::AccountConfig, stub::Stub};

pub(super) fn open(account: &AccountConfig) -> Result<Arc<dyn Provider>, String> {
    account.refuse_secrets()?;
    Stub::parse(Channel::Sms, &account.url).map(|stub| Arc::new(stub) as _)
}

//! Whether the accounts of a configuration could send, looked at without sending anything.

use std::{path::Path, sync::Arc};

use pushgate_dispatcher::channels::{Checked, Provider, config::AccountConfig, email, sms};
use tokio::{runtime::Builder, task::JoinSet};

use super::{Check, State};
use crate::config;

type Opened = Result<Arc<dyn Provider>, String>;

/// A check for each account that `file` names, all made at once.
pub(super) fn checks(file: &Path) -> Vec<Check> {
    // What is wrong with the file itself is told by the check of the server.
    let Ok(loaded) = config::load(Some(file), std::env::vars()) else { return Vec::new() };
    let config = loaded.config;
    let mails = config.email.iter().map(|account| ("email", account, email::open(account)));
    let texts = config.sms.iter().map(|account| ("sms", account, sms::open(account)));
    let all: Vec<_> = mails.chain(texts).collect();
    if all.is_empty() {
        return Vec::new();
    }
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(looked_at(all)),
        Err(error) => vec![Check { name: "account", state: State::Failed, detail: format!("no runtime: {error}") }],
    }
}

async fn looked_at(all: Vec<(&'static str, &AccountConfig, Opened)>) -> Vec<Check> {
    let mut looks = JoinSet::new();
    for (n, (channel, account, opened)) in all.into_iter().enumerate() {
        let (name, kind) = (format!("{channel} {}", account.name), account.kind.clone());
        looks.spawn(async move {
            let checked = match opened {
                Ok(provider) => provider.check().await,
                Err(what) => Checked::Unfit { what, remedy: "`pushgate config check` names the key" },
            };
            (n, told(&name, &kind, checked))
        });
    }
    let mut checks = looks.join_all().await;
    checks.sort_by_key(|(n, _)| *n);
    checks.into_iter().map(|(_, check)| check).collect()
}

fn told(name: &str, kind: &str, checked: Checked) -> Check {
    let (state, detail) = match checked {
        Checked::Fit(found) => (State::Ok, format!("{name}: {found}")),
        Checked::Unseen => (State::Ok, format!("{name}: of kind {kind}, which cannot be looked at without sending")),
        Checked::Unfit { what, remedy } => (State::Failed, format!("{name}: {what}; {remedy}")),
    };
    Check { name: "account", state, detail }
}

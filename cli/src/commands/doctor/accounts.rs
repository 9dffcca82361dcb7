//! Whether the accounts of a configuration could send, looked at without sending anything.

use std::sync::Arc;

use pushgate_dispatcher::channels::{Checked, Provider, config::AccountConfig, email, sms};
use tokio::{runtime::Builder, task::JoinSet};

use super::Check;
use crate::config::Config;

type Opened = Result<Arc<dyn Provider>, String>;

/// A check for each account that is configured, all made at once.
pub(super) fn checks(config: &Config) -> Vec<Check> {
    let mails = config.email.iter().map(|account| ("email", account, email::open(account)));
    let texts = config.sms.iter().map(|account| ("sms", account, sms::open(account)));
    let all: Vec<_> = mails.chain(texts).collect();
    if all.is_empty() {
        return Vec::new();
    }
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(looked_at(all)),
        Err(error) => vec![Check::failed("account", format!("no runtime: {error}"))],
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
    match checked {
        Checked::Fit(found) => Check::ok("account", format!("{name}: {found}")),
        Checked::Unseen => {
            Check::ok("account", format!("{name}: of kind {kind}, which cannot be looked at without sending"))
        }
        Checked::Unfit { what, remedy } => Check::failed("account", format!("{name}: {what}"))
            .effect("nothing is sent through it: another account of its channel is used, or messages wait and expire")
            .remedy(remedy),
    }
}

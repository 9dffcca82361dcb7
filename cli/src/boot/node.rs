//! `pushgate gateway` and `pushgate dispatcher`: one half each, as a node of a cluster.

use std::{path::Path, sync::Arc};

use pushgate_dispatcher::{boot as dispatchers, config::StoreKind};
use pushgate_gateway::{
    boot::{self as gateways, RunningGateway},
    config::GatewayConfig,
};
use pushgate_protocol::{auth::SharedApps, membership::Membership, ring::Routing};
use tokio::runtime::{Builder, Runtime};

use super::{
    account_watch::{AccountWatch, ReadAccounts},
    key_watch::{KeyWatch, ReadApps},
    signals::Signals,
};
use crate::{
    allocator,
    config::{Config, Loaded, Role},
    failure::Failure,
};

/// Runs a gateway until Ctrl-C or SIGTERM.
pub fn gateway(loaded: Loaded) -> Result<(), Failure> {
    loaded.check(Role::Gateway)?;
    let config = loaded.config.clone();
    config.log.start().map_err(Failure::new)?;
    let keys = KeyWatch::spawn(config.key_files().map_err(Failure::usage)?, apps_again(loaded, Role::Gateway))?;
    let options = gateways::StartOptions {
        routing: routing(&config)?,
        membership: membership(&config)?,
        give_back: Some(allocator::give_back),
        ..Default::default()
    };
    runtime()?.block_on(async {
        // A gateway that is ready hears them.
        let mut signals = Signals::listen()?;
        let gateway = gateways::start(&gateway_config(&config)?, keys.apps(), options).map_err(failed)?;
        let reload = || {
            gateway.reload_tls();
            keys.look();
        };
        let ended = signals.wait(|| gateway.failed(), || gateway.is_draining(), reload).await;
        leave(gateway, &mut signals).await?;
        ended
    })
}

/// Runs a dispatcher until Ctrl-C or SIGTERM.
pub fn dispatcher(loaded: Loaded) -> Result<(), Failure> {
    loaded.check(Role::Dispatcher)?;
    let config = loaded.config.clone();
    config.log.start().map_err(Failure::new)?;
    let read_accounts = accounts_again(loaded.clone());
    let file = loaded.file().map(Path::to_owned);
    let keys = KeyWatch::spawn(config.key_files().map_err(Failure::usage)?, apps_again(loaded, Role::Dispatcher))?;
    runtime()?.block_on(async {
        // A dispatcher that is ready hears them.
        let mut signals = Signals::listen()?;
        let dispatcher = dispatchers::start(dispatcher_parts(&config, keys.apps(), false)?).await.map_err(failed)?;
        let accounts = AccountWatch::spawn(dispatcher.roster(), file, read_accounts)?;
        let reload = || {
            keys.look();
            accounts.look();
        };
        let ended = signals.wait(|| dispatcher.failed(), || false, reload).await;
        drop(accounts);
        dispatcher.shut_down().await;
        ended
    })
}

/// Reads `[[apps]]` again, in a configuration that is right as a whole.
fn apps_again(loaded: Loaded, role: Role) -> ReadApps {
    Box::new(move || {
        let again = loaded.again().map_err(|findings| findings.to_string())?;
        again.check(role).map_err(|findings| findings.to_string())?;
        Ok(again.config.apps)
    })
}

/// Reads `[[email]]` and `[[sms]]` again, in a configuration that is right as a whole.
fn accounts_again(loaded: Loaded) -> ReadAccounts {
    Box::new(move || {
        let again = loaded.again().map_err(|findings| findings.to_string())?;
        again.check(Role::Dispatcher).map_err(|findings| findings.to_string())?;
        Ok([again.config.email, again.config.sms])
    })
}

/// Drains a gateway; at another signal, waits for nothing more.
pub(super) async fn leave(gateway: RunningGateway, signals: &mut Signals) -> Result<(), Failure> {
    gateway.drain();
    let drained = signals.wait_unless_repeated(|| gateway.is_drained()).await;
    // It waits for threads.
    let stopped =
        tokio::task::spawn_blocking(move || if drained { gateway.shutdown() } else { gateway.abandon() }).await;
    stopped.map_err(|error| Failure::new(format!("the gateway did not stop cleanly: {error}")))
}

/// The dispatcher's runtime; the gateway's own threads do not run on it.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .enable_all()
        .thread_name("dispatcher")
        .build()
        .map_err(|error| Failure::new(format!("the runtime does not start: {error}")))
}

/// The gateway's section with the key of `[links]`.
pub(super) fn gateway_config(config: &Config) -> Result<GatewayConfig, Failure> {
    let link_key = Some(config.link_key().map_err(Failure::usage)?);
    let link_tls = config.links.tls().map_err(Failure::usage)?;
    Ok(GatewayConfig { link_key, link_key_file: None, link_tls, tls: config.tls.clone(), ..config.gateway.clone() })
}

/// All that the dispatcher starts with; `held`: it is not ready before it is released.
pub(super) fn dispatcher_parts(
    config: &Config,
    apps: SharedApps,
    held: bool,
) -> Result<dispatchers::DispatcherParts, Failure> {
    Ok(dispatchers::DispatcherParts {
        config: config.dispatcher.clone(),
        store: config.store.clone(),
        kafka: config.kafka.clone(),
        redis: config.redis.clone(),
        members: config.members.clone(),
        classes: config.classes.clone(),
        email: config.email.clone(),
        sms: config.sms.clone(),
        channels: config.channels,
        link_key: config.link_key().map_err(Failure::usage)?.into_bytes().into(),
        link_tls: config.link_tls().map_err(Failure::usage)?,
        apps,
        held,
    })
}

/// The member list, if this node knows one.
pub(super) fn routing(config: &Config) -> Result<Option<Arc<Routing>>, Failure> {
    if config.members.is_empty() {
        return Ok(None);
    }
    dispatchers::routing(&config.members).map_err(failed).map(|routing| Some(Arc::new(routing)))
}

/// The member list in Redis, where the configuration names no gateways and has one.
fn membership(config: &Config) -> Result<Option<Arc<dyn Membership>>, Failure> {
    if !config.members.is_empty() || config.store.kind != StoreKind::Redis {
        return Ok(None);
    }
    dispatchers::membership(&config.redis, &config.store).map(Some).map_err(failed)
}

/// A part that did not start.
pub(super) fn failed(error: impl std::error::Error) -> Failure {
    Failure::new(error.to_string())
}

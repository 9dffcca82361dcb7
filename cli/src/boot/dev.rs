//! `pushgate dev`: gateway and dispatcher in one process, on loopback, with data on local disk.

use std::{
    io::{self, Write},
    net::TcpListener,
    path::{Path, PathBuf},
};

use pushgate_dispatcher::{
    boot as dispatcher,
    channels::config::AccountConfig,
    config::{LinkConfig, MemberConfig},
    embedded::EmbeddedStore,
};
use pushgate_gateway::{boot as gateway, page};

use super::{
    account_watch::{AccountWatch, ReadAccounts},
    banner, data,
    key_watch::{KeyWatch, ReadApps},
    node,
    signals::Signals,
};
use crate::{
    allocator,
    config::{Config, Loaded, Role},
    failure::Failure,
    runtime_file::{Addresses, RuntimeFile},
};

/// The folder in the data directory where messages are that no account could send.
pub const OUTBOX: &str = "outbox";

/// Runs until Ctrl-C or SIGTERM.
pub fn dev(loaded: Loaded, data: &Path) -> Result<(), Failure> {
    let mut config = on_loopback(&loaded);
    // One process, whose links do not leave the host.
    config.links = LinkConfig::default();
    // Until the data directory is there, which has its own.
    config.links.key = Some(data::new_link_key()?);
    let gateway = &mut config.gateway;
    fix_ports([&mut gateway.listen, &mut gateway.links, &mut gateway.admin, &mut config.dispatcher.listen])?;
    let (node, links) = (config.gateway.node.clone(), config.gateway.links.clone());
    let admin = Some(config.gateway.admin.clone());
    let member = MemberConfig { node, links, url: None, admin, weight: 1 };
    config.members = vec![member];
    allow_own_page(&mut config);
    // Before the data directory is made.
    loaded.clone().with(config.clone()).check(Role::Dev)?;
    EmbeddedStore::free(data).map_err(node::failed)?;
    if !data.exists() {
        ports_are_free(&config)?;
    }
    let data = data::directory(data)?;
    config.links.key = Some(data::link_key(&data)?);
    config.dispatcher.data = data.to_string_lossy().into_owned();
    catch_what_cannot_be_sent(&mut config, &data);
    if config.apps.is_empty() {
        config.apps = data::default_apps(&data)?;
    }
    config.log.start().map_err(Failure::new)?;
    let own_apps = config.apps.clone();
    let (again, folder) = (loaded.clone(), data.clone());
    let file = loaded.file().map(Path::to_owned);
    let read_accounts: ReadAccounts = Box::new(move || {
        let again = again.again().map_err(|findings| findings.to_string())?;
        again.check(Role::Dev).map_err(|findings| findings.to_string())?;
        let mut config = again.config;
        catch_what_cannot_be_sent(&mut config, &folder);
        Ok([config.email, config.sms])
    });
    let read_apps: ReadApps = Box::new(move || {
        let apps = loaded.again().map_err(|findings| findings.to_string())?.config.apps;
        Ok(if apps.is_empty() { own_apps.clone() } else { apps })
    });
    node::runtime()?.block_on(run(&config, &data, read_apps, (file, read_accounts)))
}

async fn run(
    config: &Config,
    data: &Path,
    read_apps: ReadApps,
    (file, read_accounts): (Option<PathBuf>, ReadAccounts),
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let keys = KeyWatch::spawn(config.key_files().map_err(Failure::usage)?, read_apps)?;
    let first_app = config.apps.first().expect("dev has at least one app").id.clone();
    // Its address is fixed by now: the page that the gateway serves sends there.
    let page = page(&format!("http://{}", config.dispatcher.listen));
    // Whoever finds it ready finds `runtime.json` as well.
    let held = true;
    let options = gateway::StartOptions {
        page: Some(page),
        routing: node::routing(config)?,
        give_back: Some(allocator::give_back),
        held,
        membership: None,
    };
    let gateway = gateway::start(&node::gateway_config(config)?, keys.apps(), options).map_err(node::failed)?;
    let parts = node::dispatcher_parts(config, keys.apps(), held)?;
    let dispatcher = dispatcher::start(parts).await.map_err(node::failed)?;
    let accounts = AccountWatch::spawn(dispatcher.roster(), file, read_accounts)?;
    let addresses = Addresses {
        clients: gateway.listen().to_string(),
        links: gateway.links().to_string(),
        admin: gateway.admin().to_string(),
        rest: dispatcher.address().to_string(),
        tls: gateway.tls(),
    };
    let runtime = RuntimeFile::of_this_process(addresses, config.apps.clone());
    let reload = || {
        gateway.reload_tls();
        keys.look();
        accounts.look();
    };
    let ended = match announce(&runtime, data, &first_app) {
        Ok(()) => {
            gateway.release();
            dispatcher.release();
            signals.wait(|| gateway.failed() || dispatcher.failed(), || gateway.is_draining(), reload).await
        }
        Err(failure) => Err(failure),
    };
    runtime.remove(data);
    drop(accounts);
    // The gateway first: acknowledgements of its last pushes still find the dispatcher.
    let left = node::leave(gateway, &mut signals).await;
    dispatcher.shut_down().await;
    left.and(ended)
}

fn announce(runtime: &RuntimeFile, data: &Path, app: &pushgate_protocol::ids::AppId) -> Result<(), Failure> {
    let unwritable =
        |error: io::Error| Failure::new(format!("cannot write runtime.json to {}: {error}", data.display()));
    runtime.write(data).map_err(unwritable)?;
    let program = std::env::current_exe().unwrap_or_else(|_| "pushgate".into());
    let mut out = io::stdout();
    // Nobody may be reading: the server serves all the same.
    let _ = out.write_all(banner::text(&program, data, &runtime.addresses, app).as_bytes());
    let _ = out.flush();
    Ok(())
}

/// What `dev` changes where neither file nor environment says otherwise: nothing is reached from outside, and the echo
/// is on.
fn on_loopback(loaded: &Loaded) -> Config {
    let mut config = loaded.config.clone();
    let addresses =
        [("gateway.listen", &mut config.gateway.listen), ("dispatcher.listen", &mut config.dispatcher.listen)];
    for (key, address) in addresses {
        if !loaded.wrote(key) {
            *address = address.replace("0.0.0.0", "127.0.0.1");
        }
    }
    // Nobody spreads clients over it, and Ctrl-C should not take long.
    if !loaded.wrote("gateway.limits.drain_grace_ms") {
        config.gateway.limits.drain_grace_ms = 0;
    }
    if !loaded.wrote("gateway.echo") {
        config.gateway.echo = true;
    }
    config
}

/// The page that the gateway serves may call REST from a browser.
fn allow_own_page(config: &mut Config) {
    let scheme = if config.tls.cert.is_some() { "https" } else { "http" };
    config.dispatcher.cors_origins.push(format!("{scheme}://{}", config.gateway.listen));
    if let Some(port) = config.gateway.listen.strip_prefix("127.0.0.1:") {
        config.dispatcher.cors_origins.push(format!("{scheme}://localhost:{port}"));
    }
}

/// A first start that cannot listen makes no data directory. (A later one tries for a while: the ports of a process that was just
/// killed stay taken for a moment.)
fn ports_are_free(config: &Config) -> Result<(), Failure> {
    let gateway = &config.gateway;
    for (key, address) in [
        ("gateway.listen", &gateway.listen),
        ("gateway.links", &gateway.links),
        ("gateway.admin", &gateway.admin),
        ("dispatcher.listen", &config.dispatcher.listen),
    ] {
        match TcpListener::bind(address.as_str()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(Failure::new(format!("{key}: cannot listen on {address}: {error}"))
                    .hint("stop what listens there, or set another address"));
            }
            // What else is wrong with it is told by whoever listens there.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// A channel without an account has one that puts messages into the data directory.
fn catch_what_cannot_be_sent(config: &mut Config, data: &Path) {
    let url = format!("outbox:{}", data.join(OUTBOX).display());
    for accounts in [&mut config.email, &mut config.sms] {
        if accounts.is_empty() {
            accounts.push(AccountConfig::new("outbox", "outbox", &url));
        }
    }
}

/// Chooses ports where 0 asks for any: both halves must know them before either starts. Each is held until all are chosen, or one could be chosen
/// twice.
fn fix_ports(addresses: [&mut String; 4]) -> Result<(), Failure> {
    let mut held = Vec::new();
    for address in addresses {
        if let Some(host) = address.strip_suffix(":0") {
            let taken = |error: io::Error| Failure::new(format!("no free port on {host}: {error}"));
            let listener = TcpListener::bind((host, 0)).map_err(taken)?;
            let port = listener.local_addr().map_err(taken)?.port();
            held.push(listener);
            *address = format!("{host}:{port}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_left_open_are_never_the_same() {
        // When none was held, 23 of 30,000 had one twice.
        for _ in 0..10_000 {
            let [mut a, mut b, mut c, mut d] = [const { String::new() }; 4].map(|_| "127.0.0.1:0".to_owned());
            fix_ports([&mut a, &mut b, &mut c, &mut d]).unwrap();
            let all = std::collections::BTreeSet::from([&a, &b, &c, &d]);
            assert_eq!(all.len(), 4, "{a} {b} {c} {d}");
        }
    }
}

//! `pushgate config check|print|reference`

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use pushgate_dispatcher::config::{SourceKind, StoreKind};

use crate::{
    config::{self, Loaded, Role},
    failure::Failure,
};

/// Arguments of `config`.
#[derive(Debug, Args)]
pub struct ConfigCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say whether a configuration is right; exit 2 and every finding if not.
    #[command(after_help = "Examples:\n  \
        pushgate config check --config configs/cluster.toml\n  \
        PUSHGATE__GATEWAY__SHARDS=two pushgate config check --config configs/gateway.toml --role gateway")]
    Check(Source),
    /// Print the configuration in force as TOML: file, environment and defaults; secrets are hidden.
    #[command(after_help = "Examples:\n  \
        pushgate config print\n  \
        PUSHGATE__LOG__LEVEL=debug pushgate config print --config configs/dev.toml")]
    Print(Source),
    /// Print the reference of all keys as Markdown.
    #[command(hide = true)]
    Reference,
}

#[derive(Debug, Args)]
struct Source {
    /// The file; without it, defaults and environment alone.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The program that will use it; without it, whatever the file has sections for.
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
}

impl ConfigCommand {
    /// Runs it.
    pub fn run(self) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match self.what {
            What::Check(source) => {
                let loaded = source.load()?;
                let roles = source.roles(&loaded);
                for role in &roles {
                    loaded.check(*role)?;
                }
                let roles: Vec<_> = roles.iter().map(|role| format!("{role:?}").to_lowercase()).collect();
                writeln!(out, "the configuration is right for {}", roles.join(" and "))?;
            }
            What::Print(source) => out.write_all(config::effective(&source.load()?.config).as_bytes())?,
            What::Reference => out.write_all(config::reference::page().as_bytes())?,
        }
        Ok(())
    }
}

impl Source {
    fn load(&self) -> Result<Loaded, Failure> {
        let loaded = config::load(self.config.as_deref(), std::env::vars())?;
        for warning in &loaded.warnings {
            eprintln!("warning: {warning}");
        }
        Ok(loaded)
    }

    /// Programs that the configuration describes: all parts are embedded in `dev` alone.
    fn roles(&self, loaded: &Loaded) -> Vec<Role> {
        if let Some(role) = self.role {
            return vec![role];
        }
        let config = &loaded.config;
        let embedded = config.dispatcher.source == SourceKind::Embedded && config.store.kind == StoreKind::Embedded;
        match (loaded.wrote("gateway"), loaded.wrote("dispatcher")) {
            (true, false) if config.links.key.is_some() || config.links.key_file.is_some() => vec![Role::Gateway],
            (true, true) if !embedded => vec![Role::Gateway, Role::Dispatcher],
            (false, true) if !embedded => vec![Role::Dispatcher],
            _ => vec![Role::Dev],
        }
    }
}

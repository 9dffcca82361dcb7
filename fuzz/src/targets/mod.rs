//! What is fuzzed: every parser of bytes from outside, each with what must hold for any bytes.

mod bounce;
mod client_frame;
mod codec;
mod journal;
mod link;
mod message;
mod proxy;
mod request;
mod session;
mod smpp;
mod smtp;
mod tls;
mod token;

use std::sync::LazyLock;

use pushgate_protocol::{
    apps::{AppConfig, Scope},
    auth::{Apps, ClientIdentity},
    ids::{AppId, UserId},
};

/// A target. It panics if a property does not hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&[u8]),
    /// What its inputs are made of.
    pub(crate) words: &'static [&'static [u8]],
    /// Ends of the paths of the files that it is to reach.
    pub(crate) modules: &'static [&'static str],
    /// Longest input, bytes.
    pub(crate) input_bytes_max: usize,
    /// The most memory that one run may take at a time, bytes.
    pub(crate) heap_bytes_max: usize,
}

/// Every target.
pub(crate) const TARGETS: &[Target] = &[
    codec::TARGET,
    request::TARGET,
    token::TARGET,
    client_frame::TARGET,
    session::TARGET,
    smpp::TARGET,
    link::TARGET,
    message::TARGET,
    proxy::TARGET,
    tls::TARGET,
    bounce::TARGET,
    smtp::TARGET,
    journal::TARGET,
];

/// The target of this name.
pub(crate) fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}

/// The clock of every run, Unix seconds.
const NOW_S: u64 = 1_700_000_000;

/// One app with a key and a secret that only this crate has.
static APPS: LazyLock<Apps> = LazyLock::new(|| {
    let config: AppConfig = serde_json::from_value(serde_json::json!({
        "id": "shop",
        "secrets": [{ "id": "s1", "secret": "a secret that fuzzing has", "scopes": ["send"] }],
        "keys": [{ "kind": "jwt", "alg": "HS256", "key": "a key for tokens that only fuzzing has" }],
    }))
    .expect("the configuration is well formed");
    let app = config.resolve(&mut |_| Err("there are no files".into())).expect("the configuration is valid");
    Apps::new(vec![app]).expect("one app")
});

/// Tokens that are good at [`NOW_S`]: a client's and a caller's.
static TOKENS: LazyLock<[String; 2]> = LazyLock::new(|| {
    let shop = AppId::parse("shop").expect("an app's name");
    let user = UserId::parse("u1").expect("a user's name");
    let identity = ClientIdentity { user, device: None, platform: None };
    [
        APPS.mint_client(&shop, &identity, 3600, NOW_S).expect("there is a key"),
        APPS.mint_caller(&shop, &[Scope::Send], 3600, NOW_S).expect("there is a key"),
    ]
});

/// Puts the good tokens where an input has `$C` (the client's) and `$A` (the caller's), so that inputs need not hold them.
fn with_tokens(text: &str) -> String {
    text.replace("$C", &TOKENS[0]).replace("$A", &TOKENS[1])
}

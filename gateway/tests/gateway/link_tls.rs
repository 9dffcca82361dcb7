//! Node links under TLS, as dispatchers see them.

use std::{fs, time::Instant};

use pushgate_gateway::{boot::RunningGateway, config::EngineChoice};
use pushgate_protocol::{
    ids::BootId,
    link::{
        Lane, ToDispatcher,
        tls::{LinkTls, TlsMode, TlsSettings},
    },
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::json;
use tempfile::TempDir;

use super::{
    peer::Peer,
    server::{Client, LINK_KEY, call, config, gateway_with},
};

/// Files of nodes: `ca` vouches for them, `strangers` for `stranger`.
struct Nodes(TempDir);

impl Nodes {
    fn new() -> Self {
        let nodes = Self(tempfile::tempdir().unwrap());
        let far = 4_000;
        nodes.issue("ca", &[("gateway", "127.0.0.1", far), ("dispatcher", "d1", far), ("expired", "d1", 2_001)]);
        nodes.issue("strangers", &[("stranger", "d1", far)]);
        nodes
    }

    fn issue(&self, authority: &str, nodes: &[(&str, &str, i32)]) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, authority);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(self.path(authority), params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        for (node, name, year) in nodes {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![(*name).to_owned()]).unwrap();
            params.not_after = date_time_ymd(*year, 1, 1);
            fs::write(self.path(node), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
            fs::write(self.path(&format!("{node}.key")), key.serialize_pem()).unwrap();
        }
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn of(&self, node: &str, mode: TlsMode) -> TlsSettings {
        let (cert_file, key_file) = (self.path(node), self.path(&format!("{node}.key")));
        TlsSettings { cert_file, key_file, ca_file: self.path("ca"), mode }
    }

    fn gateway(&self, engine: EngineChoice, mode: TlsMode) -> RunningGateway {
        let mut config = config(engine, 2);
        config.link_tls = Some(self.of("gateway", mode));
        gateway_with(&config)
    }

    /// A link as this node, to a place that the certificate must name.
    fn link(&self, gateway: &RunningGateway, node: &str, place: &str, shard: u16) -> Result<Peer, String> {
        let tls = LinkTls::open(self.of(node, TlsMode::Require), Instant::now(), |path| fs::read(path)).unwrap();
        Peer::connect_under(Some(tls.dial(place).unwrap()), gateway, LINK_KEY, BootId(7), shard)
    }
}

fn refused(gateway: &RunningGateway) -> u64 {
    let text = call(gateway.admin(), "GET", "/metrics").body;
    let lines = text.lines().filter(|line| line.starts_with("pushgate_links_refused_total"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

fn pushes_and_acks_go_over_links_with_tls(engine: EngineChoice) {
    let nodes = Nodes::new();
    let gateway = nodes.gateway(engine, TlsMode::Require);
    let here = gateway.links().to_string();
    let mut peers: Vec<_> = (0..2).map(|shard| nodes.link(&gateway, "dispatcher", &here, shard).unwrap()).collect();
    for user in peers[0].users_of_each_shard(2) {
        let (mut client, _) = Client::connect(&gateway, &user);
        let owner = peers[0].owner(&user);
        let peer = &mut peers[usize::from(owner)];
        peer.replay_nothing(&user);
        for (reference, bytes) in [(1, 1), (2, 60_000), (3, 17)] {
            peer.push_padded(reference, Lane::Normal, &user, &format!("m{reference}"), bytes);
            let frame = client.frame();
            assert_eq!(frame["title"].as_str().unwrap().len(), bytes);
            client.say(json!({ "type": "ack", "seq": frame["seq"] }));
            let acked = peer.until(|f| match f {
                ToDispatcher::Acked { reference, .. } => Some(*reference),
                _ => None,
            });
            assert_eq!(acked, reference);
        }
    }
}

#[test]
fn pushes_and_acks_go_over_links_with_tls_on_uring() {
    pushes_and_acks_go_over_links_with_tls(EngineChoice::Uring);
}

#[test]
fn pushes_and_acks_go_over_links_with_tls_on_epoll() {
    pushes_and_acks_go_over_links_with_tls(EngineChoice::Epoll);
}

#[test]
fn who_has_no_certificate_of_the_authority_is_refused_before_the_key_is_asked_for() {
    let nodes = Nodes::new();
    let gateway = nodes.gateway(EngineChoice::Auto, TlsMode::Require);
    let here = gateway.links().to_string();
    for node in ["stranger", "expired"] {
        let why = nodes.link(&gateway, node, &here, 0).err().unwrap();
        assert!(why.contains("does not accept this node's certificate"), "{node}: {why}");
    }
    let why = nodes.link(&gateway, "dispatcher", "g1.example:7401", 0).err().unwrap();
    assert!(why.contains("its certificate is not accepted") && why.contains("g1.example"), "{why}");
    let why = Peer::connect_with(&gateway, LINK_KEY, BootId(7), 0).err().unwrap();
    assert!(why.contains("takes links with TLS alone"), "{why}");
    assert_eq!(refused(&gateway), 4);
    nodes.link(&gateway, "dispatcher", &here, 0).unwrap();
}

#[test]
fn a_gateway_that_is_switched_takes_links_of_both_kinds_and_one_without_says_what_it_is() {
    let nodes = Nodes::new();
    for mode in [TlsMode::Accept, TlsMode::Dial] {
        let gateway = nodes.gateway(EngineChoice::Auto, mode);
        nodes.link(&gateway, "dispatcher", &gateway.links().to_string(), 0).unwrap();
        Peer::connect(&gateway, 1);
        assert_eq!(refused(&gateway), 0);
    }
    let plain = gateway_with(&config(EngineChoice::Auto, 1));
    let why = nodes.link(&plain, "dispatcher", &plain.links().to_string(), 0).err().unwrap();
    assert!(why.contains("it answers without TLS"), "{why}");
}

#[test]
fn the_key_is_asked_for_under_tls_too() {
    let nodes = Nodes::new();
    let gateway = nodes.gateway(EngineChoice::Auto, TlsMode::Require);
    let tls = LinkTls::open(nodes.of("dispatcher", TlsMode::Require), Instant::now(), |path| fs::read(path)).unwrap();
    let veil = || Some(tls.dial(&gateway.links().to_string()).unwrap());
    let why = Peer::connect_under(veil(), &gateway, "another key for links", BootId(1), 0).err().unwrap();
    assert!(why.contains("key differs"), "{why}");
    let why = Peer::connect_under(veil(), &gateway, LINK_KEY, BootId(1), 7).err().unwrap();
    assert!(why.contains("shard 7 does not exist"), "{why}");
}

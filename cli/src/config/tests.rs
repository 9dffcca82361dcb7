//! What a wrong configuration is told.

use super::{document::Document, *};

fn findings(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    match parse(text, environment) {
        Ok(loaded) => panic!("accepted: {:?}", loaded.config),
        Err(findings) => findings.0.iter().map(ToString::to_string).collect(),
    }
}

fn parse(text: &str, environment: impl Iterator<Item = (String, String)>) -> Result<Loaded, Findings> {
    let document = Document::parse("f.toml", text)?;
    assemble(document, environment)
}

fn checked(text: &str, role: Role) -> Vec<String> {
    let loaded = parse(text, std::iter::empty()).expect("keys and types are right");
    match loaded.check(role) {
        Ok(()) => Vec::new(),
        Err(findings) => findings.0.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn unknown_keys_name_line_and_nearest_key() {
    let text = "[gateway]\nlissten = \"127.0.0.1:1\"\n\n[gatway]\n\n[store]\nbrokers = \"a:1\"\n";
    assert_eq!(
        findings(text, &[]),
        [
            "f.toml:2: unknown key gateway.lissten; did you mean gateway.listen?",
            "f.toml:4: unknown key gatway; did you mean gateway?",
            "f.toml:7: unknown key store.brokers; did you mean kafka.brokers?",
        ]
    );
}

#[test]
fn unknown_keys_in_arrays_are_found() {
    let text = "[[apps]]\nid = \"shop\"\n[[apps.keys]]\nallg = \"HS256\"\n";
    assert_eq!(
        findings(text, &[]),
        [
            "f.toml:3: apps[0].keys[0].alg is missing",
            "f.toml:4: unknown key apps[0].keys[0].allg; did you mean apps[0].keys[0].alg?",
        ]
    );
}

#[test]
fn wrong_types_name_the_key_and_what_it_must_be() {
    let text = "[gateway]\nshards = \"two\"\nengine = \"kqueue\"\necho = 1\n[links]\nkey = 17\n";
    assert_eq!(
        findings(text, &[]),
        [
            "f.toml:2: gateway.shards is \"two\", must be a whole number from 0 to 65535",
            "f.toml:3: gateway.engine is \"kqueue\", must be one of \"auto\", \"uring\", \"epoll\"",
            "f.toml:4: gateway.echo is 1, must be true or false",
            "f.toml:6: links.key is 17, must be a text in quotes",
        ]
    );
}

#[test]
fn what_is_not_toml_names_its_line() {
    let found = findings("[gateway]\nlisten = \n", &[]);
    assert!(found[0].starts_with("f.toml:2: not TOML"), "{found:?}");
}

#[test]
fn the_environment_overrides_the_file() {
    let environment = [
        ("PUSHGATE__GATEWAY__SHARDS", "3"),
        ("PUSHGATE__GATEWAY__LIMITS__HEARTBEAT_S", "7"),
        ("PUSHGATE__LINKS__KEY", "0123456789abcdef"),
        ("PUSHGATE__MEMBERS", "[{ node = \"g1\", links = \"h:1\" }]"),
    ];
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let loaded = parse("[gateway]\nshards = 2\nnode = \"g1\"\n", environment).expect("it is right");
    assert_eq!(loaded.config.gateway.shards, 3);
    assert_eq!(loaded.config.gateway.node, "g1");
    assert_eq!(loaded.config.gateway.limits.heartbeat_s, 7);
    assert_eq!(loaded.config.links.key.as_deref(), Some("0123456789abcdef"));
    assert_eq!(loaded.config.members[0].weight, 1);
}

#[test]
fn wrong_overrides_name_their_variable() {
    let environment = [("PUSHGATE__GATEWAY__SHARD", "3"), ("PUSHGATE__GATEWAY__ECHO", "maybe")];
    assert_eq!(
        findings("", &environment),
        [
            "environment PUSHGATE__GATEWAY__ECHO: gateway.echo is \"maybe\", must be true or false, written as in TOML",
            "environment PUSHGATE__GATEWAY__SHARD: there is no key gateway.shard; did you mean PUSHGATE__GATEWAY__SHARDS?",
        ]
    );
    let environment = [("PUSHGATE__GATEWAY__SHARDS", "-1")];
    assert_eq!(
        findings("[gateway]\nshards = 2\n", &environment),
        ["environment PUSHGATE__GATEWAY__SHARDS: gateway.shards is -1, must be a whole number from 0 to 65535"]
    );
}

#[test]
fn secrets_are_not_repeated_in_findings() {
    let text = "[[apps]]\nid = \"shop\"\n[[apps.secrets]]\nid = \"a\"\nsecret = [\"hunter2hunter2hunter2\"]\n";
    let found = findings(text, &[]);
    assert!(!found.concat().contains("hunter2"), "{found:?}");
}

#[test]
fn values_are_checked_with_their_place() {
    let text = "[gateway]\nlisten = \"nowhere\"\n[log]\nlevel = \"=\"\n[tls]\ncert = \"c.pem\"\n";
    let found = checked(text, Role::Dev);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("f.toml:2: gateway.listen is \"nowhere\""), "{found:?}");
    assert!(found[1].starts_with("f.toml:4: log.level is \"=\""), "{found:?}");
    assert!(found[2].starts_with("f.toml:5: tls.key is missing"), "{found:?}");
}

#[test]
fn a_dispatcher_needs_members_apps_and_a_key() {
    assert!(checked("", Role::Dispatcher).iter().any(|found| found.contains("members is empty")));
    let found =
        checked("[store]\nkind = \"redis\"\n[redis]\nurl = \"http://x\"\ndurability = \"wait:0\"\n", Role::Dispatcher);
    let starts =
        ["f.toml:4: redis.url", "f.toml:5: redis.durability is \"wait:0\"", "links.key is missing", "apps is empty"];
    assert_eq!(found.len(), starts.len(), "{found:?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found} does not start with {start}");
    }
}

#[test]
fn redis_is_checked_wherever_the_member_list_is_read_and_named_once() {
    let text =
        "[store]\nkind = \"redis\"\n[redis]\nurl = \"redis://h:1\"\nnodes = [\"h:1\"]\ndurability = \"wait:x\"\n";
    for role in [Role::Gateway, Role::Dispatcher] {
        let found = checked(text, role);
        let said = |start: &str| found.iter().any(|found| found.starts_with(start));
        assert!(said("f.toml:6: redis.durability is \"wait:x\""), "{found:?}");
        assert!(said("f.toml:4: redis.url is set beside redis.nodes: keep one"), "{found:?}");
    }
}

#[test]
fn tls_of_links_needs_all_its_files_and_they_are_read() {
    let links = "[links]\nkey = \"0123456789abcdef\"\n";
    for role in [Role::Gateway, Role::Dispatcher] {
        let said = |more: &str, words: &str| {
            let found = checked(&format!("{links}{more}"), role);
            assert!(found.iter().any(|found| found.contains(words)), "{words}: {found:?}");
        };
        said("cert_file = \"/c\"\nca_file = \"/a\"\n", "links.cert_key_file is missing");
        said("tls = \"require\"\n", "links.cert_file is missing");
        let all = "cert_file = \"/none/c\"\ncert_key_file = \"/none/k\"\nca_file = \"/none/a\"\n";
        said(all, "f.toml:3: links.cert_file: cannot read /none/c");
        let off = checked(&format!("{links}{all}tls = \"off\"\n"), role);
        assert!(!off.iter().any(|found| found.contains("links.")), "{off:?}");
    }
}

#[test]
fn members_are_checked_one_by_one() {
    let text = "[[members]]\nnode = \"g1\"\nlinks = \"h:1\"\n[[members]]\nnode = \"g1\"\nlinks = \"h\"\nweight = 0\n";
    let found = checked(text, Role::Dev);
    assert_eq!(
        found,
        [
            "f.toml:5: members[1].node is \"g1\", which another member has",
            "f.toml:6: members[1].links is \"h\", must be host:port",
            "f.toml:7: members[1].weight is 0, must be 1 to 100",
        ]
    );
}

#[test]
fn apps_are_resolved_when_checked() {
    let text = "[[apps]]\nid = \"shop\"\nsecrets = [{ id = \"a\", secret = \"short\" }]\n";
    let found = checked(text, Role::Dev);
    assert!(found[0].starts_with("f.toml:") && found[0].contains("at least"), "{found:?}");
}

#[test]
fn the_reference_page_is_current() {
    let written = include_str!("../../../docs/src/reference/configuration.md");
    assert!(
        written == reference::page(),
        "run: cargo run --quiet -- config reference > docs/src/reference/configuration.md"
    );
}

#[test]
fn each_key_is_explained() {
    let page = reference::page();
    let unexplained: Vec<_> = page.lines().filter(|line| line.starts_with("| `") && line.ends_with("|  |")).collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
}

#[test]
fn a_name_with_single_underscores_is_warned_of() {
    let names = [
        "PUSHGATE_GATEWAY_LISTEN",
        "PUSHGATE_BIN",
        "PUSHGATE__GATEWAY__LISTEN",
        "PUSHGATE_LOG__LEVEL",
        "GATEWAY_LISTEN",
    ];
    assert_eq!(
        overrides::near_misses(&schema::Schema::of_config(), names.into_iter()),
        [
            "the environment variable PUSHGATE_GATEWAY_LISTEN is not used; did you mean PUSHGATE__GATEWAY__LISTEN?",
            "the environment variable PUSHGATE_LOG__LEVEL is not used; did you mean PUSHGATE__LOG__LEVEL?",
        ]
    );
}

#[test]
fn every_wrong_value_is_told_at_once() {
    let text = "[gateway]\nshards = 5000\nlisten = \"x\"\nadvertise = \"http://x\"\n[gateway.limits]\nhead_bytes_max = 1\n\
                [[apps]]\nid = \"a\"\nrest_rate = { per_s = 0 }\n[[apps]]\nid = \"b\"\nrest_rate = { per_s = 0 }\n";
    let found = checked(text, Role::Dev);
    for (line, key) in [
        (2, "gateway.shards"),
        (3, "gateway.listen"),
        (4, "gateway.advertise"),
        (6, "gateway.limits.head_bytes_max"),
        (7, "apps[0]"),
        (10, "apps[1]"),
    ] {
        let here = |f: &&String| f.starts_with(&format!("f.toml:{line}: {key}"));
        assert!(found.iter().any(|f| here(&f)), "{line} {key}: {found:#?}");
    }
    assert_eq!(found.len(), 6, "{found:#?}");
}

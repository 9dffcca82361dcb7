//! `doctor`

use std::net::TcpListener;

use serde_json::Value;

use crate::{fake, program::run};

fn states(arguments: &[&str]) -> (i32, Vec<(String, String)>) {
    let run = run(&[&["doctor", "--json"], arguments].concat());
    let shown: Value = serde_json::from_str(&run.out).expect("JSON");
    let text = |check: &Value, key: &str| check[key].as_str().expect("a text").to_owned();
    let checks = shown["checks"].as_array().expect("checks").iter();
    (run.code, checks.map(|check| (text(check, "name"), text(check, "state"))).collect())
}

#[test]
fn it_looks_at_the_machine_even_without_a_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, states) = states(&["--data", folder.path().to_str().expect("UTF-8")]);
    assert_eq!(code, 0, "no server is a warning");
    for name in ["kernel", "io_uring", "open files", "backlog", "ports", "memory", "disk", "sync", "server", "port"] {
        assert!(states.iter().any(|(found, _)| found == name), "{name} is missing in {states:?}");
    }
}

#[test]
fn a_port_that_does_not_answer_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    // Ports 1 of the fake refuse.
    let data = fake::data(&address, "127.0.0.1:1");
    let (code, states) = states(&["--data", fake::path(&data)]);
    assert_eq!(code, 1);
    let state = |name: &str| states.iter().find(|(found, _)| found == name).map(|(_, state)| state.as_str());
    assert_eq!((state("server"), state("clients"), state("rest")), (Some("ok"), Some("ok"), Some("failed")));
}

#[test]
fn accounts_are_looked_at_and_what_is_wrong_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("dispatcher.toml");
    let text = "[[apps]]\nid = \"shop\"\nsecrets = [{ id = \"s\", secret = \"a secret of sixteen\" }]\n\
                [[email]]\nname = \"relay\"\nkind = \"smtp\"\nurl = \"smtp://127.0.0.1:1?tls=never\"\nfrom = \"a@example.org\"\n\
                [[sms]]\nname = \"trial\"\nkind = \"stub\"\nurl = \"stub:sent\"\n";
    std::fs::write(&config, text).expect("written");
    let (code, states) = states(&["--config", config.to_str().expect("UTF-8")]);
    let accounts: Vec<&str> =
        states.iter().filter(|(name, _)| name == "account").map(|(_, state)| state.as_str()).collect();
    assert_eq!((code, accounts), (1, vec!["failed", "ok"]));
}

#[test]
fn what_a_dispatcher_needs_elsewhere_is_looked_for_and_told_with_its_effect_and_its_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("dispatcher.toml");
    let data = folder.path().join("data");
    let text = format!(
        "[dispatcher]\nsource = \"kafka\"\ndata = \"{}\"\n[store]\nkind = \"redis\"\n[kafka]\nbrokers = \"127.0.0.1:1\"\n\
         [redis]\nurl = \"redis://127.0.0.1:1\"\n[links]\nkey = \"a key of sixteen and more\"\n\
         [[members]]\nnode = \"g1\"\nlinks = \"127.0.0.1:1\"\n\
         [[apps]]\nid = \"shop\"\nsecrets = [{{ id = \"s\", secret = \"a secret of sixteen\" }}]\n",
        data.display()
    );
    std::fs::write(&config, text).expect("written");
    let run = run(&["doctor", "--json", "--config", config.to_str().expect("UTF-8")]);
    let shown: Value = serde_json::from_str(&run.out).expect("JSON");
    let checks = shown["checks"].as_array().expect("checks");
    assert_eq!(run.code, 1);
    for name in ["kafka", "redis", "links"] {
        let check = checks.iter().find(|check| check["name"] == name).expect(name);
        assert_eq!(check["state"], "failed", "{check}");
        let said = |key: &str| check[key].as_str().is_some_and(|text| !text.is_empty());
        assert!(said("effect") && said("remedy"), "{check}");
    }
    assert!(!data.exists(), "nothing is made");
}

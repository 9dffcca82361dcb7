//! `cluster` on `dev`: one gateway that is all of it.
#![allow(clippy::unwrap_used)]

use serde_json::Value;

use crate::{drain::Dev, program::run};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn dev_is_a_cluster_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let dev = Dev::start(&data, &[]);
    let data = data.to_str().unwrap();
    let status = run(&["cluster", "status", "--json", "--data", data]);
    let view = json(&status.out);
    let members = view["members"].as_array().unwrap();
    assert_eq!((members.len(), &members[0]["node"], &members[0]["state"]), (1, &"gateway".into(), &"up".into()));
    assert_eq!((members[0]["share"].as_f64(), &members[0]["admin"]), (Some(1.0), &dev.address("admin").into()));
    assert_eq!((&members[0]["gateway"]["sessions"], &members[0]["gateway"]["guests"]), (&0.into(), &0.into()));
    let lanes: Vec<_> = view["lanes"].as_array().unwrap().iter().map(|lane| lane["lane"].as_str().unwrap()).collect();
    assert_eq!((lanes, &view["lease_ms"]), (vec!["high", "normal", "low"], &Value::Null));
    let status = run(&["cluster", "status", "--data", data]);
    assert!(status.out.starts_with("1 gateway, epoch 1 (") && status.out.contains("100.00 %"), "{}", status.out);

    let located = run(&["cluster", "locate", "alice", "--json", "--data", data]);
    let located = json(&located.out);
    assert_eq!((&located["node"], &located["url"]), (&"gateway".into(), &Value::Null));
    assert_eq!(located["links"], dev.address("links"));

    let wrong = run(&["cluster", "drain", "nobody", "--data", data]);
    assert_eq!((wrong.code, wrong.out.as_str()), (2, ""));
    assert!(wrong.err.contains("there is no gateway nobody in the member list; there are: gateway"), "{}", wrong.err);
    let drained = run(&["cluster", "drain", "gateway", "--json", "--data", data]);
    assert_eq!((drained.code, &json(&drained.out)["gone"]), (0, &true.into()), "{}", drained.err);
    let gone = run(&["cluster", "status", "--data", data]);
    assert!(gone.code == 1 && gone.err.contains("no running server found"), "{}", gone.err);
}

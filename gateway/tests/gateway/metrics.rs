//! The names of metrics, against their page.

use std::{collections::BTreeMap, sync::Arc};

use pushgate_gateway::{
    boot::{StartOptions, start},
    config::EngineChoice,
};

use super::{
    members::HeldList,
    server::{apps, call, eventually},
    tls::Files,
};

/// The rows of the gateway's tables on the page: names and kinds.
fn documented() -> BTreeMap<String, String> {
    let page = include_str!("../../../docs/src/reference/metrics.md");
    let section = page.split("\n## ").find(|section| section.starts_with("Gateway\n")).expect("the section is there");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(name, rest)| (name.to_owned(), rest.split(' ').next().unwrap_or_default().to_owned())).collect()
}

/// What is told, by the names of its series.
fn exposed(metrics: &str) -> BTreeMap<String, String> {
    let kinds = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let series = kinds.map(|(name, kind)| match kind {
        "counter" => (format!("{name}_total"), kind.to_owned()),
        _ => (name.to_owned(), kind.to_owned()),
    });
    series.collect()
}

#[test]
fn every_metric_is_on_its_page_and_every_one_on_the_page_is_told() {
    let (files, list) = (Files::new(), HeldList::default());
    list.answer(Some(5));
    let options = StartOptions { membership: Some(Arc::new(list)), ..StartOptions::default() };
    // Some are told only with a certificate, others only with a member list.
    let gateway = start(&files.config(EngineChoice::Auto), apps(), options).unwrap();
    let metrics = || call(gateway.admin(), "GET", "/metrics").body;
    eventually("it has a list", || metrics().contains("pushgate_cluster_epoch 5"));
    let (documented, exposed) = (documented(), exposed(&metrics()));
    assert!(documented.len() > 80, "the page is read");
    let unsaid: Vec<_> = exposed.iter().filter(|(name, kind)| documented.get(*name) != Some(kind)).collect();
    let untold: Vec<_> = documented.iter().filter(|(name, _)| !exposed.contains_key(*name)).collect();
    assert!(unsaid.is_empty() && untold.is_empty(), "not on the page so: {unsaid:?}; not told: {untold:?}");
}

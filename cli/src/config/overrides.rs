//! Overrides from the environment: `PUSHGATE__SECTION__KEY=value`.
//!
//! Texts are taken as they are; everything else is written as in TOML (`PUSHGATE__GATEWAY__ECHO=true`,
//! `PUSHGATE__APPS='[{ id = "shop", secrets = [...] }]'`).

use toml::Value;

use super::{
    Finding,
    document::Document,
    keys::nearest,
    schema::{Kind, Node, Schema},
};

/// What names of overrides begin with.
pub const PREFIX: &str = "PUSHGATE__";

/// Applies the overrides and returns what is wrong with them.
pub fn apply(
    document: &mut Document,
    schema: &Schema,
    environment: impl Iterator<Item = (String, String)>,
) -> Vec<Finding> {
    let mut overrides: Vec<_> = environment.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    overrides.sort();
    let mut findings = Vec::new();
    for (name, value) in overrides {
        if let Err(text) = apply_one(document, schema, &name, &value) {
            findings.push(Finding { place: Some(place(&name)), text });
        }
    }
    findings
}

/// Names that were meant as overrides and are none: `PUSHGATE_GATEWAY_LISTEN`, with single underscores. What each should be.
pub fn near_misses<'a>(schema: &Schema, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let Kind::Table(sections) = schema.root().kind() else { return Vec::new() };
    let mut found = Vec::new();
    for name in names.filter(|name| !name.starts_with(PREFIX)) {
        let Some(rest) = name.strip_prefix("PUSHGATE_") else { continue };
        let words = rest.to_lowercase();
        let meant = sections.iter().find_map(|(section, _)| {
            let key = words.strip_prefix(section)?.strip_prefix('_')?.trim_start_matches('_');
            (!key.is_empty()).then(|| format!("{PREFIX}{}__{}", section.to_uppercase(), key.to_uppercase()))
        });
        if let Some(meant) = meant {
            found.push(format!("the environment variable {name} is not used; did you mean {meant}?"));
        }
    }
    found.sort();
    found
}

fn place(name: &str) -> String {
    format!("environment {name}")
}

fn apply_one(document: &mut Document, schema: &Schema, name: &str, text: &str) -> Result<(), String> {
    let path: Vec<String> = name[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
    let mut node = schema.root();
    for (n, key) in path.iter().enumerate() {
        node = step(node, key).map_err(|near| {
            let known = path[..n].join("__").to_uppercase();
            let near = near.map(|near| {
                let separator = if known.is_empty() { "" } else { "__" };
                format!("; did you mean {PREFIX}{known}{separator}{}?", near.to_uppercase())
            });
            format!("there is no key {}{}", path[..=n].join("."), near.unwrap_or_default())
        })?;
    }
    let value = parse(node, text).map_err(|problem| {
        let shown = if node.is_secret() { "[secret]".to_owned() } else { format!("{text:?}") };
        format!("{} is {shown}, {problem}", path.join("."))
    })?;
    let (last, sections) = path.split_last().expect("splitting yields at least one part");
    let mut table = &mut document.table;
    for section in sections {
        let entry = table.entry(section.clone()).or_insert_with(|| Value::Table(toml::Table::new()));
        table = entry.as_table_mut().ok_or_else(|| format!("{section} is not a table in the file"))?;
    }
    table.insert(last.clone(), value);
    document.origins.set(path.join("."), place(name));
    Ok(())
}

fn step<'a>(node: Node<'a>, key: &str) -> Result<Node<'a>, Option<&'a str>> {
    match node.kind() {
        Kind::Table(keys) => match keys.iter().find(|(known, _)| *known == key) {
            Some((_, found)) => Ok(*found),
            None => Err(nearest(key, keys.iter().map(|(known, _)| *known))),
        },
        Kind::Map(values) => Ok(values),
        _ => Err(None),
    }
}

fn parse(node: Node<'_>, text: &str) -> Result<Value, String> {
    match node.kind() {
        Kind::Text | Kind::Choice(_) => Ok(Value::String(text.to_owned())),
        _ => {
            let table: Result<toml::Table, _> = format!("value = {text}").parse();
            let value = table.ok().filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
            value.ok_or_else(|| format!("must be {}, written as in TOML", node.expected()))
        }
    }
}

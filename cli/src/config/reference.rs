//! The reference page, generated from the types so that it cannot drift.

use std::fmt::Write;

use serde_json::Value;

use super::{
    overrides,
    schema::{Kind, Node, Schema},
};

/// The page, Markdown.
pub fn page() -> String {
    let mut page = format!(
        "# Configuration\n\n\
         <!-- Generated from the types: pushgate config reference > docs/src/reference/configuration.md -->\n\n\
         One TOML file. The environment overrides it: `{}SECTION__KEY=value`, texts as they are, everything else written \
         as in TOML. An unknown key is an error that names the nearest one. `pushgate config check --config FILE` tells \
         what is wrong, `pushgate config print --config FILE` what is in force.\n",
        overrides::PREFIX
    );
    let schema = Schema::of_config();
    let Kind::Table(sections) = schema.root().kind() else { unreachable!("the configuration is a table") };
    for (name, node) in sections {
        section(&mut page, name, node);
    }
    page
}

fn section(page: &mut String, path: &str, node: Node<'_>) {
    let (heading, table) = match node.kind() {
        Kind::Array(items) => (format!("[[{path}]]"), items),
        _ => (format!("[{path}]"), node),
    };
    let Kind::Table(keys) = table.kind() else { unreachable!("a section is a table or an array of tables") };
    let _ = write!(page, "\n## `{heading}`\n\n{}\n\n", one_line(node.description()));
    page.push_str("| key | value | meaning |\n|---|---|---|\n");
    let mut inner = Vec::new();
    for (key, node) in keys {
        row(page, key, node, table.requires(key));
        match node.kind() {
            Kind::Table(_) => inner.push((format!("{path}.{key}"), node)),
            Kind::Array(items) if matches!(items.kind(), Kind::Table(_)) => inner.push((format!("{path}.{key}"), node)),
            _ => {}
        }
    }
    for (path, node) in inner {
        section(page, &path, node);
    }
}

fn row(page: &mut String, key: &str, node: Node<'_>, required: bool) {
    let mut meaning = one_line(node.description());
    if let Some(default) = node.default().filter(|_| !meaning.contains("Default")) {
        match default {
            Value::Null | Value::Object(_) => {}
            Value::Array(items) if items.is_empty() => {}
            shown => {
                let _ = write!(meaning, " Default `{}`.", shown.to_string().trim_matches('"'));
            }
        }
    }
    if required {
        meaning.push_str(" Must be set.");
    }
    let _ = writeln!(page, "| `{key}` | {} | {meaning} |", node.expected().replace('|', "\\|"));
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

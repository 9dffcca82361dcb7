//! Keys and types: each key is known, each value has its type.

use toml::Value;

use super::{
    Finding,
    document::{Document, Origins},
    schema::{Kind, Node, Schema},
};

/// Adds a finding for each unknown key, missing key and wrong type.
pub fn check(document: &Document, schema: &Schema, findings: &mut Vec<Finding>) {
    let mut walk = Walk { origins: &document.origins, root: schema.root(), findings };
    walk.table("", &document.table, schema.root());
}

/// The key of `known` that `key` may have meant.
pub fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(key, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (key.len().max(candidate.len()) / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

struct Walk<'a> {
    origins: &'a Origins,
    root: Node<'a>,
    findings: &'a mut Vec<Finding>,
}

impl Walk<'_> {
    fn table(&mut self, path: &str, table: &toml::Table, node: Node<'_>) {
        let keys = match node.kind() {
            Kind::Table(keys) => keys,
            Kind::Map(values) => {
                for (key, value) in table {
                    self.value(&join(path, key), value, values);
                }
                return;
            }
            _ => unreachable!("only nodes of tables are walked as tables"),
        };
        for (key, value) in table {
            let path_of_key = join(path, key);
            match keys.iter().find(|(known, _)| known == key) {
                Some((_, node)) => self.value(&path_of_key, value, *node),
                None => self.unknown(path, key, &keys),
            }
        }
        for (key, _) in keys {
            if node.requires(key) && !table.contains_key(key) {
                let finding = self.origins.finding(path, format!("{} is missing", join(path, key)));
                self.findings.push(finding);
            }
        }
    }

    fn value(&mut self, path: &str, value: &Value, node: Node<'_>) {
        let fits = match (node.kind(), value) {
            (Kind::Table(_) | Kind::Map(_), Value::Table(table)) => return self.table(path, table, node),
            (Kind::Array(items), Value::Array(values)) => {
                for (n, value) in values.iter().enumerate() {
                    self.value(&format!("{path}[{n}]"), value, items);
                }
                return;
            }
            // Free texts may be written as bare numbers and truth values: librdkafka's properties are.
            (Kind::Text, Value::Integer(_) | Value::Boolean(_)) => self.is_free(path),
            (Kind::Text, Value::String(_)) => true,
            (Kind::Choice(choices), Value::String(text)) => choices.iter().any(|(choice, _)| choice == text),
            (Kind::Integer(min, max), Value::Integer(n)) => {
                min.is_none_or(|min| *n >= min) && max.is_none_or(|max| *n <= max)
            }
            (Kind::Number, Value::Integer(_) | Value::Float(_)) | (Kind::Boolean, Value::Boolean(_)) => true,
            _ => false,
        };
        if !fits {
            let written = if node.is_secret() { "not fit".to_owned() } else { shown(value) };
            let text = format!("{path} is {written}, must be {}", node.expected());
            self.findings.push(self.origins.finding(path, text));
        }
    }

    fn is_free(&self, path: &str) -> bool {
        path.starts_with("kafka.options.")
    }

    fn unknown(&mut self, path: &str, key: &str, known: &[(&str, Node<'_>)]) {
        let full = join(path, key);
        let mut text = format!("unknown key {full}");
        if let Some(near) = nearest(key, known.iter().map(|(known, _)| *known)) {
            text.push_str(&format!("; did you mean {}?", join(path, near)));
        } else if let Some(section) = self.section_with(key) {
            text.push_str(&format!("; did you mean {section}.{key}?"));
        } else {
            let names: Vec<_> = known.iter().map(|(known, _)| *known).collect();
            text.push_str(&format!("; known here: {}", names.join(", ")));
        }
        self.findings.push(self.origins.finding(&full, text));
    }

    /// The section that has this key: it may stand in the wrong one.
    fn section_with(&self, key: &str) -> Option<String> {
        let Kind::Table(sections) = self.root.kind() else { return None };
        sections.into_iter().find_map(|(section, node)| match node.kind() {
            Kind::Table(keys) => keys.iter().any(|(known, _)| *known == key).then(|| section.to_owned()),
            _ => None,
        })
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Table(_) => "a table".into(),
        Value::Array(_) => "an array".into(),
        other => other.to_string(),
    }
}

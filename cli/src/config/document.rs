//! A configuration as text: its values, and the place of each key.

use std::{collections::BTreeMap, fs, path::Path};

use toml::de::{DeTable, DeValue};

use super::{Finding, Findings};

/// Values with the place of each key.
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// The values.
    pub table: toml::Table,
    /// Where each was written.
    pub origins: Origins,
}

/// Where each key was written, by its path (`gateway.shards`, `apps[0].id`).
#[derive(Debug, Clone, Default)]
pub struct Origins(BTreeMap<String, String>);

impl Document {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, Findings> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| {
            let text = format!("cannot read the configuration: {error}; samples stand in configs/");
            Findings(vec![Finding { place: Some(name.clone()), text }])
        })?;
        Self::parse(&name, &text)
    }

    /// Parses TOML; `name` is how places call the file.
    pub fn parse(name: &str, text: &str) -> Result<Self, Findings> {
        let wrong = |error: toml::de::Error| {
            let line = error.span().map(|span| line_of(text, span.start));
            let place = line.map_or_else(|| name.to_owned(), |line| format!("{name}:{line}"));
            Findings(vec![Finding { place: Some(place), text: format!("not TOML: {}", error.message()) }])
        };
        let spanned = DeTable::parse(text).map_err(wrong)?;
        let mut origins = Origins::default();
        origins.add_table(name, text, "", spanned.get_ref());
        Ok(Self { table: toml::from_str(text).map_err(wrong)?, origins })
    }
}

impl Origins {
    /// The place of a key, or of the nearest one that encloses it.
    pub fn place(&self, path: &str) -> Option<String> {
        let mut path = path;
        loop {
            if let Some(place) = self.0.get(path) {
                return Some(place.clone());
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// Whether this very key, or one below it, was written.
    pub fn wrote(&self, path: &str) -> bool {
        let below =
            |key: &String| key.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        self.0.keys().any(below)
    }

    /// A finding about a key.
    pub fn finding(&self, path: &str, text: String) -> Finding {
        Finding { place: self.place(path), text }
    }

    /// A finding whose text begins with its key, as errors of the rooms do.
    pub fn about(&self, text: String) -> Finding {
        let key: String =
            text.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '[' | ']')).collect();
        Finding { place: self.place(&key), text }
    }

    /// Records that a key was set elsewhere.
    pub fn set(&mut self, path: String, place: String) {
        self.0.retain(|key, _| !(key.starts_with(&path) && key[path.len()..].starts_with(['.', '['])));
        self.0.insert(path, place);
    }

    /// What serde says of a value that has the right type but not the right form.
    pub fn about_serde(&self, error: &toml::de::Error) -> Finding {
        let text = error.to_string();
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let message = lines.next().unwrap_or_default().to_owned();
        let key = lines.find_map(|line| line.trim().strip_prefix("in `")?.strip_suffix('`')).unwrap_or_default();
        if key.is_empty() {
            Finding { place: None, text: message }
        } else {
            self.finding(key, format!("{key}: {message}"))
        }
    }

    fn add_table(&mut self, name: &str, text: &str, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path =
                if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
            self.0.insert(path.clone(), format!("{name}:{}", line_of(text, key.span().start)));
            match value.get_ref() {
                DeValue::Table(inner) => self.add_table(name, text, &path, inner),
                DeValue::Array(items) => {
                    for (n, item) in items.iter().enumerate() {
                        let path = format!("{path}[{n}]");
                        self.0.insert(path.clone(), format!("{name}:{}", line_of(text, item.span().start)));
                        if let DeValue::Table(inner) = item.get_ref() {
                            self.add_table(name, text, &path, inner);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

//! The configuration's schema, made from its types: what keys there are, of what type, and what they mean.

use serde_json::Value;

use super::Config;

/// The schema of the whole configuration.
pub struct Schema(Value);

/// A part of the schema: one key.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    root: &'a Value,
    /// The node as written, with its own description and default.
    own: &'a Value,
    /// The node that holds the type, behind a reference or an optional.
    typed: &'a Value,
}

/// What a key may hold.
pub enum Kind<'a> {
    /// A table with these keys.
    Table(Vec<(&'a str, Node<'a>)>),
    /// A table with free keys.
    Map(Node<'a>),
    /// An array.
    Array(Node<'a>),
    /// One of these texts.
    Choice(Vec<(&'a str, &'a str)>),
    /// Any text.
    Text,
    /// A whole number within these bounds.
    Integer(Option<i64>, Option<i64>),
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
}

impl Schema {
    /// Of [`Config`].
    pub fn of_config() -> Self {
        Self::of::<Config>()
    }

    /// Of a type.
    pub fn of<T: schemars::JsonSchema>() -> Self {
        Self(schemars::schema_for!(T).to_value())
    }

    /// The whole configuration.
    pub fn root(&self) -> Node<'_> {
        Node::new(&self.0, &self.0)
    }
}

impl<'a> Node<'a> {
    fn new(root: &'a Value, own: &'a Value) -> Self {
        Self { root, own, typed: resolve(root, own) }
    }

    /// What the key may hold.
    pub fn kind(self) -> Kind<'a> {
        let typed = self.typed;
        if let Some(choices) = choices(typed) {
            return Kind::Choice(choices);
        }
        match type_name(typed) {
            "object" => match typed.get("properties").and_then(Value::as_object) {
                Some(keys) => Kind::Table(keys.iter().map(|(k, v)| (k.as_str(), Node::new(self.root, v))).collect()),
                None => Kind::Map(Node::new(self.root, &typed["additionalProperties"])),
            },
            "array" => Kind::Array(Node::new(self.root, &typed["items"])),
            "integer" => Kind::Integer(bound(typed, "minimum"), bound(typed, "maximum")),
            "number" => Kind::Number,
            "boolean" => Kind::Boolean,
            _ => Kind::Text,
        }
    }

    /// What it means.
    pub fn description(self) -> &'a str {
        let text = |node: &'a Value| node.get("description").and_then(Value::as_str);
        text(self.own).or_else(|| text(self.typed)).unwrap_or_default()
    }

    /// What it holds if it is not written.
    pub fn default(self) -> Option<&'a Value> {
        self.own.get("default")
    }

    /// Whether it must be written.
    pub fn requires(self, key: &str) -> bool {
        self.typed["required"].as_array().is_some_and(|keys| keys.iter().any(|k| k == key))
    }

    /// Whether its value is never shown.
    pub fn is_secret(self) -> bool {
        self.typed.get("writeOnly").and_then(Value::as_bool).unwrap_or(false)
    }

    /// What it may hold, in words.
    pub fn expected(self) -> String {
        match self.kind() {
            Kind::Table(_) | Kind::Map(_) => "a table".into(),
            Kind::Array(_) => "an array".into(),
            Kind::Choice(choices) => {
                let texts: Vec<_> = choices.iter().map(|(text, _)| format!("\"{text}\"")).collect();
                format!("one of {}", texts.join(", "))
            }
            Kind::Text => "a text in quotes".into(),
            Kind::Integer(Some(min), Some(max)) => format!("a whole number from {min} to {max}"),
            Kind::Integer(Some(min), None) => format!("a whole number of at least {min}"),
            Kind::Integer(..) => "a whole number".into(),
            Kind::Number => "a number".into(),
            Kind::Boolean => "true or false".into(),
        }
    }
}

/// Follows references, and steps into the one alternative that is not `null`.
fn resolve<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    if let Some(pointer) = node.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(pointer.trim_start_matches('#')).expect("the schema's references lie within it");
        return resolve(root, target);
    }
    let alternatives = node.get("anyOf").and_then(Value::as_array);
    match alternatives.and_then(|all| all.iter().find(|a| a.get("type") != Some(&Value::from("null")))) {
        Some(alternative) => resolve(root, alternative),
        None => node,
    }
}

/// The texts of an enumeration, each with its meaning.
fn choices(node: &Value) -> Option<Vec<(&str, &str)>> {
    if let Some(texts) = node.get("enum").and_then(Value::as_array) {
        return Some(texts.iter().filter_map(|t| Some((t.as_str()?, ""))).collect());
    }
    let mut found = Vec::new();
    for one in node.get("oneOf")?.as_array()? {
        match one.get("const").and_then(Value::as_str) {
            Some(text) => found.push((text, one.get("description").and_then(Value::as_str).unwrap_or_default())),
            None => found.extend(choices(one)?),
        }
    }
    Some(found)
}

fn type_name(node: &Value) -> &str {
    match node.get("type") {
        Some(Value::String(name)) => name,
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).find(|n| *n != "null").unwrap_or_default(),
        _ => "",
    }
}

fn bound(node: &Value, key: &str) -> Option<i64> {
    let given = node.get(key).and_then(|n| n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)));
    given.or_else(|| match (key, node.get("format").and_then(Value::as_str)?) {
        ("maximum", "uint8") => Some(i64::from(u8::MAX)),
        ("maximum", "uint16") => Some(i64::from(u16::MAX)),
        ("maximum", "uint32") => Some(i64::from(u32::MAX)),
        _ => None,
    })
}

//! Names of keys. All keys of one user, or of one message, carry the same hash tag, so that a script touches one slot.

/// The key prefix with the hash tag of `app` and `name`: the last part of a key is appended to it.
///
/// `%`, `{`, `}` and `:` of the ids are escaped: an early `}` would end the tag (an empty tag hashes the whole key), a `:`
/// could make two pairs one.
pub(super) fn tagged(kind: &str, app: &str, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(16 + app.len() + name.len());
    write_tagged(&mut key, kind, app, name);
    key
}

/// The same in a buffer that is used again.
pub(super) fn write_tagged(key: &mut Vec<u8>, kind: &str, app: &str, name: &str) {
    key.clear();
    for part in ["pushgate:", kind, ":{"] {
        key.extend_from_slice(part.as_bytes());
    }
    escape(app, key);
    key.push(b':');
    escape(name, key);
    key.extend_from_slice(b"}:");
}

fn escape(text: &str, out: &mut Vec<u8>) {
    let special = |byte: u8| matches!(byte, b'%' | b':' | b'{' | b'}');
    if !text.bytes().any(special) {
        return out.extend_from_slice(text.as_bytes());
    }
    for byte in text.bytes() {
        match byte {
            b'%' => out.extend_from_slice(b"%25"),
            b':' => out.extend_from_slice(b"%3A"),
            b'{' => out.extend_from_slice(b"%7B"),
            b'}' => out.extend_from_slice(b"%7D"),
            other => out.push(other),
        }
    }
}

/// `prefix` and `part`.
pub(super) fn key(prefix: &[u8], part: impl AsRef<[u8]>) -> Vec<u8> {
    [prefix, part.as_ref()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_users_share_a_prefix() {
        let names = ["a", "b", ":", "}", "{", "%", "a:", ":a", "%3A", "a%3Ab", "a}b"];
        let mut seen = std::collections::HashSet::new();
        for app in names {
            for user in names {
                let prefix = tagged("s", app, user);
                let tag = prefix.split(|b| *b == b'{').nth(1).unwrap();
                assert!(tag.ends_with(b"}:") && tag.iter().filter(|b| **b == b'}').count() == 1);
                assert!(seen.insert(prefix), "{app} {user}");
            }
        }
    }
}

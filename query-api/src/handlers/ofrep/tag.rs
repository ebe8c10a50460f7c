//! The ETag of a bulk answer.

use axum::http::HeaderValue;
use serde_json::{Map, Value};
use xxhash_rust::xxh3::Xxh3;

/// A tag of the answer, the version and the context. The answer alone would do; with the others, no client has to think
/// about what the answer covers, and time-dependent rules are covered too.
pub fn of(body: &[u8], version: u64, attributes: &Map<String, Value>) -> String {
    let mut hasher = Xxh3::new();
    hasher.update(&version.to_le_bytes());
    hash_object(&mut hasher, attributes);
    hasher.update(body);
    format!("\"{:032x}\"", hasher.digest128())
}

/// Feeds a value to a hash such that the order of members does not matter.
fn hash_value(hasher: &mut Xxh3, value: &Value) {
    match value {
        Value::Object(members) => hash_object(hasher, members),
        Value::Array(items) => {
            hash_text(hasher, b'[', "");
            items.iter().for_each(|item| hash_value(hasher, item));
            hash_text(hasher, b']', "");
        }
        Value::String(text) => hash_text(hasher, b's', text),
        Value::Number(number) => hash_text(hasher, b'n', &number.to_string()),
        Value::Bool(truth) => hash_text(hasher, b'b', if *truth { "1" } else { "0" }),
        Value::Null => hash_text(hasher, b'0', ""),
    }
}

fn hash_object(hasher: &mut Xxh3, members: &Map<String, Value>) {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    hash_text(hasher, b'{', "");
    for (name, value) in sorted {
        hash_text(hasher, b'k', name);
        hash_value(hasher, value);
    }
    hash_text(hasher, b'}', "");
}

fn hash_text(hasher: &mut Xxh3, kind: u8, text: &str) {
    hasher.update(&[kind]);
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

/// Whether an `If-None-Match` header names a tag.
pub fn is_named_by(header: &HeaderValue, tag: &str) -> bool {
    let listed = header.to_str().unwrap_or("").split(',');
    listed
        .map(|one| one.trim().trim_start_matches("W/"))
        .any(|one| one == tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tag(context: &Value, version: u64) -> String {
        of(b"{}", version, context.as_object().unwrap())
    }

    #[test]
    fn a_tag_covers_the_version_and_every_part_of_the_context() {
        // What must never change: a client with another context never hears that nothing has changed.
        let context = json!({"targetingKey": "u", "plan": "free", "tags": ["a", "b"], "n": 1});
        let same: Value =
            serde_json::from_str(r#"{"n":1,"tags":["a","b"],"plan":"free","targetingKey":"u"}"#).unwrap();
        assert_eq!(tag(&context, 1), tag(&same, 1));
        let others = [
            json!({"targetingKey": "u", "plan": "premium", "tags": ["a", "b"], "n": 1}),
            json!({"targetingKey": "w", "plan": "free", "tags": ["a", "b"], "n": 1}),
            json!({"targetingKey": "u", "plan": "free", "tags": ["b", "a"], "n": 1}),
            json!({"targetingKey": "u", "plan": "free", "tags": ["ab"], "n": 1}),
            json!({"targetingKey": "u", "plan": "free", "tags": ["a", "b"], "n": "1"}),
            json!({"targetingKey": "u", "plan": "free", "tags": ["a", "b"]}),
            json!({}),
        ];
        for other in &others {
            assert_ne!(tag(&context, 1), tag(other, 1), "{other}");
        }
        assert_ne!(tag(&context, 1), tag(&context, 2));
    }
}

//! YAML form of the generated files.
//!
//! Every string is a single line, so a changed description changes a single line of the file. Quoted strings have
//! single quotes, because double quotes would escape characters of CEL rules and patterns.

use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_saphyr::{SerializeError, SerializerOptions, SingleQuoted};

/// Serialises `value` as a YAML document.
///
/// # Errors
/// Fails if a string that needs quotes contains a control character.
pub fn to_string(value: &Value) -> Result<String, SerializeError> {
    serde_saphyr::to_string_with_options(&Quoted(value), options())
}

fn options() -> SerializerOptions {
    serde_saphyr::ser_options! { prefer_block_scalars: false }
}

/// Serializes the strings of a value with single quotes where YAML needs quotes.
struct Quoted<'a>(&'a Value);

impl Serialize for Quoted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) => serializer.collect_map(fields.iter().map(|(key, value)| (key, Quoted(value)))),
            Value::Array(items) => serializer.collect_seq(items.iter().map(Quoted)),
            Value::String(text) if needs_quotes(text) => SingleQuoted(text).serialize(serializer),
            plain @ (Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null) => plain.serialize(serializer),
        }
    }
}

/// Returns true if the serializer quotes `text`. A string that begins with a quote is quoted as well.
fn needs_quotes(text: &str) -> bool {
    serde_saphyr::to_string_with_options(&text, options()).is_ok_and(|yaml| yaml.starts_with('"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn strings_stay_on_one_line_with_single_quotes_where_needed() {
        let long = "word ".repeat(40) + "end";
        let value = json!({"b": [true, "True", "it's: odd"], "a": long, "c": {"rule": "!self.x", "max": 3}});
        let expected = format!("a: {long}\nb:\n- true\n- 'True'\n- 'it''s: odd'\nc:\n  max: 3\n  rule: '!self.x'\n");
        assert_eq!(to_string(&value).expect("YAML"), expected);
    }
}

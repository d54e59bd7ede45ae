//! Functions on JSON text. The command line never decodes a payload: numbers keep their digits, and objects keep the
//! order and the repetition of keys. Only [`compact`] removes white space between tokens.

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// Writes a struct as a single line of JSON, with the fields in the order of declaration.
#[must_use]
pub fn line(fields: &impl Serialize) -> String {
    serde_json::to_string(fields).expect("strings, numbers and lists of them have a JSON form")
}

/// Returns true if `text` is a single JSON value.
#[must_use]
pub fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

/// Removes the white space between the tokens of a JSON value, to fit the value on a single line. Returns `None` if
/// `json` is not exactly one JSON value.
///
/// `serde_json` has no such function: a decoded value is written with other digits (`1.10` becomes `1.1`), and a
/// [`RawValue`] keeps the white space.
#[must_use]
pub fn compact(json: &str) -> Option<Box<RawValue>> {
    let value: &RawValue = serde_json::from_str(json).ok()?;
    let (mut in_string, mut escaped) = (false, false);
    let mut text = value.get().to_owned();
    text.retain(|c| {
        if in_string {
            (in_string, escaped) = (escaped || c != '"', !escaped && c == '\\');
            return true;
        }
        in_string = c == '"';
        !matches!(c, ' ' | '\t' | '\n' | '\r')
    });
    RawValue::from_string(text).ok()
}

/// Splits a JSON object into keys and the text of each value, in order and with repeated keys. Returns `None` if `json`
/// is not exactly one JSON object.
#[must_use]
pub fn fields(json: &str) -> Option<Vec<(String, &str)>> {
    serde_json::from_str(json).ok().map(|Fields(fields)| fields)
}

/// Entries of a JSON object: a list, because a map would drop repeated keys.
struct Fields<'a>(Vec<(String, &'a str)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
            fields.push((key, value.get()));
        }
        Ok(Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compacted(json: &str) -> Option<String> {
        compact(json).map(|value| value.get().to_owned())
    }

    #[test]
    fn compacting_keeps_strings_and_numbers() {
        let json = "{ \"b\" : [1.10, 123456789012345678901234567890,\n \"a \\\" \\\\\" ] , \"a\": {} }";
        assert_eq!(compacted(json).as_deref(), Some(r#"{"b":[1.10,123456789012345678901234567890,"a \" \\"],"a":{}}"#));
        assert_eq!(compacted(" \"x y\" ").as_deref(), Some("\"x y\""));
    }

    #[test]
    fn compacting_refuses_what_is_not_one_value() {
        for bad in ["", " ", "1 2", "{", "[1,]", "{} {}", "nul l"] {
            assert_eq!(compacted(bad), None, "{bad}");
        }
    }

    #[test]
    fn fields_are_cut_out_as_they_are() {
        let json =
            r#" {"type": "T", "data": {"n": 1.10, "s": "},:\"{"}, "id":"x","list":[1, [2]],"n":null , "k\"ey":-5e3} "#;
        let fields = fields(json).unwrap();
        let pairs: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        assert_eq!(
            pairs,
            [
                ("type", "\"T\""),
                ("data", r#"{"n": 1.10, "s": "},:\"{"}"#),
                ("id", "\"x\""),
                ("list", "[1, [2]]"),
                ("n", "null"),
                ("k\"ey", "-5e3"),
            ]
        );
    }

    #[test]
    fn repeated_keys_keep_their_order() {
        assert_eq!(
            fields(r#"{"a":1,"b":2,"a":3.0}"#).unwrap(),
            [("a".to_owned(), "1"), ("b".to_owned(), "2"), ("a".to_owned(), "3.0")]
        );
    }

    #[test]
    fn numbers_and_escapes_keep_their_spelling() {
        for text in ["1e400", "-0", "0.10", "1E+2", "184467440737095516150", r#""\ud800""#, r#""\u00e4\/""#] {
            let line = format!("{{\"data\":{text}}}");
            assert_eq!(fields(&line).unwrap(), [("data".to_owned(), text)]);
            assert_eq!(compacted(text).as_deref(), Some(text));
        }
    }

    #[test]
    fn nesting_has_no_limit() {
        let deep = format!("{}{}", "[ ".repeat(100_000), "]".repeat(100_000));
        assert!(is_json(deep.as_bytes()));
        assert_eq!(compacted(&deep), Some(deep.replace(' ', "")));
        assert_eq!(fields(&format!("{{\"data\":{deep}}}")).unwrap(), [("data".to_owned(), deep.as_str())]);
    }

    #[test]
    fn what_is_no_object_has_no_fields() {
        for bad in ["", "[]", "1", "{\"a\":}", "{\"a\":1,}", "{} x", "\"{}\""] {
            assert!(fields(bad).is_none(), "{bad}");
        }
        assert_eq!(fields(" { } "), Some(vec![]));
    }
}

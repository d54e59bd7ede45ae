//! JSON as text. Payloads go through the command line as they were written: numbers of any size, keys in their order;
//! only white space between tokens may go. So values are cut out of and put into lines instead of being decoded.

/// True for a text that is one JSON value.
#[must_use]
pub fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

/// A JSON string literal.
#[must_use]
pub fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The same value without white space between tokens: it fits on one line. `json` must be valid.
#[must_use]
pub fn compact(json: &str) -> String {
    let (mut out, mut in_string, mut escaped) = (String::with_capacity(json.len()), false, false);
    for c in json.chars() {
        if in_string {
            out.push(c);
            (in_string, escaped) = (escaped || c != '"', !escaped && c == '\\');
        } else if !matches!(c, ' ' | '\t' | '\n' | '\r') {
            in_string = c == '"';
            out.push(c);
        }
    }
    out
}

/// The fields of a JSON object, each value as the text it was. `None` when `json` is no valid object.
#[must_use]
pub fn fields(json: &str) -> Option<Vec<(String, &str)>> {
    if !is_json(json.as_bytes()) {
        return None;
    }
    let mut rest = json.trim().strip_prefix('{')?.trim_start();
    let mut fields = Vec::new();
    while !rest.starts_with('}') {
        let (key, after) = value(rest)?;
        rest = after.trim_start().strip_prefix(':')?.trim_start();
        let (text, after) = value(rest)?;
        fields.push((serde_json::from_str::<String>(key).ok()?, text));
        rest = after.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Some(fields)
}

/// Cuts the value that starts valid JSON text from what follows it.
fn value(text: &str) -> Option<(&str, &str)> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, c) in text.char_indices() {
        if in_string {
            if !escaped && c == '"' {
                in_string = false;
                if depth == 0 {
                    return text.split_at_checked(at + 1);
                }
            }
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' => in_string = true,
            '{' | '[' => depth += 1,
            '}' | ']' if depth == 0 => return text.split_at_checked(at),
            '}' | ']' => {
                depth -= 1;
                if depth == 0 {
                    return text.split_at_checked(at + 1);
                }
            }
            ',' | ':' | ' ' | '\t' | '\n' | '\r' if depth == 0 => return text.split_at_checked(at),
            _ => {}
        }
    }
    Some((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compacting_keeps_strings_and_numbers() {
        let json = "{ \"b\" : [1.10, 123456789012345678901234567890,\n \"a \\\" \\\\\" ] , \"a\": {} }";
        assert_eq!(compact(json), r#"{"b":[1.10,123456789012345678901234567890,"a \" \\"],"a":{}}"#);
        assert_eq!(compact(" \"x y\" "), "\"x y\"");
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
    fn what_is_no_object_has_no_fields() {
        for bad in ["", "[]", "1", "{\"a\":}", "{\"a\":1,}", "{} x", "\"{}\""] {
            assert!(fields(bad).is_none(), "{bad}");
        }
        assert_eq!(fields(" { } "), Some(vec![]));
    }
}

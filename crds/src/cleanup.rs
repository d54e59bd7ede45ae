//! Cleanup of a derived CRD. The derive emits details that users should not see:
//! * `nullable` on every optional field, and `null` among the values of an enumeration;
//! * line breaks from doc comments in descriptions;
//! * unsigned formats, and bounds written as `15.0`;
//! * defaults inside `status`;
//! * a generic title of the root schema.

use serde_json::{Map, Value};

/// Cleans a CRD in place. The CRD is JSON, because the typed form keeps bounds as floats.
pub(crate) fn tidy(crd: &mut Value) {
    if let Some(versions) = crd.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in versions {
            if let Some(root) = version.pointer_mut("/schema/openAPIV3Schema") {
                tidy_schema(root, Side::User);
                if let Some(root) = root.as_object_mut() {
                    root.remove("title");
                }
            }
        }
    }
    crd.sort_all_objects();
}

/// Writer of a part of the object; decides whether the schema keeps defaults.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Users write the part; the API server fills in defaults.
    User,
    /// The operator writes the whole part; with a default, the API server would write fields in the operator's place.
    Operator,
}

fn tidy_schema(schema: &mut Value, side: Side) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("nullable");
    if let Some(Value::String(text)) = object.get_mut("description") {
        // The line breaks only wrap the source.
        *text = text.replace('\n', " ");
    }
    if side == Side::Operator {
        object.remove("default");
    }
    tidy_format(object);
    for bound in ["minimum", "maximum", "multipleOf"] {
        if let Some(value) = object.get_mut(bound) {
            *value = whole_number(value);
        }
    }
    if let Some(values) = object.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            // The operator writes the object `status` at the root; no user field has the name `status`.
            tidy_schema(property, if name == "status" && is_object(property) { Side::Operator } else { side });
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            tidy_schema(inner, side);
        }
    }
}

fn is_object(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("object")
}

fn tidy_format(object: &mut Map<String, Value>) {
    let signed = match object.get("format").and_then(Value::as_str) {
        Some("uint8" | "uint16" | "uint32" | "int8" | "int16") => "int32",
        Some("uint64" | "uint" | "int") => "int64",
        _ => return,
    };
    object.insert("format".to_owned(), signed.into());
}

fn whole_number(value: &Value) -> Value {
    match value.as_f64() {
        // Every bound of the schemas is far below 2^53, so the conversion through a string is exact.
        Some(number) if value.is_f64() && number.fract() == 0.0 && number.abs() < 9e15 => {
            format!("{number:.0}").parse::<i64>().map_or_else(|_| value.clone(), Value::from)
        }
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn noise_of_the_derive_is_removed() {
        let mut crd = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {"title": "Thing", "properties": {
            "spec": {"properties": {
                "size": {"type": "integer", "format": "uint64", "minimum": 0.0, "maximum": 15.0, "nullable": true},
                "mode": {"enum": ["A", null], "default": "A", "nullable": true},
                "list": {"items": {"nullable": true, "type": "string"}},
            }},
            "status": {"type": "object", "properties": {"n": {"type": "integer", "default": 0}}},
        }}}}]}});
        tidy(&mut crd);
        assert_eq!(
            crd.pointer("/spec/versions/0/schema/openAPIV3Schema"),
            Some(&json!({"properties": {
                "spec": {"properties": {
                    "size": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 15},
                    "mode": {"enum": ["A"], "default": "A"},
                    "list": {"items": {"type": "string"}},
                }},
                "status": {"type": "object", "properties": {"n": {"type": "integer"}}},
            }}))
        );
    }
}

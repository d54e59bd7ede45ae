//! docs/CONFIG.md, generated from [`KEYS`].

use super::{
    key::{DefaultValue, Key, Presence, Type, listed},
    keys::KEYS,
};
use std::fmt::Write as _;

const HEAD: &str = "# Node configuration

Generated from the table of settings in `node/src/config/keys.rs`; `make fix` writes the page.

A flag overrides the environment, the environment overrides the file, and the file overrides the default. In the file each
value has the type below. In the environment every value is a string, and a list is comma-separated. Unknown keys and values
of another type are errors; the node reports all errors at once and does not start.

| key | environment | type | default | allowed | meaning |
|---|---|---|---|---|---|
";

#[test]
fn the_reference_page_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CONFIG.md");
    if std::env::var_os("TAFFRAIL_FIX").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), page(), "docs/CONFIG.md is out of date; run `make fix`");
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for key in KEYS {
        let env = format!("TAFFRAIL_{}", key.name.replace('.', "_").to_uppercase());
        let (default, allowed, meaning) = (default(key), allowed(key), meaning(key));
        writeln!(page, "| `{}` | `{env}` | {} | {default} | {allowed} | {meaning} |", key.name, of(key)).unwrap();
    }
    page
}

fn of(key: &Key) -> String {
    match key.of {
        Type::Integer(integer) => format!("integer, {}", integer.unit),
        Type::String | Type::Choice(_) | Type::StringList => key.of.to_string(),
    }
}

fn default(key: &Key) -> String {
    match key.default {
        DefaultValue::Absent => String::new(),
        DefaultValue::Value(value) => format!("`{value}`"),
        DefaultValue::Found(source) => source.to_owned(),
    }
}

fn allowed(key: &Key) -> String {
    let values = match key.of {
        Type::Integer(integer) => integer.to_string(),
        Type::Choice(choices) => listed(choices),
        Type::String | Type::StringList => String::new(),
    };
    match (key.presence, key.default) {
        (Presence::Optional, _) => values,
        (Presence::Required, DefaultValue::Value(_)) => "not empty".to_owned(),
        (Presence::Required, DefaultValue::Absent | DefaultValue::Found(_)) => "required".to_owned(),
        (Presence::RequiredWhen(other, value), _) => format!("required when {other} is {value}"),
    }
}

fn meaning(key: &Key) -> String {
    if key.why.is_empty() { key.doc.to_owned() } else { format!("{} {}", key.doc, key.why) }
}

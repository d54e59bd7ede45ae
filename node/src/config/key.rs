//! Settings as data: a [`Key`] holds name, type, bounds, default and documentation of a setting.
//!
//! `check` applies the bounds, choices and requirements, and `reference_page` prints the same data: no
//! bound is written twice.

use std::fmt;

/// A setting: name, type, default, and documentation for the reference page.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Name as `section.key`.
    pub name: &'static str,
    /// Type of the value, with the allowed values.
    pub of: Type,
    /// Value in force when no source sets the key.
    pub default: DefaultValue,
    /// Rule for an empty value.
    pub presence: Presence,
    /// Meaning of the setting, one sentence.
    pub doc: &'static str,
    /// Reason for the setting, the default or the bounds; empty when `doc` suffices.
    pub why: &'static str,
}

/// Type of a value in the file. In the environment and in flags every value is a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A string without further restriction.
    String,
    /// A string from this list.
    Choice(&'static [&'static str]),
    /// An integer within bounds.
    Integer(Integer),
    /// A list of strings; comma-separated in the environment and in flags.
    StringList,
}

/// Unit and bounds of an integer. Both bounds are allowed values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integer {
    /// Unit, in the plural.
    pub unit: &'static str,
    /// Smallest allowed value.
    pub min: Min,
    /// Largest allowed value.
    pub max: u64,
}

/// Smallest allowed value of an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Min {
    /// A constant, independent of other keys.
    Fixed(u64),
    /// So many times the value of another key.
    Times(u64, &'static str),
    /// The value of another key plus 1.
    Above(&'static str),
}

/// Value in force when no source sets a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// No default value.
    Absent,
    /// This value, as a string.
    Value(&'static str),
    /// A value determined at the start of the node; the text names the source.
    Found(&'static str),
}

/// Rule for an empty value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Empty is allowed.
    Optional,
    /// Empty is an error.
    Required,
    /// Empty is an error while another key has this value.
    RequiredWhen(&'static str, &'static str),
}

impl Key {
    const fn new(name: &'static str, of: Type, doc: &'static str) -> Self {
        Self { name, of, default: DefaultValue::Absent, presence: Presence::Optional, doc, why: "" }
    }

    /// An optional string without a default.
    pub(super) const fn string(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, Type::String, doc)
    }

    /// A string out of `choices`.
    pub(super) const fn choice(name: &'static str, choices: &'static [&'static str], doc: &'static str) -> Self {
        Self::new(name, Type::Choice(choices), doc)
    }

    /// An integer from `min` to `max`, in `unit`.
    pub(super) const fn integer(name: &'static str, unit: &'static str, min: Min, max: u64, doc: &'static str) -> Self {
        Self::new(name, Type::Integer(Integer { unit, min, max }), doc)
    }

    /// An optional list of strings without a default.
    pub(super) const fn list(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, Type::StringList, doc)
    }

    pub(super) const fn default(self, value: &'static str) -> Self {
        Self { default: DefaultValue::Value(value), ..self }
    }

    pub(super) const fn found(self, source: &'static str) -> Self {
        Self { default: DefaultValue::Found(source), ..self }
    }

    pub(super) const fn required(self) -> Self {
        Self { presence: Presence::Required, ..self }
    }

    pub(super) const fn required_when(self, key: &'static str, value: &'static str) -> Self {
        Self { presence: Presence::RequiredWhen(key, value), ..self }
    }

    pub(super) const fn why(self, why: &'static str) -> Self {
        Self { why, ..self }
    }

    /// The default as a string; empty for [`DefaultValue::Absent`] and [`DefaultValue::Found`].
    #[must_use]
    pub fn default_value(&self) -> &'static str {
        match self.default {
            DefaultValue::Value(value) => value,
            DefaultValue::Absent | DefaultValue::Found(_) => "",
        }
    }
}

impl Type {
    /// The type with an article, for error texts.
    pub(super) fn with_article(self) -> &'static str {
        match self {
            Self::String | Self::Choice(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::StringList => "a list of strings",
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::String | Self::Choice(_) => "string",
            Self::Integer(_) => "integer",
            Self::StringList => "list of strings",
        })
    }
}

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = self.max;
        match self.min {
            Min::Fixed(min) => write!(f, "{min} to {max}"),
            Min::Times(1, key) => write!(f, "{key} to {max}"),
            Min::Times(n, key) => write!(f, "{n} times {key} to {max}"),
            Min::Above(key) => write!(f, "more than {key}, at most {max}"),
        }
    }
}

/// Joins the choices of a key for a sentence: `a, b or c`.
pub(super) fn listed(choices: &[&str]) -> String {
    match choices {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

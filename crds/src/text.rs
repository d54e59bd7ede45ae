//! Validated string types with their schema: a pattern and a `maxLength`. The API server enforces both, and the length
//! keeps the cost estimate of CEL rules small.

/// Error for a string without the form of its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct Malformed {
    /// The string, truncated to 80 characters for printing.
    pub value: String,
    /// Expected form, as a noun phrase.
    pub expected: &'static str,
}

impl Malformed {
    pub(crate) fn new(value: &str, expected: &'static str) -> Self {
        Self { value: value.chars().take(80).collect(), expected }
    }
}

/// Defines a validated string type. `accepts` runs in Rust and `pattern` in the API server, so both must accept the
/// same strings. `text_types_agree_with_their_patterns` in `tests/schema.rs` compares both.
macro_rules! text_type {
    (
        $(#[$meta:meta])*
        $name:ident, expected: $expected:literal, max: $max:literal, pattern: $pattern:expr, accepts: $accepts:path
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Maximum length in characters.
            pub const LENGTH_MAX: usize = $max;
            /// Pattern in the exported schema.
            pub const PATTERN: &'static str = $pattern;

            /// Returns the string.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::text::Malformed;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                if text.len() <= Self::LENGTH_MAX && $accepts(&text) {
                    Ok(Self(text))
                } else {
                    Err($crate::text::Malformed::new(&text, $expected))
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::text::Malformed;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "maxLength": Self::LENGTH_MAX,
                    "pattern": Self::PATTERN,
                })
            }
        }
    };
}

pub(crate) use text_type;

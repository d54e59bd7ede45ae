//! String newtypes that carry their own schema: a pattern and a `maxLength`, which the API server enforces and which
//! keep the cost estimate of CEL rules small.

/// A text did not have the form that its type demands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct Malformed {
    /// What was given, cut to a length that is safe to print.
    pub value: String,
    /// The form that was expected, as a noun phrase.
    pub expected: &'static str,
}

impl Malformed {
    pub(crate) fn new(value: &str, expected: &'static str) -> Self {
        Self { value: value.chars().take(80).collect(), expected }
    }
}

/// Defines a validated string type. `accepts` must agree with `pattern`: the former runs here, the latter in the API
/// server, and the tests beside each type hold them together.
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
            /// The longest accepted text, in characters.
            pub const LENGTH_MAX: usize = $max;
            /// The pattern in the exported schema.
            pub const PATTERN: &'static str = $pattern;

            /// The text itself.
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

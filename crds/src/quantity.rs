//! Kubernetes quantities as strings with a bounded form.
//!
//! The Kubernetes schema of a quantity is "integer or string" without bounds, and the CEL function `quantity()` fails
//! at run time on an integer. The fields of our schemas are therefore strings, and this module does the arithmetic.

use crate::text::text_type;

text_type! {
    /// Amount of CPU or memory, such as `500m`, `2` or `1Gi`.
    Quantity,
    expected: "a quantity such as 500m, 2 or 1Gi", max: 20,
    pattern: r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$", accepts: is_quantity
}

text_type! {
    /// Size of a volume, such as `10Gi`; never zero, never in thousandths of a byte.
    StorageSize,
    expected: "a size such as 10Gi", max: 20,
    pattern: r"^[1-9][0-9]*(\.[0-9]+)?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$", accepts: is_storage_size
}

const BINARY: [(&str, i128); 6] =
    [("Pi", 1 << 50), ("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10), ("", 1)];
const DECIMAL: [(&str, i128); 6] = [
    ("P", 10_i128.pow(15)),
    ("T", 10_i128.pow(12)),
    ("G", 10_i128.pow(9)),
    ("M", 10_i128.pow(6)),
    ("k", 1000),
    ("", 1),
];

impl Quantity {
    /// Returns the value in thousandths, rounded up: `500m` is 500, `1Ki` is 1,024,000.
    pub fn thousandths(&self) -> i128 {
        thousandths(self.as_str()).unwrap_or_default()
    }

    /// Returns the value in whole units, rounded up: bytes of memory, or CPUs.
    pub fn units(&self) -> i64 {
        units(self.as_str())
    }

    /// Returns the form in which the API server stores the value. Rendered objects use this form, so that a second
    /// apply of the same spec changes nothing.
    pub fn canonical(&self) -> String {
        canonical(self.as_str())
    }
}

impl StorageSize {
    /// Returns the size in bytes, rounded up.
    pub fn bytes(&self) -> i64 {
        units(self.as_str())
    }

    /// Returns the form in which the API server stores the size.
    pub fn canonical(&self) -> String {
        canonical(self.as_str())
    }
}

/// Parses a size of a foreign object, such as a PVC, in forms that our fields refuse; `None` if not a quantity.
pub fn parse_bytes(text: &str) -> Option<i64> {
    thousandths(text).map(whole)
}

fn is_quantity(text: &str) -> bool {
    thousandths(text).is_some()
}

fn is_storage_size(text: &str) -> bool {
    text.starts_with(|c: char| ('1'..='9').contains(&c)) && !text.ends_with('m') && thousandths(text).is_some()
}

fn units(text: &str) -> i64 {
    thousandths(text).map(whole).unwrap_or_default()
}

fn whole(thousandths: i128) -> i64 {
    i64::try_from((thousandths + 999) / 1000).unwrap_or(i64::MAX)
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()))
}

fn thousandths(text: &str) -> Option<i128> {
    let (number, suffix) = split(text);
    let scale = match suffix {
        "m" => 1,
        _ => 1000 * BINARY.iter().chain(&DECIMAL).find(|(name, _)| *name == suffix)?.1,
    };
    let (integer, fraction) = number.split_once('.').map_or((number, None), |(i, f)| (i, Some(f)));
    let digits = |part: &str| !part.is_empty() && part.len() <= 20 && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(integer) || fraction.is_some_and(|f| !digits(f)) {
        return None;
    }
    let mut value = integer.parse::<i128>().ok()?.checked_mul(scale)?;
    if let Some(fraction) = fraction {
        let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part = fraction.parse::<i128>().ok()?.checked_mul(scale)?;
        value = value.checked_add((part + divisor - 1) / divisor)?;
    }
    Some(value)
}

fn canonical(text: &str) -> String {
    let value = thousandths(text).unwrap_or_default();
    if value == 0 {
        return "0".to_owned();
    }
    let (_, suffix) = split(text);
    if value % 1000 != 0 {
        return format!("{value}m");
    }
    let value = value / 1000;
    let family = if suffix.ends_with('i') { &BINARY } else { &DECIMAL };
    let (name, scale) = family.iter().find(|(_, scale)| value % scale == 0).unwrap_or(&("", 1));
    format!("{}{name}", value / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().expect("a quantity")
    }

    #[test]
    fn values_are_exact_and_round_up() {
        assert_eq!(quantity("500m").thousandths(), 500);
        assert_eq!(quantity("1.5").thousandths(), 1500);
        assert_eq!(quantity("1Ki").units(), 1024);
        assert_eq!(quantity("1k").units(), 1000);
        assert_eq!(quantity("1.5Gi").units(), 3 << 29);
        assert_eq!(quantity("0.0001").thousandths(), 1);
        assert_eq!(quantity("99999999999999999999").units(), i64::MAX);
    }

    #[test]
    fn canonical_forms_are_those_of_the_api_server() {
        for (given, stored) in [
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1000M", "1G"),
            ("1500", "1500"),
            ("10Gi", "10Gi"),
            ("0Gi", "0"),
        ] {
            assert_eq!(quantity(given).canonical(), stored, "{given}");
        }
    }

    #[test]
    fn malformed_text_is_refused() {
        for bad in ["", "Gi", "1.", ".5", "-1", "1 Gi", "1gi", "1e3", "1.2.3", "1\u{661}"] {
            assert!(bad.parse::<Quantity>().is_err(), "{bad}");
        }
        for bad in ["0", "0.5Gi", "500m", "01Gi"] {
            assert!(bad.parse::<StorageSize>().is_err(), "{bad}");
        }
        assert!("1.5Ti".parse::<StorageSize>().is_ok());
    }
}

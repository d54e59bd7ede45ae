//! Features of the protocol by number, see `taffrail.v1.Feature`. A request names the features required by the
//! request's fields, so a node of an earlier release refuses the request instead of dropping a field silently.

use super::status::{Problem, Reason};

/// Numbers of the features known to this node, rising.
pub(crate) const KNOWN: &[u32] = &[INCLUDE_SYSTEM, AT_LEAST_POSITION];
/// Number of the field `include_system` of reads and subscriptions.
pub(crate) const INCLUDE_SYSTEM: u32 = 1;
/// Number of the field `at_least_position` of reads.
pub(crate) const AT_LEAST_POSITION: u32 = 2;
/// Maximum number of features named by a request.
const NEEDS_MAX: usize = 64;

/// Checks the features needed by a request.
///
/// # Errors
/// `UNSUPPORTED` with the numbers unknown to this node; `INVALID_ARGUMENT` for too many numbers.
pub(crate) fn check(needs: &[u32]) -> Result<(), Problem> {
    check_against(KNOWN, needs)
}

/// Checks that a request with the set field `field` lists the number of the field's feature.
///
/// # Errors
/// `INVALID_ARGUMENT` without the number.
pub(crate) fn require(needs: &[u32], feature: u32, field: &'static str) -> Result<(), Problem> {
    if needs.contains(&feature) {
        return Ok(());
    }
    Err(Problem::field(field, format!("requires the feature {feature} in the field `needs`")))
}

fn check_against(known: &[u32], needs: &[u32]) -> Result<(), Problem> {
    if needs.len() > NEEDS_MAX {
        return Err(Problem::field("needs", format!("must be at most {NEEDS_MAX} numbers, is {}", needs.len())));
    }
    let unknown: Vec<String> = needs.iter().filter(|n| !known.contains(n)).map(ToString::to_string).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let unknown = unknown.join(",");
    let message = format!("the call needs features that this node does not know: {unknown}; nothing was done");
    Err(Problem::new(Reason::Unsupported, message).with("field", "needs").with("features", unknown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use taffrail_proto::v1;

    #[test]
    fn every_value_of_the_enum_is_known() {
        let numbers: Vec<u32> =
            (1..).take_while(|n| v1::Feature::try_from(*n).is_ok()).map(i32::unsigned_abs).collect();
        assert_eq!(numbers, KNOWN);
        assert_eq!(v1::Feature::try_from(1), Ok(v1::Feature::IncludeSystem));
        assert_eq!(v1::Feature::try_from(2), Ok(v1::Feature::AtLeastPosition));
    }

    #[test]
    fn only_known_features_can_be_needed() {
        let reason = |needs: &[u32]| check_against(&[1, 2], needs).map_err(|problem| problem.reason());
        assert_eq!(reason(&[]), Ok(()));
        assert_eq!(reason(&[2, 1, 2]), Ok(()));
        assert_eq!(reason(&[1, 3]), Err(Reason::Unsupported));
        assert_eq!(reason(&[0]), Err(Reason::Unsupported));
        assert_eq!(reason(&[1; NEEDS_MAX + 1]), Err(Reason::InvalidArgument));
        let problem = check_against(&[1, 2], &[1, 3, 4]).unwrap_err();
        assert!(problem.to_string().contains("3,4"), "{problem}");
    }
}

//! [`ResumeToken`], for a client to continue a read or subscription in a later call. A token names the store, the
//! lineage of the store and the selector, so a token is never used where the token's numbers mean other events.
//!
//! Clients treat a token as opaque. The bytes are a contract between versions of the node, because clients store tokens:
//!
//! | bytes | content |
//! |---|---|
//! | 1 | format, 1 |
//! | 16 | id of the store |
//! | 8 | lineage of the store |
//! | 8 | hash of the selector |
//! | 8 | position: all events up to the position were examined |
//! | 8 | ordinal: for a stream, the last delivered revision plus 1; otherwise 0 |
//! | 4 | checksum of the bytes before |
//!
//! Numbers are big-endian. The hash covers the set fields of the selector in the order of their numbers, so a field of a
//! later release changes no token of a selector without the field. `include_system` of the request counts as
//! field 10 of the selector.

use super::status::{Problem, Reason};
use bytes::Bytes;
use prost::Message;
use taffrail_core::ids::StoreId;
use taffrail_proto::v1;

/// Lineage of every store, until stores are rebuilt.
pub(crate) const LINEAGE: u64 = 0;
/// First byte of a token.
const FORMAT: u8 = 1;
/// Encoding of `true` in field 10.
const INCLUDE_SYSTEM: [u8; 2] = [10 << 3, 1];
const CHECKSUM_BYTES: usize = 4;
const TOKEN_BYTES: usize = 1 + 16 + 4 * 8 + CHECKSUM_BYTES;
/// Field of the request with a token.
const FIELD: &str = "start.resume";

/// The point after a page or mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResumeToken {
    /// The store of the events.
    pub(crate) store: StoreId,
    /// The lineage of the positions.
    pub(crate) lineage: u64,
    /// The [`selector_hash`] of the call.
    pub(crate) selector: u64,
    /// All events up to this position were examined.
    pub(crate) position: u64,
    /// For a stream, the last delivered revision plus 1, or the revision of the start; otherwise 0. The token thus says
    /// where to go on in both directions.
    pub(crate) ordinal: u64,
}

/// The content common to all tokens of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenOf {
    /// The store of the events.
    pub(crate) store: StoreId,
    /// The [`selector_hash`] of the call.
    pub(crate) selector: u64,
}

/// Hashes a selector and the field `include_system` of the request.
#[must_use]
pub(crate) fn selector_hash(selector: &v1::Selector, include_system: bool) -> u64 {
    // prost encodes the set fields in the order of their numbers.
    let mut bytes = selector.encode_to_vec();
    if include_system {
        bytes.extend_from_slice(&INCLUDE_SYSTEM);
    }
    first_8(&bytes)
}

fn first_8(bytes: &[u8]) -> u64 {
    blake3::hash(bytes).as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = *blake3::hash(bytes).as_bytes();
    [hash[0], hash[1], hash[2], hash[3]]
}

impl ResumeToken {
    /// Encodes the token.
    #[must_use]
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(TOKEN_BYTES);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.store.to_bytes());
        for number in [self.lineage, self.selector, self.position, self.ordinal] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes.into()
    }

    /// Decodes a token of a client.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for bytes that are no token of a known format.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Problem> {
        let damaged = || Problem::field(FIELD, "must be a token that a node of this cluster has given out");
        if bytes.first().is_some_and(|format| *format != FORMAT) {
            return Err(Problem::field(FIELD, "has a format that this node does not know"));
        }
        let (content, given) = bytes.split_at_checked(TOKEN_BYTES - CHECKSUM_BYTES).ok_or_else(damaged)?;
        if given != checksum(content) {
            return Err(damaged());
        }
        let store = StoreId::from_slice(&content[1..17]).ok_or_else(damaged)?;
        let number = |at: usize| {
            let start = 17 + at * 8;
            content[start..start + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        Ok(Self { store, lineage: number(0), selector: number(1), position: number(2), ordinal: number(3) })
    }

    /// Checks that the token belongs to a selector with the hash `selector`, and to the current lineage of the store.
    ///
    /// # Errors
    /// `SELECTOR_CHANGED` or `LINEAGE_CHANGED`.
    pub(crate) fn check(&self, selector: u64) -> Result<(), Problem> {
        if self.selector != selector {
            let message = "the resume token belongs to another selector";
            return Err(Problem::new(Reason::SelectorChanged, message).with("field", FIELD));
        }
        if self.lineage != LINEAGE {
            let message = format!("the resume token has lineage {}, and the store has lineage {LINEAGE}", self.lineage);
            return Err(Problem::new(Reason::LineageChanged, message).with("field", FIELD).with("lineage", LINEAGE));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::selector::Kind;

    fn token() -> ResumeToken {
        let store = StoreId::new(uuid::Uuid::from_u128(7));
        ResumeToken { store, lineage: 0, selector: 0x0102_0304_0506_0708, position: 41, ordinal: u64::MAX }
    }

    fn of(kind: Kind) -> u64 {
        selector_hash(&v1::Selector { kind: Some(kind) }, false)
    }

    /// Clients store tokens, so every later version must read these bytes.
    #[test]
    fn tokens_are_a_contract() {
        let hex: String = token().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("resume/golden_token.txt").trim());
        assert_eq!(
            format!("{:016x}", of(Kind::Stream("orders-1".into()))),
            include_str!("resume/golden_selector.txt").trim()
        );
        let all = v1::Selector { kind: Some(Kind::All(v1::Unit {})) };
        assert_eq!(
            format!("{:016x}", selector_hash(&all, true)),
            include_str!("resume/golden_selector_system.txt").trim()
        );
    }

    #[test]
    fn a_token_decodes_to_the_same() {
        assert_eq!(ResumeToken::decode(&token().encode()).unwrap(), token());
    }

    #[test]
    fn damaged_and_unknown_tokens_are_refused() {
        let good = token().encode();
        for at in 0..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 1;
            assert_eq!(ResumeToken::decode(&bad).unwrap_err().reason(), Reason::InvalidArgument, "byte {at}");
            assert!(ResumeToken::decode(&good[..at]).is_err(), "{at} bytes");
        }
        assert!(ResumeToken::decode(&[&good[..], b"x"].concat()).is_err());
        let later = ResumeToken::decode(&[2]).unwrap_err();
        assert!(later.to_string().contains("format"), "{later}");
    }

    #[test]
    fn another_selector_or_lineage_is_refused() {
        let selector = of(Kind::Stream("a".into()));
        assert_ne!(selector, of(Kind::Stream("b".into())));
        assert_ne!(selector, of(Kind::All(v1::Unit {})));
        let token = ResumeToken { selector, ..token() };
        assert!(token.check(selector).is_ok());
        let reason = |token: ResumeToken| token.check(selector).map_err(|problem| problem.reason());
        assert_eq!(reason(ResumeToken { selector: selector + 1, ..token }), Err(Reason::SelectorChanged));
        assert_eq!(reason(ResumeToken { lineage: 1, ..token }), Err(Reason::LineageChanged));
    }
}

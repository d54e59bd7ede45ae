//! Planted defect of appends.

use super::reader::Reader;
use taffrail_core::append::{Append, ExpectedRevision};
use taffrail_runtime::planted_defect::is_planted;
use taffrail_store_api::StoreReader;

/// Returns the append unchanged, except in a simulation with the defect `revision-checked-by-gateway`: an expectation that the
/// applied state of this replica fulfils is then dropped, and not checked again when the append is applied.
#[inline]
pub(super) fn before_proposal(reader: &Reader, mut append: Append) -> Append {
    if is_planted("revision-checked-by-gateway")
        && let Ok(tail) = reader.stream_tail(&append.stream)
    {
        let fulfilled = match append.expected {
            ExpectedRevision::NoStream => tail.is_none(),
            ExpectedRevision::Exact(revision) => tail == Some(revision),
            ExpectedRevision::Any | ExpectedRevision::StreamExists => false,
        };
        if fulfilled {
            append.expected = ExpectedRevision::Any;
        }
    }
    append
}

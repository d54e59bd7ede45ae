//! Whether a bare store name can mean one store only. Stores of several namespaces can have one name; an address that gives
//! the name alone is refused then, never guessed.

use super::status::{Problem, Reason};
use taffrail_core::names::StoreName;

/// The store, if no store of another namespace has its name. `namesakes` are all that serve, or are about to, under it.
///
/// # Errors
/// `STORE_AMBIGUOUS` with all that have it.
pub fn only(bare: StoreName, namesakes: &[StoreName]) -> Result<StoreName, Problem> {
    if namesakes.len() < 2 {
        return Ok(bare);
    }
    let candidates: Vec<String> = namesakes.iter().map(ToString::to_string).collect();
    let candidates = candidates.join(",");
    let message = format!("{} names no namespace, and could be any of {candidates}", bare.name());
    Err(Problem::new(Reason::StoreAmbiguous, message).with("store", bare.name()).with("candidates", candidates))
}

//! Whether a bare store name can mean one store only. Stores of several namespaces can have one name; an address that gives
//! the name alone is refused then, never guessed.

use super::status::{Problem, Reason};
use taffrail_core::names::StoreName;

/// The store, if no store of another namespace has its name. `with_name` are all active stores of that name.
///
/// # Errors
/// `STORE_AMBIGUOUS` with all that have it.
pub fn only(bare: StoreName, with_name: &[StoreName]) -> Result<StoreName, Problem> {
    if with_name.len() < 2 {
        return Ok(bare);
    }
    let candidates: Vec<String> = with_name.iter().map(ToString::to_string).collect();
    let candidates = candidates.join(",");
    let message = format!("{} names no namespace, and could be any of {candidates}", bare.name());
    Err(Problem::new(Reason::StoreAmbiguous, message).with("store", bare.name()).with("candidates", candidates))
}

//! The catalogue: [`CatalogueMachine`](catalogue_machine::CatalogueMachine), the state machine of the system group, and
//! [`codec`], the encoding of commands, answers and rows. The rules are in [`taffrail_core::catalogue`].

pub mod catalogue_machine;
pub mod codec;
mod planted;

//! Processes are killed again and again while clients append.

mod cycles;

//! [`Trace`]: hashes every event of a run, and prints the events on request. An event must not contain anything that differs
//! between two processes: no addresses, wall time, thread ids or hash order.

use std::fmt::{self, Write};

/// Hash and count of the events of a run.
pub struct Trace {
    hasher: blake3::Hasher,
    line: String,
    events: u64,
    print: bool,
}

impl Trace {
    /// An empty trace.
    #[must_use]
    pub fn new(print: bool) -> Self {
        Self { hasher: blake3::Hasher::new(), line: String::new(), events: 0, print }
    }

    /// Adds an event at `micros` of simulated time.
    pub fn add(&mut self, micros: u64, event: fmt::Arguments<'_>) {
        self.line.clear();
        // writing to a string does not fail
        let _ = writeln!(self.line, "{micros} {event}");
        self.hasher.update(self.line.as_bytes());
        self.events += 1;
        if self.print {
            print!("{}", self.line);
        }
    }

    /// Number of events so far, and the hash of the events.
    #[must_use]
    pub fn sum(&self) -> (u64, String) {
        let mut hash = self.hasher.finalize().to_hex().to_string();
        hash.truncate(16);
        (self.events, hash)
    }
}

/// The first bytes of a hash of `bytes`, to tell messages apart in a trace.
#[must_use]
pub fn short(bytes: &[u8]) -> u32 {
    let [a, b, c, d, ..] = *blake3::hash(bytes).as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

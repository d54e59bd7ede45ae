//! Places at which a test lets the process die. Without the variable `TAFFRAIL_FAILPOINT` (`name` or `name:n`, the n-th
//! time) nothing ever happens, and the cost is one look at a value that was read once.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
static REACHED: AtomicU64 = AtomicU64::new(0);

/// Dies here, as by SIGKILL, if this is the armed place.
pub fn reach(name: &str) {
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("TAFFRAIL_FAILPOINT").ok()?;
        let (name, n) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), n.parse().unwrap_or(1)))
    });
    let Some((wanted, n)) = armed else { return };
    if wanted == name && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == *n {
        tracing::error!(name, n, "fault point reached: the process ends here");
        std::process::abort();
    }
}

//! Captures panics, so that a panic anywhere in a run fails the seed. All runs share the panic hook of the process; each run
//! has a separate thread, and the panics are kept per thread.

use std::{cell::RefCell, panic, sync::Once};

thread_local! {
    static SEEN: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Captures the panics of this thread until [`take`], instead of printing.
pub fn start() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.to_string().replace('\n', " ");
            let taken = SEEN.with_borrow_mut(|seen| seen.as_mut().map(|s| s.push(text)).is_some());
            if !taken {
                before(info);
            }
        }));
    });
    SEEN.with_borrow_mut(|seen| *seen = Some(Vec::new()));
}

/// Ends the capture and returns the captured panics.
#[must_use]
pub fn take() -> Vec<String> {
    SEEN.with_borrow_mut(Option::take).unwrap_or_default()
}

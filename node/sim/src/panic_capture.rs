//! A panic anywhere in a run fails its seed. Runs share the process's hook but not their threads, so what a thread's run
//! caused is kept by that thread.

use std::{cell::RefCell, panic, sync::Once};

thread_local! {
    static SEEN: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// From here to `take` panics of this thread are gathered instead of printed.
pub fn watch() {
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

/// What was gathered.
#[must_use]
pub fn take() -> Vec<String> {
    SEEN.with_borrow_mut(Option::take).unwrap_or_default()
}

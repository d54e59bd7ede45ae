//! Planted defects: named places in the code of a node that misbehave on request of the simulator, to prove that the checks
//! of the simulator find the defect.
//!
//! Only [`Scope::simulated_with_faults`](crate::Scope::simulated_with_faults) sets a defect, and `clippy.toml` reserves
//! the function for the simulator. A process runs in a production scope or without a scope, so no setting, argument or
//! variable of a process reaches a defect. A build without debug assertions, such as the release binaries, contains no
//! defect at all.

/// Returns true when the running task belongs to a simulated node with the planted defect `name`.
///
/// ```
/// // No scope: the call belongs to a process or a test.
/// assert!(!taffrail_runtime::planted_defect::is_planted("purge-before-flush"));
/// ```
#[inline]
#[must_use]
pub fn is_planted(name: &str) -> bool {
    cfg!(debug_assertions) && crate::defect() == Some(name)
}

#[cfg(test)]
mod tests {
    use super::is_planted;
    use crate::{Clock, Faults, Scope, blocking, spawn};

    struct Stopped;

    impl Clock for Stopped {
        fn now_us(&self) -> u64 {
            0
        }
    }

    #[tokio::test]
    async fn only_tasks_of_a_simulated_node_with_the_defect_have_the_defect() {
        assert!(!is_planted("a"));
        let asked = || async { (is_planted("a"), spawn(async { is_planted("a") }).await.unwrap()) };
        assert_eq!(Scope::production().run(asked()).await, (false, false));
        assert_eq!(Scope::simulated(1, Box::new(Stopped)).run(asked()).await, (false, false));
        let faults = |defect| Faults { defect: Some(defect), ..Faults::default() };
        let scope = |defect| Scope::simulated_with_faults(1, Box::new(Stopped), faults(defect));
        assert_eq!(scope("b").run(asked()).await, (false, false));
        assert_eq!(scope("a").run(asked()).await, (true, true));
        assert!(scope("a").run(blocking(|| is_planted("a"))).await.unwrap(), "blocking work runs inline");
        assert!(!is_planted("a"));
    }
}

//! Asks all nodes at once, and goes on with what answered: one that hangs is not waited for by the others.

use futures::{StreamExt, stream::FuturesUnordered};
use std::{collections::BTreeMap, future::Future, time::Duration};
use tokio::time::{Instant, timeout_at};

/// No node is waited for longer.
const ALL_WITHIN: Duration = Duration::from_secs(2);
/// Once most have answered, the others have this long: so much slower than its peers is no machine that is merely busy.
const OTHERS_WITHIN: Duration = Duration::from_millis(750);

/// What each of these says. Those that are missing from the answer have not answered in time.
pub(super) async fn all<T, Fut>(questions: impl IntoIterator<Item = (i32, Fut)>) -> BTreeMap<i32, T>
where
    Fut: Future<Output = T>,
{
    // As many as there are pods, of which a Cluster has at most 99.
    let mut asking: FuturesUnordered<_> =
        questions.into_iter().map(|(ordinal, question)| async move { (ordinal, question.await) }).collect();
    let asked = asking.len();
    let mut until = Instant::now() + ALL_WITHIN;
    let mut answers = BTreeMap::new();
    while let Ok(Some((ordinal, answer))) = timeout_at(until, asking.next()).await {
        answers.insert(ordinal, answer);
        if answers.len() > asked / 2 {
            until = until.min(Instant::now() + OTHERS_WITHIN);
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, future::BoxFuture};

    fn never() -> BoxFuture<'static, i32> {
        std::future::pending().boxed()
    }

    #[tokio::test]
    async fn one_that_hangs_holds_nobody_up() {
        let start = Instant::now();
        let questions = [(0, async { 7 }.boxed()), (1, never()), (2, async { 9 }.boxed())];
        assert_eq!(all(questions).await, BTreeMap::from([(0, 7), (2, 9)]));
        assert!(start.elapsed() < ALL_WITHIN, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn the_wait_ends_when_nobody_answers_and_at_once_when_all_have() {
        let start = Instant::now();
        assert_eq!(all([(0, never()), (1, never())]).await, BTreeMap::new());
        assert!(start.elapsed() >= ALL_WITHIN);
        let start = Instant::now();
        assert_eq!(all([(4, async { 1 })]).await, BTreeMap::from([(4, 1)]));
        assert!(start.elapsed() < OTHERS_WITHIN);
    }
}

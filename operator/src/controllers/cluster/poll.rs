//! Concurrent poll of all nodes: a node that hangs does not hold up the answers of the other nodes.

use futures::{StreamExt, stream::FuturesUnordered};
use std::{collections::BTreeMap, future::Future, time::Duration};
use tokio::time::{Instant, timeout_at};

/// Maximum wait for any node.
const ALL_WITHIN: Duration = Duration::from_secs(2);
/// Maximum wait for the remaining nodes once most nodes have answered: a node so much slower than its peers is
/// not merely busy.
const OTHERS_WITHIN: Duration = Duration::from_millis(750);

/// Returns the answer to each question. A missing answer did not come in time.
pub(super) async fn all<T, Fut>(questions: impl IntoIterator<Item = (i32, Fut)>) -> BTreeMap<i32, T>
where
    Fut: Future<Output = T>,
{
    // As many futures as pods, and a Cluster has at most 99 pods.
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

//! [`DeclareBatcher`]: batches declarations of stores. While a call to the coordinator is in flight, further
//! declarations wait and share the next call. So the first store is declared at once, and fifty stores applied together
//! take a few calls.
//!
//! Owner: [`ClusterViews`](crate::cluster_views::ClusterViews), with a batcher for each followed Cluster. Bound: a
//! waiting declaration is a waiting reconcile, and the controller runs a fixed number of reconciles; a call carries at
//! most [`BATCH_MAX`] declarations.

use crate::node_admin::Error;
use std::{
    collections::VecDeque,
    future::Future,
    sync::{Mutex, PoisonError},
};
use taffrail_proto::admin::{DeclareResult, StoreDeclaration};
use tokio::sync::{Semaphore, oneshot};

/// Maximum number of declarations in a call. Each declaration is a command in the log of the system group, and all
/// commands of a call must meet a single deadline.
pub(crate) const BATCH_MAX: usize = 32;

type Answer = Result<DeclareResult, Error>;

/// Waiting declarations of a Cluster.
#[derive(Debug)]
pub(crate) struct DeclareBatcher {
    waiting: Mutex<VecDeque<(StoreDeclaration, oneshot::Sender<Answer>)>>,
    /// Right to call the coordinator; a single permit.
    call_permit: Semaphore,
}

impl Default for DeclareBatcher {
    fn default() -> Self {
        Self { waiting: Mutex::default(), call_permit: Semaphore::new(1) }
    }
}

impl DeclareBatcher {
    /// Declares a store, together with other waiting declarations. The holder of the permit makes `call` for
    /// the whole batch.
    ///
    /// # Errors
    /// The error of `call`. A refused batch is split into single declarations, so that a malformed declaration harms
    /// no other store.
    pub(crate) async fn declare<F, Fut>(&self, store: StoreDeclaration, call: F) -> Answer
    where
        F: Fn(Vec<StoreDeclaration>) -> Fut,
        Fut: Future<Output = Result<Vec<DeclareResult>, Error>>,
    {
        let mut answer = self.enqueue(store.clone());
        loop {
            let Ok(_permit) = self.call_permit.acquire().await else { return Err(Error::Nobody) };
            match answer.try_recv() {
                Ok(answer) => return answer,
                Err(oneshot::error::TryRecvError::Empty) => {}
                // The carrier of this declaration gave up during the call. A declaration may be repeated.
                Err(oneshot::error::TryRecvError::Closed) => answer = self.enqueue(store.clone()),
            }
            let (stores, senders): (Vec<_>, Vec<_>) = self.next_batch().into_iter().unzip();
            for (sender, answer) in senders.into_iter().zip(ask(stores, &call).await) {
                // A closed receiver belongs to a reconcile past its deadline.
                let _gone = sender.send(answer);
            }
        }
    }

    fn enqueue(&self, store: StoreDeclaration) -> oneshot::Receiver<Answer> {
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back((store, sender));
        answer
    }

    fn next_batch(&self) -> Vec<(StoreDeclaration, oneshot::Sender<Answer>)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|(_, sender)| !sender.is_closed());
        let count = waiting.len().min(BATCH_MAX);
        waiting.drain(..count).collect()
    }
}

/// Makes the call for a batch and returns an answer for each declaration.
async fn ask<F, Fut>(stores: Vec<StoreDeclaration>, call: &F) -> Vec<Answer>
where
    F: Fn(Vec<StoreDeclaration>) -> Fut,
    Fut: Future<Output = Result<Vec<DeclareResult>, Error>>,
{
    if stores.is_empty() {
        return Vec::new();
    }
    let count = stores.len();
    match call(stores.clone()).await {
        Ok(results) if results.len() == count => results.into_iter().map(Ok).collect(),
        Ok(_) => vec![Err(Error::Nobody); count],
        Err(Error::Refused { .. }) if count > 1 => {
            let mut answers = Vec::with_capacity(count);
            for store in stores {
                let answer = call(vec![store]).await;
                answers.push(answer.and_then(|results| results.into_iter().next().ok_or(Error::Nobody)));
            }
            answers
        }
        Err(error) => vec![Err(error); count],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;
    use std::sync::Arc;

    fn store(name: &str) -> StoreDeclaration {
        StoreDeclaration { name: name.to_owned(), ..StoreDeclaration::default() }
    }

    fn accepted(stores: &[StoreDeclaration]) -> Vec<DeclareResult> {
        let result = |store: &StoreDeclaration| DeclareResult {
            name: store.name.clone(),
            store_id: format!("id-{}", store.name),
            ..DeclareResult::default()
        };
        stores.iter().map(result).collect()
    }

    /// Yields during the call, so that further declarations come up, and records the size of each batch.
    async fn slow(sizes: Arc<Mutex<Vec<usize>>>, stores: Vec<StoreDeclaration>) -> Result<Vec<DeclareResult>, Error> {
        sizes.lock().expect("sizes").push(stores.len());
        tokio::task::yield_now().await;
        if stores.iter().any(|store| store.name == "bad") {
            return Err(Error::Refused { address: "a".to_owned(), message: "bad".to_owned() });
        }
        Ok(accepted(&stores))
    }

    #[tokio::test]
    async fn what_comes_up_during_a_call_goes_together_in_the_next() {
        let (batcher, sizes) = (DeclareBatcher::default(), Arc::<Mutex<Vec<usize>>>::default());
        let names: Vec<String> = (0..50).map(|n| format!("s{n}")).collect();
        let answers =
            join_all(names.iter().map(|name| batcher.declare(store(name), |all| slow(sizes.clone(), all)))).await;
        for (name, answer) in names.iter().zip(answers) {
            assert_eq!(answer.expect("accepted").store_id, format!("id-{name}"));
        }
        let sizes = sizes.lock().expect("sizes").clone();
        assert_eq!(sizes.iter().sum::<usize>(), 50);
        assert!(sizes.len() <= 3 && sizes.iter().all(|size| *size <= BATCH_MAX), "{sizes:?}");
    }

    #[tokio::test]
    async fn one_that_is_refused_harms_no_other() {
        let (batcher, sizes) = (DeclareBatcher::default(), Arc::<Mutex<Vec<usize>>>::default());
        let declare = |name| batcher.declare(store(name), |all| slow(sizes.clone(), all));
        let (first, good, bad) = tokio::join!(declare("first"), declare("good"), declare("bad"));
        assert!(first.is_ok() && good.is_ok(), "{first:?} {good:?}");
        assert!(matches!(bad, Err(Error::Refused { .. })), "{bad:?}");
    }

    #[tokio::test]
    async fn one_whose_carrier_gave_up_is_declared_all_the_same() {
        let batcher = DeclareBatcher::default();
        let mut carrier = Box::pin(batcher.declare(store("a"), |_| std::future::pending()));
        let mut other = Box::pin(batcher.declare(store("b"), |all| async move { Ok(accepted(&all)) }));
        let call_permit = batcher.call_permit.acquire().await.expect("a permit");
        assert!(futures::poll!(&mut carrier).is_pending() && futures::poll!(&mut other).is_pending());
        drop(call_permit);
        // The carrier now holds both declarations and hangs until its reconcile is aborted.
        assert!(futures::poll!(&mut carrier).is_pending());
        drop(carrier);
        assert_eq!(other.as_mut().await.expect("accepted").store_id, "id-b");
    }
}

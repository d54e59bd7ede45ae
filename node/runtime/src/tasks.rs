//! Kinds of tasks ([`TaskKind`]): the consequence of an unexpected end of a task that nobody awaits.
//!
//! | kind | return | panic |
//! |---|---|---|
//! | [`Node`](TaskKind::Node) | ends the node, unless the node is stopping | the same |
//! | [`Part`](TaskKind::Part) | expected | ends the node |
//! | [`Replica`](TaskKind::Replica) | expected | ends or restarts the replica |
//! | [`Call`](TaskKind::Call) | expected | fails the call |
//!
//! Every unexpected end is logged and passed to the function given to [`watch_tasks`](super::watch_tasks), which counts the
//! end, and ends the process if the end is fatal to the node.

use super::{SCOPE, spawn_unwatched};
use std::{
    any::Any,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind},
    pin::pin,
    task::Poll,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Function of the owner of a replica, called with the text of a panic.
pub type OnPanic = Box<dyn FnOnce(&str) + Send>;

/// The consequence of an unexpected end of a task.
pub enum TaskKind {
    /// Runs as long as the node. A panic or a return before the cancellation of the token ends the node.
    Node(CancellationToken),
    /// Serves the whole node and has an end of its own. A panic ends the node.
    Part,
    /// Serves a replica or another object with an owner. A panic is reported to the owner by the function.
    Replica(OnPanic),
    /// Serves a call, a connection or a change. A panic fails the call alone.
    Call,
}

impl fmt::Debug for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node(_) => "Node",
            Self::Part => "Part",
            Self::Replica(_) => "Replica",
            Self::Call => "Call",
        })
    }
}

/// An unexpected end of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskEnd {
    /// Name of the task, the same for all tasks with the same job; a source location for a task without a name.
    pub task: String,
    /// Text of the panic, or a sentence about the return.
    pub why: String,
    /// True if the node cannot go on without the task.
    pub fatal: bool,
}

/// Receives the unexpected ends of tasks of a scope.
pub type TaskWatch = Box<dyn Fn(&TaskEnd) + Send + Sync>;

/// Spawns a task that nobody awaits, in the scope and the tracing span of the running task. The handle serves to wait for the
/// end or to abort the task; an unexpected end is handled according to `kind`.
pub fn spawn_task<F>(task: &'static str, kind: TaskKind, future: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    // On the heap: the future would otherwise occupy its size twice in the task.
    let future = Box::pin(future);
    spawn_unwatched(async move {
        let ended = caught(future).await.map_err(|panic| text(&*panic));
        judge(task, kind, ended);
    })
}

/// Spawns a task whose handle is awaited, in the scope and the tracing span of the running task. A panic is logged and counted,
/// also if the handle is dropped before, and reaches the owner through the handle.
#[track_caller]
#[must_use = "a task whose handle is dropped ends unseen: use spawn_task with a kind"]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let place = Location::caller();
    let future = Box::pin(future);
    spawn_unwatched(async move {
        match caught(future).await {
            Ok(output) => output,
            Err(panic) => {
                report(&TaskEnd { task: place.to_string(), why: text(&*panic), fatal: false });
                resume_unwind(panic)
            }
        }
    })
}

/// Runs `work` and returns the text of a panic as an error: for threads, whose panics nobody sees.
///
/// # Errors
/// When the work panicked.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| text(&*panic))
}

/// Awaits a future and returns a panic of the future as an error.
async fn caught<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    let polled = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    polled.await
}

fn text(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let formatted = || panic.downcast_ref::<String>().cloned();
    literal.or_else(formatted).unwrap_or_else(|| "a panic without a text".to_owned())
}

/// Draws the consequence of the end of a task.
fn judge(task: &'static str, kind: TaskKind, ended: Result<(), String>) {
    let (why, fatal) = match (kind, ended) {
        (TaskKind::Part | TaskKind::Replica(_) | TaskKind::Call, Ok(())) => return,
        (TaskKind::Node(stop), Ok(())) if stop.is_cancelled() => return,
        (TaskKind::Node(_), Ok(())) => ("the task returned although the node goes on".to_owned(), true),
        (TaskKind::Node(stop), Err(why)) => (format!("panic: {why}"), !stop.is_cancelled()),
        (TaskKind::Part, Err(why)) => (format!("panic: {why}"), true),
        (TaskKind::Call, Err(why)) => (format!("panic: {why}"), false),
        (TaskKind::Replica(on_panic), Err(why)) => {
            let why = format!("panic: {why}");
            on_panic(&why);
            (why, false)
        }
    };
    report(&TaskEnd { task: task.to_owned(), why, fatal });
}

fn report(end: &TaskEnd) {
    tracing::error!(task = %end.task, why = %end.why, fatal = end.fatal, "a task has ended unexpectedly");
    let scope = SCOPE.try_with(std::sync::Arc::clone);
    if let Ok(scope) = scope
        && let Some(watch) = scope.watch.get()
    {
        watch(end);
    }
}

#[cfg(test)]
mod tests;

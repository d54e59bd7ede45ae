use super::*;
use crate::{Clock, Scope, watch_tasks};
use std::sync::{Arc, Mutex};

struct Still;

impl Clock for Still {
    fn now_us(&self) -> u64 {
        0
    }
}

type Ends = Arc<Mutex<Vec<TaskEnd>>>;

/// Runs `tasks` in a scope whose unexpected ends are returned.
fn ends_of<F: Future<Output = ()>>(tasks: impl FnOnce(Arc<Scope>) -> F) -> Vec<TaskEnd> {
    let (ends, scope) = (Ends::default(), Scope::simulated(1, Box::new(Still)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let seen = Arc::clone(&ends);
    runtime.block_on(Arc::clone(&scope).run(async {
        watch_tasks(Box::new(move |end| seen.lock().unwrap().push(end.clone())));
        tasks(scope).await;
    }));
    let ends = ends.lock().unwrap();
    ends.clone()
}

fn end(task: &str, why: &str, fatal: bool) -> TaskEnd {
    TaskEnd { task: task.to_owned(), why: why.to_owned(), fatal }
}

#[test]
fn a_panic_is_fatal_to_the_node_for_the_tasks_of_the_node_alone() {
    let stopped = CancellationToken::new();
    stopped.cancel();
    let told = Arc::new(Mutex::new(String::new()));
    let owner = Arc::clone(&told);
    let on_panic: OnPanic = Box::new(move |why| why.clone_into(&mut owner.lock().unwrap()));
    let kinds = [
        ("node", TaskKind::Node(CancellationToken::new()), true),
        ("stopping", TaskKind::Node(stopped), false),
        ("part", TaskKind::Part, true),
        ("replica", TaskKind::Replica(on_panic), false),
        ("call", TaskKind::Call, false),
    ];
    let wanted: Vec<_> = kinds.iter().map(|(task, _, fatal)| end(task, "panic: planted", *fatal)).collect();
    let found = ends_of(|_| async move {
        for (task, kind, _) in kinds {
            spawn_task(task, kind, async {
                panic!("planted");
            })
            .await
            .unwrap();
        }
    });
    assert_eq!(found, wanted);
    assert_eq!(*told.lock().unwrap(), "panic: planted", "the owner of the replica");
}

#[test]
fn a_task_of_the_node_may_return_only_once_the_node_stops() {
    let found = ends_of(|_| async move {
        let stop = CancellationToken::new();
        spawn_task("too early", TaskKind::Node(stop.clone()), async {}).await.unwrap();
        stop.cancel();
        spawn_task("in order", TaskKind::Node(stop), async {}).await.unwrap();
        spawn_task("part", TaskKind::Part, async {}).await.unwrap();
    });
    assert_eq!(found, [end("too early", "the task returned although the node goes on", true)]);
}

#[test]
fn an_aborted_task_has_not_ended_unexpectedly() {
    let found = ends_of(|scope| async move {
        let task = spawn_task("node", TaskKind::Node(CancellationToken::new()), std::future::pending());
        tokio::task::yield_now().await;
        scope.abort_all();
        assert!(task.await.unwrap_err().is_cancelled());
    });
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_panic_of_an_awaited_task_is_counted_and_reaches_the_owner() {
    let found = ends_of(|_| async move {
        let panicked = spawn(async {
            panic!("planted {}", 1);
        })
        .await
        .unwrap_err();
        assert!(panicked.is_panic());
    });
    let [end] = found.as_slice() else { panic!("{found:?}") };
    assert!(end.task.contains("tests.rs") && end.why == "planted 1" && !end.fatal, "{end:?}");
    assert_eq!(catch(|| 7), Ok(7));
    assert_eq!(catch(|| panic!("planted")), Err::<(), _>("planted".to_owned()));
}

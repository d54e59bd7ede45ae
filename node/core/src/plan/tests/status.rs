//! Status of stores and nodes.

use super::toy::Toy;
use crate::{
    ids::{GroupId, NodeId},
    plan::{WaitReason, plan, status},
};

#[test]
fn status_of_stores_and_nodes_says_what_they_wait_for() {
    let mut toy = Toy::with_store(3, 3);
    let id = toy.find("a").unwrap();
    let o = toy.observe();
    let now = plan(&toy.c, &o);
    let seen = status::store(&toy.c, &o, &now, id).unwrap();
    assert!(seen.quorum && seen.fully_replicated && seen.reason.is_none() && seen.members.len() == 3);
    let node = status::node(&toy.c, &o, &now, NodeId::new(1));
    assert_eq!(node.named_by, [GroupId::SYSTEM, toy.group("a")]);
    assert!(node.caught_up && node.blocked_by.is_empty() && node.waiting_for.is_empty());
    toy.down.insert(NodeId::new(2));
    toy.pass();
    let o = toy.observe();
    let now = plan(&toy.c, &o);
    let seen = status::store(&toy.c, &o, &now, id).unwrap();
    assert!(seen.quorum && !seen.fully_replicated);
    assert_eq!(seen.reason, Some(WaitReason::CatchingUp));
    assert!(status::node(&toy.c, &o, &now, NodeId::new(1)).blocked_by.contains("caught-up"));
    assert!(!status::node(&toy.c, &o, &now, NodeId::new(2)).caught_up);
}

//! Removal of stores, one test per rule.

use super::toy::Toy;
use crate::{
    catalogue::{CloseMode, Kind, NodeState},
    ids::NodeId,
    plan::WaitReason,
};

#[test]
fn removal_goes_on_when_nodes_die_in_the_middle() {
    let mut toy = Toy::with_store(3, 3);
    let id = toy.find("a").unwrap();
    toy.down.insert(NodeId::new(2));
    toy.run(Kind::Close { store: id, mode: CloseMode::Delete, declared_by: "u".into() });
    for _ in 0..20 {
        toy.pass();
    }
    assert!(toy.c.stores.contains_key(&id), "a node has not confirmed the removal of its data");
    toy.down.clear();
    toy.settle();
    assert!(toy.c.stores.is_empty() && toy.c.groups.is_empty());
}

#[test]
fn removal_does_not_wait_for_a_node_that_is_replaced() {
    let mut toy = Toy::with_store(4, 3);
    let id = toy.find("a").unwrap();
    let node = NodeId::new(toy.voters("a")[1]);
    toy.down.insert(node);
    toy.run(Kind::Close { store: id, mode: CloseMode::Delete, declared_by: "u".into() });
    toy.run(Kind::Replace { old: node, new: None });
    toy.settle();
    assert!(toy.c.stores.is_empty() && toy.c.groups.is_empty());
    assert_eq!(toy.c.nodes[&node].state, NodeState::Removed { forced: true });
}

#[test]
fn a_store_that_is_removed_says_how_many_nodes_still_have_data() {
    let mut toy = Toy::with_store(3, 3);
    let (store, group) = (toy.find("a").unwrap(), toy.group("a"));
    toy.run(Kind::Close { store, mode: CloseMode::Delete, declared_by: "u".into() });
    assert_eq!(toy.waiting(WaitReason::Removing).unwrap().sentence, "3 nodes still remove their data");
    toy.c.groups.get_mut(&group).unwrap().replicas.clear();
    assert_eq!(toy.waiting(WaitReason::Removing), None);
}

//! Rules of the catalogue and of the stores, one test per rule.

use super::toy::Toy;
use crate::{
    catalogue::{CloseMode, Kind, Rules},
    ids::NodeId,
    plan::{
        Action, plan,
        rules::{HeldUpBy, support},
    },
};

const ONE: Rules = Rules { catalogue: 1, stores: 1 };
const TWO: Rules = Rules { catalogue: 1, stores: 2 };

/// A cluster of three nodes whose binaries know the rules of stores 2, except the nodes in `old`.
fn upgraded(old: &[u64]) -> Toy {
    let mut toy = Toy::with_store(3, 3);
    let knows = |n: u64| (NodeId::new(n), if old.contains(&n) { ONE } else { TWO });
    toy.knows = (1..=3).map(knows).collect();
    toy
}

fn rules_of(toy: &Toy, store: &str) -> u32 {
    toy.groups[&toy.group(store)].rules
}

/// The planned commands that raise rules: those of the catalogue, and the number of those of stores.
fn planned(toy: &mut Toy) -> (Vec<Rules>, usize) {
    let o = toy.observe();
    let (mut decided, mut stores) = (Vec::new(), 0);
    for action in plan(&toy.c, &o).actions {
        match action {
            Action::Propose(Kind::RaiseRules(rules)) => decided.push(rules),
            Action::RaiseRules { rules, .. } => {
                assert_eq!(rules, toy.c.rules.stores);
                stores += 1;
            }
            Action::Propose(_)
            | Action::ChangeMembership { .. }
            | Action::Settings { .. }
            | Action::Transfer { .. } => {}
        }
    }
    (decided, stores)
}

#[test]
fn the_rules_rise_once_every_binary_knows_them_also_those_of_a_later_store() {
    let mut toy = upgraded(&[]);
    assert_eq!(planned(&mut toy), (vec![TWO], 0), "stores follow the decision of the catalogue");
    toy.settle();
    assert_eq!((toy.c.rules, rules_of(&toy, "a")), (TWO, 2));
    toy.declare("b", 3);
    toy.settle();
    assert_eq!(rules_of(&toy, "b"), 2);
    assert_eq!(planned(&mut toy), (vec![], 0));
}

#[test]
fn a_node_with_an_older_binary_holds_the_rules_up_and_is_named() {
    let mut toy = upgraded(&[2]);
    toy.settle();
    assert_eq!((toy.c.rules, rules_of(&toy, "a")), (ONE, 1));
    let o = toy.observe();
    let found = support(&toy.c, &o);
    assert_eq!(found.raised, ONE);
    assert_eq!(found.held_up_by, [HeldUpBy { node: NodeId::new(2), knows: Some(ONE) }]);
    toy.knows.insert(NodeId::new(2), TWO);
    toy.settle();
    assert_eq!((toy.c.rules, rules_of(&toy, "a")), (TWO, 2));
    let o = toy.observe();
    assert!(support(&toy.c, &o).held_up_by.is_empty());
}

#[test]
fn a_node_that_does_not_answer_holds_the_rules_up() {
    let mut toy = upgraded(&[]);
    toy.down.insert(NodeId::new(3));
    toy.quiet_down();
    assert_eq!(toy.c.rules, ONE);
    let o = toy.observe();
    assert_eq!(support(&toy.c, &o).held_up_by, [HeldUpBy { node: NodeId::new(3), knows: None }]);
}

#[test]
fn without_the_policy_only_a_decision_raises_the_rules_of_stores() {
    let mut toy = upgraded(&[]);
    toy.raise_rules = false;
    toy.settle();
    assert_eq!((toy.c.rules, rules_of(&toy, "a")), (ONE, 1));
    toy.run(Kind::RaiseRules(TWO));
    assert_eq!(planned(&mut toy), (vec![], 1));
    toy.settle();
    assert_eq!(rules_of(&toy, "a"), 2);
}

#[test]
fn a_group_without_a_majority_and_a_store_being_removed_are_left_alone() {
    let mut toy = upgraded(&[]);
    toy.run(Kind::RaiseRules(TWO));
    let (store, group) = (toy.find("a").unwrap(), toy.group("a"));
    let mut o = toy.observe();
    o.groups.get_mut(&group).unwrap().quorum = false;
    assert!(!plan(&toy.c, &o).actions.iter().any(|a| matches!(a, Action::RaiseRules { .. })));
    toy.run(Kind::Close { store, mode: CloseMode::Delete, declared_by: "u".into() });
    assert_eq!(planned(&mut toy).1, 0);
}

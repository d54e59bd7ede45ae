//! Settings in the logs of stores, one test per rule.

use super::toy::Toy;
use crate::{
    catalogue::{CloseMode, Kind},
    plan::{Action, plan},
    stream::Settings,
};

fn settings(toy: &mut Toy) -> Vec<Settings> {
    let o = toy.observe();
    let of = |action: Action| if let Action::Settings { settings, .. } = action { Some(settings) } else { None };
    plan(&toy.c, &o).actions.into_iter().filter_map(of).collect()
}

#[test]
fn a_retained_store_is_closed_in_its_log_and_an_adopted_store_is_opened_again() {
    let mut toy = Toy::with_store(3, 3);
    let (id, group) = (toy.find("a").unwrap(), toy.group("a"));
    let before = Settings { version: 7, repeat_window_us: 8, closed: false };
    toy.groups.get_mut(&group).unwrap().settings = before;
    assert!(settings(&mut toy).is_empty(), "an active store stays open");
    toy.run(Kind::Close { store: id, mode: CloseMode::Retain, declared_by: "u".into() });
    assert_eq!(settings(&mut toy), [Settings { version: 8, closed: true, ..before }]);
    toy.settle();
    assert!(toy.groups[&group].settings.closed);
    toy.declare_or_adopt("a", 3, Some(id));
    toy.settle();
    assert_eq!(toy.groups[&group].settings, Settings { version: 9, ..before });
}

#[test]
fn a_group_without_a_majority_and_a_store_being_removed_get_no_settings() {
    let mut toy = Toy::with_store(3, 3);
    let id = toy.find("a").unwrap();
    toy.run(Kind::Close { store: id, mode: CloseMode::Retain, declared_by: "u".into() });
    let mut o = toy.observe();
    let group = toy.group("a");
    o.groups.get_mut(&group).unwrap().quorum = false;
    assert!(!plan(&toy.c, &o).actions.iter().any(|a| matches!(a, Action::Settings { .. })));
    toy.run(Kind::Close { store: id, mode: CloseMode::Delete, declared_by: "u".into() });
    assert!(settings(&mut toy).is_empty());
}

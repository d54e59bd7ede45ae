//! Replacement of nodes that lost their volume.

use super::*;

/// Observation of `main-1` with an empty volume: a new node beside the old node of the same name.
fn emptied() -> Observation {
    let mut observation = rest(3);
    let mut lost = node(1, NodeState::Member);
    let mut fresh = node(1, NodeState::Member);
    if let (Some(lost), Some(fresh)) = (lost.node.as_mut(), fresh.node.as_mut()) {
        lost.reachable = false;
        fresh.node_id = 9;
        fresh.disk_id = "disk-1b".to_owned();
    }
    view(&mut observation).nodes[1] = lost;
    view(&mut observation).nodes.push(fresh);
    if let Some(NodeObservation::Status(status)) = observation.pods.get_mut(&1).map(|pod| &mut pod.node) {
        status.disk_id = "disk-1b".to_owned();
        status.node_id = 9;
    }
    observation
}

fn replaces(plan: &Plan) -> bool {
    let replace = Action::Replace { old: 2, new: 9, pod: "main-1".to_owned() };
    plan.actions.contains(&replace)
}

#[test]
fn an_emptied_volume_is_replaced_after_a_minute_and_only_when_safe() {
    let early = plan(&wish(3), &emptied(), at(59));
    assert!(!replaces(&early) && early.recheck.is_some());
    assert!(early.degraded.is_some());
    assert!(replaces(&plan(&wish(3), &emptied(), at(61))));

    let mut unsafe_now = emptied();
    view(&mut unsafe_now).nodes[1].disruption_blocked_by = "orders".to_owned();
    assert!(!replaces(&plan(&wish(3), &unsafe_now, at(61))));

    let mut busy = emptied();
    view(&mut busy).replacements.push(taffrail_proto::admin::ReplacementView {
        old_node_id: 7,
        new_node_id: 8,
        ..Default::default()
    });
    assert!(!replaces(&plan(&wish(3), &busy, at(61))));

    let mut back = emptied();
    if let Some(lost) = view(&mut back).nodes[1].node.as_mut() {
        lost.reachable = true;
    }
    assert!(!replaces(&plan(&wish(3), &back, at(61))));
}

//! Disruption grant: requested, renewed, released.

use super::*;

fn ours(node_id: u64) -> Vec<Grant> {
    vec![Grant { node_id, holder: HOLDER.to_owned(), expires_in_ms: 0 }]
}

fn theirs(node_id: u64) -> Vec<Grant> {
    vec![Grant { node_id, holder: "someone else".to_owned(), expires_in_ms: 0 }]
}

fn released(plan: &Plan) -> Option<u64> {
    plan.actions.iter().find_map(|action| {
        let Action::Release { node_id, .. } = action else { return None };
        Some(*node_id)
    })
}

#[test]
fn our_own_grant_goes_on_and_is_given_back_when_the_pod_is_caught_up() {
    let mut observation = rest(3);
    outdated(&mut observation, &[0, 1]);
    view(&mut observation).grants = ours(2);
    let going = plan(&wish(3), &observation, at(1000));
    assert_eq!((restarted(&going), released(&going)), (Some("main-1"), None));
    observation.pods.get_mut(&1).expect("a pod").revision = "new".to_owned();
    let back = plan(&wish(3), &observation, at(1000));
    assert!(back.actions.contains(&Action::Release { node_id: 2, pod: "main-1".to_owned() }));
    assert_eq!(restarted(&back), None);
}

#[test]
fn a_grant_is_kept_while_its_pod_is_away_and_not_while_no_step_needs_it() {
    let mut away = rest(3);
    view(&mut away).grants = ours(2);
    away.pods.get_mut(&1).expect("a pod").ready = false;
    assert_eq!(released(&plan(&wish(3), &away, at(1))), None);
    let mut behind = rest(3);
    view(&mut behind).grants = ours(2);
    view(&mut behind).nodes[1].caught_up = false;
    assert_eq!(released(&plan(&wish(3), &behind, at(1))), None);

    // Granted, but another pod became unready before the restart: the grant is requested again later.
    let mut waiting = rest(3);
    outdated(&mut waiting, &[1]);
    view(&mut waiting).grants = ours(2);
    let other = waiting.pods.get_mut(&2).expect("a pod");
    (other.ready, other.created) = (false, at(999));
    let waiting = plan(&wish(3), &waiting, at(1000));
    assert_eq!((restarted(&waiting), released(&waiting)), (None, Some(2)));
}

#[test]
fn a_scale_down_asks_for_the_grant_and_waits_for_that_of_another() {
    let mut observation = rest(3);
    let drains = |observation: &Observation| plan(&wish(2), observation, at(1000)).actions;
    let asked = [Action::Drain { node_id: 3, pod: "main-2".to_owned(), needs_grant: true }];
    assert_eq!(drains(&observation), asked);
    view(&mut observation).grants = ours(3);
    assert_eq!(drains(&observation), asked, "renewed");
    for grants in [theirs(1), theirs(3)] {
        view(&mut observation).grants = grants;
        let waiting = plan(&wish(2), &observation, at(1000));
        assert!(!waiting.is_disturbing(), "{waiting:?}");
        let step = waiting.steps.iter().find(|step| step.step == Step::DrainNode).expect("a step");
        assert!(step.waiting_for.as_deref().is_some_and(|why| why.contains("the disruption of")), "{step:?}");
    }
    // Where no grant is available without the drain, the drain goes ahead without a grant.
    let mut two = rest(2);
    for node in &mut view(&mut two).nodes {
        node.disruption_blocked_by = "the system group would keep 1 caught-up of 2 voters".to_owned();
    }
    let without = plan(&wish(1), &two, at(1000));
    assert_eq!(without.actions, [Action::Drain { node_id: 2, pod: "main-1".to_owned(), needs_grant: false }]);
}

#[test]
fn a_drained_pod_is_taken_only_while_no_other_node_is_out_and_its_grant_is_given_back_then() {
    // Drained: the catalogue no longer lists the node, and the grant is the only trace.
    let mut observation = rest(3);
    view(&mut observation).nodes.pop();
    for (grants, shrinks) in [(vec![], true), (ours(3), true), (ours(1), false), (theirs(1), false), (theirs(3), false)]
    {
        view(&mut observation).grants.clone_from(&grants);
        let removal = plan(&wish(2), &observation, at(1000));
        assert_eq!(removal.shrinks, shrinks, "{grants:?}");
        assert_ne!(released(&removal), Some(3), "{grants:?}");
    }
    // The set has shrunk and the pod is still stopping; then the pod is gone.
    view(&mut observation).grants = ours(3);
    observation.recorded = identity(true, 2);
    observation.set.as_mut().expect("a set").replicas = 2;
    observation.pods.get_mut(&2).expect("a pod").terminating = true;
    assert_eq!(released(&plan(&wish(2), &observation, at(1000))), None);
    observation.pods.remove(&2);
    assert_eq!(released(&plan(&wish(2), &observation, at(1000))), Some(3));
}

#[test]
fn a_drain_that_is_called_off_gives_the_grant_back() {
    let mut observation = rest(3);
    view(&mut observation).nodes[2] = node(2, NodeState::Draining);
    view(&mut observation).grants = ours(3);
    let kept = plan(&wish(3), &observation, at(1000));
    assert!(kept.actions.contains(&Action::CancelDrain { node_id: 3, pod: "main-2".to_owned() }), "{kept:?}");
    assert_eq!(released(&kept), Some(3));
}

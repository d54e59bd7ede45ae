//! Rollout of a changed template.

use super::*;

#[test]
fn a_changed_template_takes_the_node_with_the_fewest_leaders_first() {
    let mut observation = rest(3);
    outdated(&mut observation, &[0, 1, 2]);
    for (index, leaders) in [2, 5, 3].into_iter().enumerate() {
        view(&mut observation).nodes[index].node.as_mut().expect("a node").leader_count = Some(leaders);
    }
    assert_eq!(restarted(&plan(&wish(3), &observation, at(1000))), Some("main-0"));
}

#[test]
fn no_second_pod_goes_while_the_first_is_away_or_behind() {
    let base = || {
        let mut observation = rest(3);
        outdated(&mut observation, &[0, 1]);
        observation
    };
    let mut away = base();
    away.pods.remove(&2);
    let mut stopping = base();
    stopping.pods.get_mut(&2).expect("a pod").terminating = true;
    let mut unready = base();
    unready.pods.get_mut(&2).expect("a pod").ready = false;
    unready.pods.get_mut(&2).expect("a pod").created = at(999);
    let mut behind = base();
    view(&mut behind).nodes[2].caught_up = false;
    let mut guarded = base();
    for node in &mut view(&mut guarded).nodes {
        node.disruption_blocked_by = "orders".to_owned();
    }
    let mut granted = base();
    view(&mut granted).grants = vec![Grant { node_id: 3, holder: "someone else".to_owned(), expires_in_ms: 1000 }];
    for observation in [away, stopping, unready, behind, guarded, granted] {
        let plan = plan(&wish(3), &observation, at(1000));
        assert_eq!(restarted(&plan), None, "{plan:?}");
        assert!(plan.steps.iter().any(|step| step.step == Step::RestartPod && step.waiting_for.is_some()));
    }
}

#[test]
fn a_pod_that_does_not_come_back_halts_the_rollout_until_the_template_changes() {
    let mut observation = rest(3);
    outdated(&mut observation, &[0, 1]);
    let bad = observation.pods.get_mut(&2).expect("a pod");
    bad.ready = false;
    bad.running = false;
    bad.node = NodeObservation::Silent("the process does not run yet".to_owned());
    bad.problem = Some(PodProblem { reason: Reason::ImagePullFailed, message: "main-2: ImagePullBackOff".to_owned() });
    let halted = plan(&wish(3), &observation, at(1000));
    assert_eq!(halted.stalled.as_ref().map(|s| s.0), Some(Reason::RolloutHalted));
    assert!(!halted.is_disturbing(), "{halted:?}");
    observation.set = Some(SetObservation { replicas: 3, revision: Some("newer".to_owned()) });
    let resumed = plan(&wish(3), &observation, at(1000));
    assert_eq!(resumed.actions, [Action::DeleteBroken { pod: "main-2".to_owned(), uid: "uid-2".to_owned() }]);
}

#[test]
fn without_a_view_only_pods_that_do_not_run_are_touched() {
    let mut observation = rest(3);
    outdated(&mut observation, &[0, 1, 2]);
    observation.view = None;
    let nothing = plan(&wish(1), &observation, at(1000));
    assert!(!nothing.is_disturbing());
    let broken = observation.pods.get_mut(&1).expect("a pod");
    (broken.running, broken.ready) = (false, false);
    let plan = plan(&wish(1), &observation, at(1000));
    assert!(matches!(&plan.actions[..], [Action::DeleteBroken { pod, .. }] if pod == "main-1"), "{plan:?}");
    assert_eq!((plan.size, plan.shrinks), (3, false));
}

#[test]
fn leaders_of_single_voter_stores_do_not_hold_a_restart_up() {
    let mut observation = rest(1);
    outdated(&mut observation, &[0]);
    let mut single = store("small", 1, StoreState::Active);
    if let Some(store) = single.store.as_mut() {
        store.leader_node_id = Some(1);
        store.members = vec![Replica { node_id: 1, voter: Some(true), leader: Some(true), ..Replica::default() }];
    }
    view(&mut observation).stores = vec![single];
    observation.stores = vec![StoreObservation { uid: "uid-small".to_owned(), name: "small".to_owned(), replicas: 1 }];
    let plan = plan(&wish(1), &observation, at(1000));
    assert!(matches!(&plan.actions[..], [Action::Restart { leads: 0, .. }]), "{plan:?}");
}

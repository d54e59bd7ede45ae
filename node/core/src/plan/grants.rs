//! The grant of a replacement. Whoever asks for one gets the disruption grant with it, under a name of its own, so that no
//! other node is taken away while a group lives on what is left. It ends with the replacement; one that never ends keeps
//! it for its time only, since what it waits for may need a grant itself.

use super::{Observed, Plan};
use crate::catalogue::{Catalogue, Kind, NodeState};

/// Who holds the grant of a replacement.
pub const REPLACEMENT: &str = "replacement";
/// How long it may hold it, in microseconds: a log of any length must be fetched within it.
pub const REPLACEMENT_TTL_US: u64 = 600_000_000;

/// Gives it back once the lost node is out of the catalogue. Not earlier: between the grant and the command that it was
/// asked for the node is a member still.
pub(super) fn plan(c: &Catalogue, o: &Observed, plan: &mut Plan) {
    let Some(grant) = c.live_grant(o.now_us).filter(|g| g.holder == REPLACEMENT) else { return };
    let gone = c.nodes.get(&grant.node).is_none_or(|n| matches!(n.state, NodeState::Removed { .. }));
    if gone {
        plan.propose(Kind::ReleaseGrant { node: grant.node, holder: grant.holder.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalogue::{Grant, Node},
        ids::{DiskId, NodeId},
        plan::{Action, Plan},
    };
    use uuid::Uuid;

    const LOST: NodeId = NodeId::new(2);

    fn planned(holder: &str, until_us: u64, state: NodeState) -> Vec<Action> {
        let grant = Grant { node: LOST, holder: holder.into(), until_us };
        let mut c = Catalogue { clock_us: 100, grant: Some(grant), ..Catalogue::default() };
        let disk = DiskId::new(Uuid::from_u128(2));
        let (name, address, version) = (String::new(), String::new(), String::new());
        c.nodes.insert(LOST, Node { disk, name, address, version, state });
        let mut planned = Plan::default();
        plan(&c, &Observed { now_us: 100, ..Observed::default() }, &mut planned);
        planned.actions
    }

    #[test]
    fn a_replacement_gives_its_grant_back_when_the_lost_node_is_gone_and_not_earlier() {
        let gone = NodeState::Removed { forced: true };
        let release = Action::Propose(Kind::ReleaseGrant { node: LOST, holder: REPLACEMENT.into() });
        assert_eq!(planned(REPLACEMENT, 200, gone), [release]);
        for state in [NodeState::Member, NodeState::Draining, NodeState::Replacing { by: None }] {
            assert_eq!(planned(REPLACEMENT, 200, state), []);
        }
        assert_eq!(planned("operator", 200, gone), [], "another holder gives back its own");
        assert_eq!(planned(REPLACEMENT, 100, gone), [], "one that has run out is none");
    }
}

//! RPCs for the declaration and the end of stores.

use super::{
    parse::uuid,
    propose::{propose, propose_if_needed, reason, refused},
};
use crate::member::member::Member;
use futures::{StreamExt, TryStreamExt};
use std::collections::BTreeSet;
use taffrail_core::{
    catalogue::{CatalogueOutcome, CloseMode as Mode, Declaration, Kind, Refused},
    ids::StoreId,
    names::StoreName,
};
use taffrail_proto::admin as pb;
use taffrail_runtime as rt;
use tonic::Status;

/// Concurrent proposals of a call.
const CONCURRENCY: usize = 32;

/// Creates each store as declared, or returns the reason of the refusal. A refusal does not affect the other
/// stores of the call.
pub(super) async fn declare(
    member: &Member,
    request: pb::DeclareStoresRequest,
) -> Result<pb::DeclareStoresResponse, Status> {
    let parsed = parse(request.stores);
    let results = futures::stream::iter(parsed).map(|parsed| declare_one(member, parsed)).buffered(CONCURRENCY);
    Ok(pb::DeclareStoresResponse { results: results.try_collect().await? })
}

/// A valid declaration with the head of the result, or the result of an invalid declaration.
type Parsed = Result<(pb::DeclareResult, Declaration), pb::DeclareResult>;

fn parse(declarations: Vec<pb::StoreDeclaration>) -> Vec<Parsed> {
    let mut names = BTreeSet::new();
    declarations
        .into_iter()
        .map(|d| {
            let result =
                pb::DeclareResult { namespace: d.namespace.clone(), name: d.name.clone(), ..Default::default() };
            let invalid =
                |why: String| pb::DeclareResult { reason: "InvalidSpec".into(), message: why, ..result.clone() };
            let name = StoreName::new(&d.namespace, &d.name).map_err(|e| invalid(e.to_string()))?;
            // Declarations are proposed concurrently, so the order of two with the same name would be random.
            if !names.insert(name.clone()) {
                return Err(invalid("the store is declared twice in one call".into()));
            }
            let adopt = match d.store_id.as_str() {
                "" => None,
                id => Some(uuid("store_id", id).map(StoreId::new).map_err(|e| invalid(e.message().to_owned()))?),
            };
            let minted = StoreId::new(rt::new_uuid());
            Ok((result, Declaration { name, replicas: d.replicas, adopt, minted, declared_by: d.declared_by }))
        })
        .collect()
}

async fn declare_one(member: &Member, parsed: Parsed) -> Result<pb::DeclareResult, Status> {
    let (mut result, declaration) = match parsed {
        Ok(parsed) => parsed,
        Err(invalid) => return Ok(invalid),
    };
    match propose(member, Kind::Declare(declaration)).await? {
        CatalogueOutcome::Store(id) => result.store_id = id.to_string(),
        CatalogueOutcome::Refused(why) => {
            if let Refused::RetainedDataExists { id, .. } = &why {
                result.store_id = id.to_string();
            }
            (result.reason, result.message) = (reason(&why).into(), why.to_string());
        }
        other @ (CatalogueOutcome::Done
        | CatalogueOutcome::Node(_)
        | CatalogueOutcome::NodeRemoved { .. }
        | CatalogueOutcome::Replica(_)) => return Err(Status::internal(format!("unexpected answer {other:?}"))),
    }
    Ok(result)
}

/// Stops serving a store and, under DELETE, removes the data of the store. The operator repeats the call until done.
pub(super) async fn close(member: &Member, request: pb::CloseStoreRequest) -> Result<pb::CloseStoreResponse, Status> {
    let mode = match request.mode() {
        pb::CloseMode::Retain => Mode::Retain,
        pb::CloseMode::Delete => Mode::Delete,
        pb::CloseMode::Unspecified => return Err(Status::invalid_argument("mode: must be RETAIN or DELETE")),
    };
    let store = StoreId::new(uuid("store_id", &request.store_id)?);
    let kind = Kind::Close { store, mode, declared_by: request.declared_by };
    if let CatalogueOutcome::Refused(why) = propose_if_needed(member, kind).await? {
        return Err(refused(&why));
    }
    let catalogue = member.applied();
    let left = catalogue.stores.get(&store).and_then(|s| catalogue.groups.get(&s.group));
    let (done, waiting_for) = match (mode, left) {
        (Mode::Retain, _) | (Mode::Delete, None) => {
            (!catalogue.stores.contains_key(&store) || mode == Mode::Retain, String::new())
        }
        (Mode::Delete, Some(group)) => (false, format!("{} nodes still remove their data", group.replicas.len())),
    };
    Ok(pb::CloseStoreResponse { done, waiting_for })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_that_cannot_be_one_spoils_no_other() {
        let declaration = |name: &str, store_id: &str| pb::StoreDeclaration {
            namespace: "default".into(),
            name: name.into(),
            replicas: 3,
            store_id: store_id.into(),
            declared_by: "uid".into(),
        };
        let all = vec![
            declaration("orders", ""),
            declaration("Not a name", ""),
            declaration("notes", "not a uuid"),
            declaration("orders", ""),
            declaration("payments", ""),
        ];
        let parsed = parse(all);
        let good: Vec<bool> = parsed.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, false, false, false, true]);
        for (result, says) in
            parsed.iter().filter_map(|p| p.as_ref().err()).zip(["store: must be", "store_id", "twice"])
        {
            assert_eq!(result.reason, "InvalidSpec");
            assert!(result.message.contains(says), "{}", result.message);
        }
    }
}

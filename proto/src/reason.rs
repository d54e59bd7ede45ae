//! Reasons of errors: a single table with the wire name, gRPC code, meaning and remedy of each value of the enum
//! [`crate::v1::Reason`]. The enum has the numbers on the wire, the table has the texts.

use crate::v1;
use tonic::Code;

/// Domain of every reason in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "taffrail.io";

macro_rules! reasons {
    ($($variant:ident = $text:literal, $code:ident, $meaning:literal, $remedy:literal;)*) => {
        /// Reason of an error. The wire names are stable, and clients may depend on the names. [`reference()`] writes
        /// docs/ERRORS.md from this table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)*
        }
        impl Reason {
            /// All reasons, in the order of docs/ERRORS.md.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// Returns the name in `google.rpc.ErrorInfo`: the name of the enum value without the prefix `REASON_`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
            /// Returns the enum value on the wire.
            #[must_use]
            pub const fn to_proto(self) -> v1::Reason {
                match self { $(Self::$variant => v1::Reason::$variant,)* }
            }
            /// Returns the gRPC code of an error with this reason.
            #[must_use]
            pub const fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)* }
            }
            /// Returns the meaning as a sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
            /// Returns the remedy: the next action of the caller or operator.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }
        }
    };
}

reasons! {
    InvalidArgument = "INVALID_ARGUMENT", InvalidArgument, "A field of the request breaks a rule; the details `field` and `rule` name both.", "Correct the field.";
    EventTooLarge = "EVENT_TOO_LARGE", InvalidArgument, "Data and metadata of an event exceed the limit.", "Store a large payload elsewhere and append a reference, or raise limits.event_bytes_max.";
    BatchTooLarge = "BATCH_TOO_LARGE", InvalidArgument, "The events of an append exceed the limit.", "Split the append, or raise limits.batch_bytes_max.";
    WrongRevision = "WRONG_REVISION", FailedPrecondition, "The stream is not at the expected revision; the detail `actual` holds the actual revision, or `absent`.", "Read the stream, decide again, and append with the new revision.";
    StreamFull = "STREAM_FULL", ResourceExhausted, "The revisions or positions of the stream are used up.", "Use another stream.";
    EventIdReused = "EVENT_ID_REUSED", AlreadyExists, "An earlier append of another batch used the id of the first event.", "Use a new id for a new event, and retry a batch only unchanged.";
    StoreClosed = "STORE_CLOSED", FailedPrecondition, "The store is closed and takes no appends.", "Declare the store again to open the store.";
    UpgradePending = "UPGRADE_PENDING", Unavailable, "The append needs rules that the store has not put in force yet; nothing was stored.", "Retry after the given delay. If the error stays, upgrade the remaining nodes.";
    StreamNotFound = "STREAM_NOT_FOUND", NotFound, "The stream has no events.", "Check the name; a stream begins with its first append.";
    StoreNotFound = "STORE_NOT_FOUND", NotFound, "The cluster has no store with this name; the detail `nearest` lists similar names.", "Check the metadata `taffrail-store` or the address.";
    StoreRequired = "STORE_REQUIRED", InvalidArgument, "The call names no store, and the cluster has no default store.", "Set the metadata `taffrail-store`, or spec.defaultStore of the Cluster.";
    StoreAmbiguous = "STORE_AMBIGUOUS", InvalidArgument, "The address has a store name without a namespace, and stores of several namespaces have this name; the detail `candidates` lists the stores.", "Use the address `name.namespace`, or set the metadata `taffrail-store`.";
    StoreRetained = "STORE_RETAINED", FailedPrecondition, "The store is retained: its EventStore was deleted and its events are kept, not served.", "Create an EventStore with this storeId to serve the store again.";
    StoreRemoving = "STORE_REMOVING", FailedPrecondition, "The store is being removed.", "Use another store.";
    NotLeader = "NOT_LEADER", Unavailable, "This replica is not the leader; nothing was proposed.", "Call the node in the details `leader_node_id` and `leader_client_address`, or retry on any node.";
    NoLeader = "NO_LEADER", Unavailable, "The store has no leader now; nothing was proposed.", "Retry after the given delay. If the error stays, check the store.";
    NoQuorum = "NO_QUORUM", Unavailable, "No majority of the voters confirmed the call.", "Retry after the given delay. If the error stays, check the nodes and the network.";
    Overloaded = "OVERLOADED", ResourceExhausted, "Too many appends are waiting for this store, or the memory for requests or for answers to slow readers is in use; nothing was proposed.", "Reduce the rate and retry.";
    StorageLow = "STORAGE_LOW", ResourceExhausted, "A disk is nearly full: that of the leader's node, or those of so many voters that no majority takes entries; nothing was proposed. Reads go on.", "Free or enlarge the disks, for example by deleting stores. Appends go on without a restart.";
    Deadline = "DEADLINE", DeadlineExceeded, "The deadline of the call passed before anything was proposed.", "Set a longer deadline.";
    OutcomeUnknown = "OUTCOME_UNKNOWN", Unknown, "The append, or the change of a store, may or may not be carried out.", "Retry an append with the same event ids; the events are stored only once. Repeat the creation or removal of a store unchanged.";
    NotServing = "NOT_SERVING", Unavailable, "This node does not serve now.", "Call another node, or retry after the given delay.";
    ShuttingDown = "SHUTTING_DOWN", Unavailable, "This node is shutting down.", "Call another node; resume subscriptions after the last position.";
    DataCorrupt = "DATA_CORRUPT", DataLoss, "Stored bytes fail their checksum.", "Replace the volume of the node; other replicas hold the data.";
    Storage = "STORAGE", Internal, "The disk of the node failed.", "Check the log and the volume of the node.";
    StoreChanged = "STORE_CHANGED", FailedPrecondition, "The start of the read or subscription belongs to another store than the addressed store; the detail `store_id` holds the id of the addressed store.", "Address the former store, or start again from the first event.";
    Unsupported = "UNSUPPORTED", Unimplemented, "The call needs a feature that the node does not know; the detail `features` lists the numbers. Nothing was done.", "Wait for the end of an upgrade of the nodes, or call without the feature.";
    SelectorChanged = "SELECTOR_CHANGED", FailedPrecondition, "The resume token belongs to another selector than the selector of the call.", "Use the selector with which the token was received, or start again from the first event.";
    LineageChanged = "LINEAGE_CHANGED", FailedPrecondition, "The store was rebuilt after the resume token was given out; positions may mean other events.", "Compare the processed events with the store, then start again without the token.";
    StoreExists = "STORE_EXISTS", AlreadyExists, "A store with the name exists and has other settings; the details `store_id` and `replicas` describe the store. Nothing was changed.", "Use the store, or another name.";
    StoreDeclared = "STORE_DECLARED", FailedPrecondition, "An EventStore declares the store, so calls neither create nor remove the store; the detail `store_id` holds the id of the store.", "Change or delete the EventStore instead. A retained store is removed by an EventStore with this storeId and deletionPolicy Delete.";
    NotEnoughNodes = "NOT_ENOUGH_NODES", FailedPrecondition, "The cluster has fewer nodes than the store needs replicas; the details `wanted` and `have` hold both numbers.", "Ask for fewer replicas, or add nodes.";
    PositionAhead = "POSITION_AHEAD", OutOfRange, "The position of the call is beyond the end of the store; the detail `last_position` holds the last position.", "Check that the position comes from this store: the store may have been created again. Otherwise start again from the first event.";
}

/// Returns the content of docs/ERRORS.md.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Errors\n\nEvery error has a `google.rpc.ErrorInfo` with the domain `taffrail.io` and a reason of this table, and a \
         `taffrail.v1.ErrorDetail` with the same reason as an enum value and the other facts as typed fields. Generated from \
         `proto/src/reason.rs`; `make fix` writes this page again.\n\n| reason | gRPC code | meaning | remedy |\n|---|---|---|---|\n",
    );
    for r in Reason::ALL {
        page.push_str(&format!("| `{}` | {:?} | {} | {} |\n", r.as_str(), r.code(), r.meaning(), r.remedy()));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_enum_have_the_same_reasons() {
        for reason in Reason::ALL {
            assert_eq!(reason.to_proto().as_str_name(), format!("REASON_{}", reason.as_str()));
        }
        let numbers: Vec<i32> = (1..).take_while(|n| v1::Reason::try_from(*n).is_ok()).collect();
        assert_eq!(numbers.len(), Reason::ALL.len(), "a value of the enum is not in the table");
    }

    #[test]
    fn the_reference_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ERRORS.md");
        if std::env::var_os("TAFFRAIL_FIX").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), reference(), "run `make fix`");
    }
}

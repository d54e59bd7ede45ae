//! The stable reasons of errors, which `google.rpc.ErrorInfo` carries: text, gRPC code, meaning and remedy in one table.

use tonic::Code;

/// The domain of every reason.
pub const DOMAIN: &str = "taffrail.io";

macro_rules! reasons {
    ($($variant:ident = $text:literal, $code:ident, $meaning:literal, $remedy:literal;)*) => {
        /// Stable reasons. Clients may depend on the text; docs/ERRORS.md is made from this table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)*
        }
        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// The text on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
            /// The gRPC code it comes with.
            #[must_use]
            pub const fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)* }
            }
            /// What it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
            /// What to do.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }
        }
    };
}

reasons! {
    InvalidArgument = "INVALID_ARGUMENT", InvalidArgument, "A field breaks a rule; `field` and `rule` name them.", "Correct the field.";
    EventTooLarge = "EVENT_TOO_LARGE", InvalidArgument, "Data and metadata of one event exceed the limit.", "Store large payloads elsewhere and append a reference, or raise limits.event_bytes_max.";
    BatchTooLarge = "BATCH_TOO_LARGE", InvalidArgument, "The events of one append exceed the limit.", "Split the append, or raise limits.batch_bytes_max.";
    WrongRevision = "WRONG_REVISION", FailedPrecondition, "The stream is not at the expected revision; `actual` says where it is.", "Read the stream, decide again, append with the new revision.";
    StreamFull = "STREAM_FULL", ResourceExhausted, "Revisions or positions of the stream are used up.", "Use another stream.";
    EventIdReused = "EVENT_ID_REUSED", AlreadyExists, "The first event id was appended before, in another batch.", "Use a new id for a new event; retry a batch only unchanged.";
    StoreClosed = "STORE_CLOSED", FailedPrecondition, "The store takes no appends.", "Declare the store again to open it.";
    StreamNotFound = "STREAM_NOT_FOUND", NotFound, "The stream has no events.", "Check the name; a stream begins with its first append.";
    StoreNotFound = "STORE_NOT_FOUND", NotFound, "No such store; `nearest` lists similar names.", "Check `taffrail-store` or the address.";
    StoreRequired = "STORE_REQUIRED", InvalidArgument, "The call names no store and there is no default.", "Set metadata `taffrail-store`, or spec.defaultStore of the Cluster.";
    StoreAmbiguous = "STORE_AMBIGUOUS", InvalidArgument, "A bare store name in the address, which stores of several namespaces have; `candidates` lists them.", "Address `name.namespace`, or set metadata `taffrail-store`.";
    StoreRetained = "STORE_RETAINED", FailedPrecondition, "The store's declaration is gone; its data is only kept.", "Declare an EventStore with this storeId to serve it again.";
    StoreRemoving = "STORE_REMOVING", FailedPrecondition, "The store is being removed.", "Use another store.";
    NotLeader = "NOT_LEADER", Unavailable, "This replica does not lead; nothing was proposed.", "Call the node in `leader_node`, or any node again.";
    NoLeader = "NO_LEADER", Unavailable, "The store has no leader now; nothing was proposed.", "Retry after the given time; look at the store if it lasts.";
    NoQuorum = "NO_QUORUM", Unavailable, "No majority confirmed the call.", "Retry after the given time; look at nodes and network if it lasts.";
    Overloaded = "OVERLOADED", ResourceExhausted, "Too many appends wait for this store; nothing was proposed.", "Slow down and retry.";
    Deadline = "DEADLINE", DeadlineExceeded, "The deadline passed before anything was proposed.", "Give more time.";
    OutcomeUnknown = "OUTCOME_UNKNOWN", Unknown, "The append may or may not be stored.", "Retry with the same event ids: it is stored once.";
    NotServing = "NOT_SERVING", Unavailable, "This node does not serve now.", "Call another node, or retry after the given time.";
    ShuttingDown = "SHUTTING_DOWN", Unavailable, "This node is stopping.", "Call another node; resume subscriptions after the last position.";
    Corrupt = "DATA_CORRUPT", DataLoss, "Stored bytes fail their checksum.", "Replace the node's volume; other replicas hold the data.";
    Storage = "STORAGE", Internal, "The disk failed.", "Look at the node's log and volume.";
}

/// docs/ERRORS.md.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Errors\n\nEvery error carries `google.rpc.ErrorInfo` with domain `taffrail.io` and one of these reasons. Generated from \
         `proto/src/reason.rs`; `make fix` writes it again.\n\n| reason | gRPC code | meaning | remedy |\n|---|---|---|---|\n",
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
    fn the_reference_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ERRORS.md");
        if std::env::var_os("TAFFRAIL_FIX").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), reference(), "run `make fix`");
    }
}

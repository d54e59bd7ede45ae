//! Test of the wire and disk formats against the released descriptors, `released.binpb`. The test compares facts about
//! the descriptors; a missing fact means that a field, method or value was removed, renumbered or retyped, or that the
//! name of a generated package changed, which would break stored bytes or clients. `contract.txt` lists the facts of the
//! released descriptors for readers. `make contract` records new facts and never removes a fact.
#![allow(clippy::unwrap_used, reason = "a test")]

use prost::Message as _;
use prost_reflect::{Cardinality, DescriptorPool, Kind, MessageDescriptor};
use prost_types::FileDescriptorSet;
use std::collections::BTreeSet;

/// The released descriptors: an encoded `FileDescriptorSet` without comments.
const RELEASED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/released.binpb");
/// The facts of the released descriptors, a fact on each line.
const FACTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/contract.txt");

#[expect(clippy::wildcard_enum_match_arm, reason = "the scalars of protobuf are foreign, and all spelled alike")]
fn kind(kind: &Kind) -> String {
    match kind {
        Kind::Message(m) => m.full_name().to_owned(),
        Kind::Enum(e) => e.full_name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    }
}

fn of_message(message: &MessageDescriptor, facts: &mut BTreeSet<String>) {
    facts.insert(format!("message {}", message.full_name()));
    for field in message.fields() {
        let many = match field.cardinality() {
            Cardinality::Repeated => "repeated ",
            Cardinality::Optional | Cardinality::Required => "",
        };
        let presence = match field.containing_oneof() {
            Some(oneof) if oneof.is_synthetic() => " optional".to_owned(),
            Some(oneof) => format!(" oneof {}", oneof.name()),
            None => String::new(),
        };
        facts.insert(format!(
            "field {}.{} = {} {many}{}{presence}",
            message.full_name(),
            field.name(),
            field.number(),
            kind(&field.kind()),
        ));
    }
}

fn facts(pool: &DescriptorPool) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    for message in pool.all_messages().filter(|m| ours(m.full_name())) {
        of_message(&message, &mut facts);
    }
    for values in pool.all_enums().filter(|e| ours(e.full_name())) {
        for value in values.values() {
            facts.insert(format!("value {}.{} = {}", values.full_name(), value.name(), value.number()));
        }
    }
    for file in pool.files().filter(|f| ours(f.package_name())) {
        let options = file.file_descriptor_proto().options.clone().unwrap_or_default();
        for (option, value) in [
            ("go_package", options.go_package()),
            ("java_package", options.java_package()),
            ("csharp_namespace", options.csharp_namespace()),
        ] {
            facts.insert(format!("option {} {option} = {value}", file.name()));
        }
        facts.insert(format!("option {} java_multiple_files = {}", file.name(), options.java_multiple_files()));
    }
    for service in pool.services().filter(|s| ours(s.full_name())) {
        for method in service.methods() {
            let stream = |on: bool| if on { "stream " } else { "" };
            facts.insert(format!(
                "method {}({}{}) -> {}{}",
                method.full_name(),
                stream(method.is_client_streaming()),
                method.input().full_name(),
                stream(method.is_server_streaming()),
                method.output().full_name(),
            ));
        }
    }
    facts
}

fn ours(name: &str) -> bool {
    name.starts_with("taffrail.")
}

fn broken(before: &BTreeSet<String>, now: &BTreeSet<String>) -> Vec<String> {
    before.difference(now).cloned().collect()
}

fn pool(set: &[u8]) -> DescriptorPool {
    DescriptorPool::decode(set).unwrap()
}

/// Returns the current descriptors without comments.
fn current() -> Vec<u8> {
    let mut set = FileDescriptorSet::decode(taffrail_proto::FILE_DESCRIPTOR_SET).unwrap();
    for file in &mut set.file {
        file.source_code_info = None;
    }
    set.encode_to_vec()
}

#[test]
fn nothing_that_was_promised_is_gone() {
    let now = facts(&pool(taffrail_proto::FILE_DESCRIPTOR_SET));
    let released = || std::fs::read(RELEASED).map(|set| facts(&pool(&set))).unwrap_or_default();
    let gone = broken(&released(), &now);
    assert!(gone.is_empty(), "removed, renumbered or retyped:\n{}", gone.join("\n"));
    let text: String = now.iter().map(|fact| format!("{fact}\n")).collect();
    if std::env::var_os("TAFFRAIL_FIX").is_some() {
        std::fs::write(RELEASED, current()).unwrap();
        std::fs::write(FACTS, &text).unwrap();
    }
    let new = broken(&now, &released());
    assert!(new.is_empty(), "not recorded yet; if the additions are final, run `make contract`:\n{}", new.join("\n"));
    let listed = std::fs::read_to_string(FACTS).unwrap_or_default();
    assert!(listed == text, "{FACTS} does not list the released facts; run `make contract`");
}

/// The check must find each kind of break: a check that always passes would be worthless.
#[test]
fn every_kind_of_break_is_seen() {
    let base = FileDescriptorSet::decode(taffrail_proto::FILE_DESCRIPTOR_SET).unwrap();
    let before = facts(&pool(&base.encode_to_vec()));
    let with = |change: &dyn Fn(&mut prost_types::FileDescriptorProto)| {
        let mut set = base.clone();
        let streams = set.file.iter_mut().find(|f| f.name() == "taffrail/v1/streams.proto").unwrap();
        change(streams);
        broken(&before, &facts(&pool(&set.encode_to_vec())))
    };
    fn message<'a>(file: &'a mut prost_types::FileDescriptorProto, name: &str) -> &'a mut prost_types::DescriptorProto {
        file.message_type.iter_mut().find(|m| m.name() == name).unwrap()
    }
    let field_removed = with(&|f| drop(message(f, "ReadEnd").field.remove(0)));
    assert_eq!(field_removed.len(), 1, "{field_removed:?}");
    let renumbered = with(&|f| message(f, "ListRequest").field[0].number = Some(90));
    assert_eq!(renumbered.len(), 1, "{renumbered:?}");
    let retyped =
        with(&|f| message(f, "ListRequest").field[0].set_type(prost_types::field_descriptor_proto::Type::Bytes));
    assert_eq!(retyped.len(), 1, "{retyped:?}");
    let method_removed = with(&|f| drop(f.service[0].method.remove(0)));
    assert_eq!(method_removed.len(), 1, "{method_removed:?}");
    let value_removed = with(&|f| drop(f.enum_type[0].value.pop()));
    assert_eq!(value_removed.len(), 1, "{value_removed:?}");
    let renamed_package = with(&|f| f.options.as_mut().unwrap().go_package = Some("other".to_owned()));
    assert_eq!(renamed_package.len(), 1, "{renamed_package:?}");
    assert!(with(&|_| {}).is_empty());
}

//! Test that every message, enum, service and method has a comment: the `.proto` files are the documentation of the
//! protocol.
#![allow(clippy::unwrap_used, reason = "a test")]

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use std::collections::BTreeSet;

/// Field numbers of `FileDescriptorProto`, `DescriptorProto` and `ServiceDescriptorProto`, the elements of a path.
const FILE_MESSAGE: i32 = 4;
const FILE_ENUM: i32 = 5;
const FILE_SERVICE: i32 = 6;
const MESSAGE_MESSAGE: i32 = 3;
const MESSAGE_ENUM: i32 = 4;
const SERVICE_METHOD: i32 = 2;

fn index(i: usize) -> i32 {
    i32::try_from(i).unwrap()
}

fn of_message(message: &DescriptorProto, path: &[i32], name: &str, all: &mut Vec<(String, Vec<i32>)>) {
    let name = format!("{name}.{}", message.name());
    all.push((name.clone(), path.to_vec()));
    for (i, inner) in message.nested_type.iter().enumerate() {
        let map_entry = inner.options.as_ref().is_some_and(|o| o.map_entry());
        if !map_entry {
            of_message(inner, &[path, &[MESSAGE_MESSAGE, index(i)]].concat(), &name, all);
        }
    }
    for (i, inner) in message.enum_type.iter().enumerate() {
        all.push((format!("{name}.{}", inner.name()), [path, &[MESSAGE_ENUM, index(i)]].concat()));
    }
}

fn elements(file: &FileDescriptorProto) -> Vec<(String, Vec<i32>)> {
    let mut all = Vec::new();
    for (i, message) in file.message_type.iter().enumerate() {
        of_message(message, &[FILE_MESSAGE, index(i)], file.package(), &mut all);
    }
    for (i, values) in file.enum_type.iter().enumerate() {
        all.push((format!("{}.{}", file.package(), values.name()), vec![FILE_ENUM, index(i)]));
    }
    for (i, service) in file.service.iter().enumerate() {
        let name = format!("{}.{}", file.package(), service.name());
        for (m, method) in service.method.iter().enumerate() {
            let path = vec![FILE_SERVICE, index(i), SERVICE_METHOD, index(m)];
            all.push((format!("{name}.{}", method.name()), path));
        }
        all.push((name, vec![FILE_SERVICE, index(i)]));
    }
    all
}

#[test]
fn every_message_enum_service_and_method_has_a_comment() {
    let set = FileDescriptorSet::decode(taffrail_proto::FILE_DESCRIPTOR_SET).unwrap();
    let (mut bare, mut seen) = (Vec::new(), 0);
    for file in set.file.iter().filter(|f| f.package().starts_with("taffrail.")) {
        let locations = &file.source_code_info.as_ref().expect("descriptors keep their comments").location;
        let commented: BTreeSet<&[i32]> =
            locations.iter().filter(|l| !l.leading_comments().trim().is_empty()).map(|l| l.path.as_slice()).collect();
        for (name, path) in elements(file) {
            seen += 1;
            if !commented.contains(path.as_slice()) {
                bare.push(format!("{}: {name}", file.name()));
            }
        }
    }
    assert!(seen > 50, "only {seen} elements were found");
    assert!(bare.is_empty(), "without a comment:\n{}", bare.join("\n"));
}

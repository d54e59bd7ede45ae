//! [`v1::ErrorDetail`] in the details of a gRPC status, beside the standard messages of `google.rpc`.

use crate::v1;
use bytes::{Bytes, BytesMut};
use prost::Message;
use prost_types::Any;

/// Field number of `details` in `google.rpc.Status`.
const DETAILS: u32 = 3;
/// Type of an [`v1::ErrorDetail`] among the details of a status.
const TYPE_URL: &str = "type.googleapis.com/taffrail.v1.ErrorDetail";

/// The part of `google.rpc.Status` with the details.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// Adds a detail to an encoded `google.rpc.Status`.
#[must_use]
pub fn attach(status: &[u8], detail: &v1::ErrorDetail) -> Bytes {
    let any = Any { type_url: TYPE_URL.to_owned(), value: detail.encode_to_vec() };
    let mut bytes = BytesMut::from(status);
    // A repeated field may continue at the end of a message.
    prost::encoding::message::encode(DETAILS, &any, &mut bytes);
    bytes.freeze()
}

/// Returns the detail of an encoded `google.rpc.Status`, or `None` without a valid detail.
#[must_use]
pub fn find(status: &[u8]) -> Option<v1::ErrorDetail> {
    let details = RpcStatus::decode(status).ok()?.details;
    let any = details.into_iter().find(|any| any.type_url == TYPE_URL)?;
    v1::ErrorDetail::decode(any.value.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attached_detail_is_found_and_other_details_stay() {
        let other = RpcStatus { details: vec![Any { type_url: "other".into(), value: vec![1] }] };
        let detail = v1::ErrorDetail { reason: v1::Reason::NoLeader.into(), ..v1::ErrorDetail::default() };
        let status = attach(&other.encode_to_vec(), &detail);
        assert_eq!(find(&status), Some(detail));
        assert_eq!(RpcStatus::decode(status).unwrap().details[0], other.details[0]);
        assert_eq!(find(&other.encode_to_vec()), None);
        assert_eq!(find(b"\xff"), None);
    }
}

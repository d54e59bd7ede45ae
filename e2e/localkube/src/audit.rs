//! Write requests to the API server, parsed from its audit log.

use crate::error::{Error, Io};
use jiff::Timestamp;
use serde::Deserialize;
use std::{collections::BTreeMap, fs, path::Path};

/// A write request in the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The time at which the API server received the request.
    pub at: Timestamp,
    /// The authenticated user, such as `system:serviceaccount:taffrail:operator`.
    pub user: String,
    /// `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// Resource, subresource, namespace and name of the object, joined with `/`; parts absent from the request
    /// are left out.
    pub target: String,
    /// The HTTP status code of the response.
    pub code: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    user: User,
    object_ref: Option<ObjectRef>,
    request_received_timestamp: Timestamp,
    response_status: Option<ResponseStatus>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct ObjectRef {
    resource: Option<String>,
    subresource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct ResponseStatus {
    code: Option<u16>,
}

impl ObjectRef {
    fn words(self) -> String {
        let parts = [self.resource, self.subresource, self.namespace, self.name];
        parts.into_iter().flatten().collect::<Vec<_>>().join("/")
    }
}

/// Returns all writes received by the API server at `since` or later.
pub(crate) fn writes_since(log: &Path, since: Timestamp) -> Result<Vec<Write>, Error> {
    let text = fs::read_to_string(log).map_err(|source| Io::new("read", log, source))?;
    parse(&text, since).map_err(|(line, source)| Error::Audit { path: log.to_owned(), line, source })
}

/// Counts `writes` by user.
#[must_use]
pub fn by_user(writes: &[Write]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for write in writes {
        *counts.entry(write.user.as_str()).or_default() += 1;
    }
    counts
}

fn parse(text: &str, since: Timestamp) -> Result<Vec<Write>, (usize, serde_json::Error)> {
    // An incomplete last line is still being written; the request behind the line has no response yet.
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut writes = Vec::new();
    for (index, line) in complete.lines().enumerate() {
        let event: Event = serde_json::from_str(line).map_err(|source| (index + 1, source))?;
        if event.stage == "ResponseComplete" && event.request_received_timestamp >= since {
            writes.push(Write {
                at: event.request_received_timestamp,
                user: event.user.username,
                verb: event.verb,
                target: event.object_ref.map(ObjectRef::words).unwrap_or_default(),
                code: event.response_status.and_then(|status| status.code),
            });
        }
    }
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(user: &str, second: u8, stage: &str) -> String {
        format!(
            r#"{{"kind":"Event","level":"Metadata","stage":"{stage}","verb":"patch","user":{{"username":"{user}","groups":[]}},
            "objectRef":{{"resource":"services","namespace":"a","name":"b","apiVersion":"v1"}},
            "responseStatus":{{"metadata":{{}},"code":200}},"requestReceivedTimestamp":"2026-01-01T00:00:{second:02}.5Z"}}"#
        )
        .replace('\n', " ")
    }

    #[test]
    fn only_answered_writes_since_the_instant_count() {
        let lines = [
            event("operator", 1, "ResponseComplete"),
            event("operator", 5, "ResponseComplete"),
            event("kubelet", 6, "ResponseComplete"),
            event("operator", 7, "ResponseStarted"),
        ];
        let text = lines.join("\n") + "\n{\"half\":";
        let writes = parse(&text, "2026-01-01T00:00:02Z".parse().unwrap()).unwrap();
        assert_eq!(by_user(&writes), BTreeMap::from([("kubelet", 1), ("operator", 1)]));
        assert_eq!(writes[0].target, "services/a/b");
        assert_eq!(writes[0].code, Some(200));
    }

    #[test]
    fn a_broken_line_is_named() {
        let text = event("operator", 1, "ResponseComplete") + "\nbroken\n";
        assert_eq!(parse(&text, Timestamp::UNIX_EPOCH).unwrap_err().0, 2);
    }
}

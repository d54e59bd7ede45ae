//! Refused calls: code and reason of docs/ERRORS.md with field and rule. The call has no effect, and the node continues to
//! serve.

use super::{
    node::Node,
    raw::{call, field},
};
use std::path::Path;
use taffrail_client::{EventBuilder, v1};
use taffrail_proto::{
    admin::{DeclareStoresRequest, StoreDeclaration, admin_client::AdminClient},
    v1::{expected_revision::Kind as Expect, start::Kind as Start, streams_client::StreamsClient},
};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;
use uuid::Uuid;

const APPEND: &str = "/taffrail.v1.Streams/Append";
const EVENT_BYTES_MAX: usize = 1 << 20;

/// Checks code, reason, and that each detail contains a word.
fn is(what: &str, status: &Status, code: Code, reason: &str, details: &[(&str, &str)]) {
    assert_eq!(status.code(), code, "{what}: {status:?}");
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("{what}: no reason: {status:?}"));
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("taffrail.io", reason), "{what}: {status:?}");
    for (key, word) in details {
        let found = info.metadata.get(*key).unwrap_or_else(|| panic!("{what}: no {key}: {info:?}"));
        assert!(found.contains(word), "{what}: {key} is {found:?}, not {word:?}");
    }
}

fn field_is(what: &str, status: &Status, name: &str, rule: &str) {
    is(what, status, Code::InvalidArgument, "INVALID_ARGUMENT", &[("field", name), ("rule", rule)]);
}

fn event(bytes: usize) -> v1::NewEvent {
    EventBuilder::new("T").bytes("application/octet-stream", vec![b'x'; bytes]).build()
}

fn request(stream: &str, events: Vec<v1::NewEvent>) -> v1::AppendRequest {
    v1::AppendRequest { stream: stream.to_owned(), events, ..v1::AppendRequest::default() }
}

async fn channel(node: &Node) -> Channel {
    Endpoint::from_shared(node.endpoint()).unwrap().connect().await.unwrap()
}

async fn refused(channel: &Channel, request: v1::AppendRequest) -> Status {
    StreamsClient::new(channel.clone()).append(request).await.expect_err("a bad append was accepted")
}

/// Checks that only `good` exists, with the expected number of events, and that appends still succeed.
async fn unharmed(node: &mut Node, good: &str, events: u64) {
    node.alive();
    let client = node.client();
    let streams = client.list_streams(v1::ListRequest::default()).await.unwrap().streams;
    let found: Vec<(String, u64)> = streams.into_iter().map(|s| (s.stream, s.event_count)).collect();
    assert_eq!(found, [(good.to_owned(), events)], "a refused append changed the store");
    let answer = client.append(good, taffrail_client::Expected::Exact(events - 1), vec![event(1)]).await.unwrap();
    assert_eq!(answer.first_revision(), events);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_appends_name_field_and_rule_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(&dir.path().join("data")).await;
    let streams = channel(&node).await;
    StreamsClient::new(streams.clone()).append(request("good", vec![event(1), event(1)])).await.unwrap();
    let repeated = event(1);
    let bad = |change: fn(&mut v1::NewEvent)| {
        let mut event = event(1);
        change(&mut event);
        // A valid event first: a batch is stored as a whole or not at all.
        request("bad", vec![self::event(1), event])
    };
    let cases = [
        ("no events", request("bad", vec![]), "events", "must not be empty"),
        ("no stream", request("", vec![event(1)]), "stream", "must not be empty"),
        ("long stream", request(&"s".repeat(513), vec![event(1)]), "stream", "at most 512 bytes, is 513"),
        ("control character", request("a\u{7}b", vec![event(1)]), "stream", "control characters"),
        ("system stream", request("$all", vec![event(1)]), "stream", "reserved for the store"),
        ("many events", request("bad", (0..16_385).map(|_| event(0)).collect()), "events", "at most 16384 events"),
        ("same id twice", request("bad", vec![repeated.clone(), repeated]), "events.id", "twice"),
        ("no id", bad(|e| e.id.clear()), "events.id", "must be a UUID"),
        ("nil id", bad(|e| e.id = Uuid::nil().to_string()), "events.id", "nil"),
        ("no type", bad(|e| e.r#type.clear()), "type", "must not be empty"),
        ("long type", bad(|e| e.r#type = "t".repeat(256)), "type", "at most 255 bytes"),
        ("control character in a tag", bad(|e| e.tags = vec!["a\n".into()]), "events.tags", "control characters"),
        ("id without dashes", bad(|e| e.id = e.id.replace('-', "")), "events.id", "must be a UUID"),
        ("many tags", bad(|e| e.tags = vec!["t".into(); 17]), "events.tags", "at most 16"),
        ("empty tag", bad(|e| e.tags = vec![String::new()]), "events.tags", "must not be empty"),
        ("long content type", bad(|e| e.content_type = "c".repeat(129)), "events.content_type", "at most 128 bytes"),
        (
            "revision beyond the last",
            v1::AppendRequest {
                expected: Some(v1::ExpectedRevision { kind: Some(Expect::Exact(u64::MAX)) }),
                ..request("bad", vec![event(1)])
            },
            "expected.exact",
            "must be at most",
        ),
    ];
    for (what, request, field, rule) in cases {
        field_is(what, &refused(&streams, request).await, field, rule);
    }
    unharmed(&mut node, "good", 2).await;
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_revisions_say_where_the_stream_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(&dir.path().join("data")).await;
    let streams = channel(&node).await;
    StreamsClient::new(streams.clone()).append(request("good", vec![event(1), event(1)])).await.unwrap();
    let cases = [
        ("good", Expect::NoStream(v1::Unit {}), "1"),
        ("good", Expect::Exact(0), "1"),
        ("good", Expect::Exact(2), "1"),
        ("none", Expect::StreamExists(v1::Unit {}), "absent"),
        ("none", Expect::Exact(0), "absent"),
    ];
    for (stream, expect, actual) in cases {
        let expected = Some(v1::ExpectedRevision { kind: Some(expect) });
        let status = refused(&streams, v1::AppendRequest { expected, ..request(stream, vec![event(1)]) }).await;
        let details = [("stream", stream), ("actual", actual), ("expected", "")];
        is(&format!("{expect:?}"), &status, Code::FailedPrecondition, "WRONG_REVISION", &details);
    }
    // An id that was stored with another batch.
    let first = client_id(&node).await;
    let mut again = event(1);
    again.id = first;
    let status = refused(&streams, request("good", vec![again, event(1)])).await;
    is("reused id", &status, Code::AlreadyExists, "EVENT_ID_REUSED", &[("stream", "good")]);
    unharmed(&mut node, "good", 2).await;
    node.kill().await;
}

async fn client_id(node: &Node) -> String {
    node.client().read_stream("good", 1).await.unwrap()[0].id.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_appends_name_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(&dir.path().join("data")).await;
    let streams = channel(&node).await;
    // The largest allowed event is accepted, and a client with the default limit of its library can read the event.
    let mut stock = StreamsClient::new(streams.clone());
    stock.append(request("good", vec![event(EVENT_BYTES_MAX)])).await.unwrap();
    let selector = Some(v1::Selector { kind: Some(v1::selector::Kind::Stream("good".into())) });
    let read = v1::ReadRequest { selector, ..v1::ReadRequest::default() };
    let page = stock.read(read).await.unwrap().into_inner().message().await.unwrap().unwrap();
    let Some(v1::read_response::Kind::Events(page)) = page.kind else { panic!("no page") };
    assert_eq!(page.events[0].data.len(), EVENT_BYTES_MAX);
    let status = refused(&streams, request("bad", vec![event(1), event(EVENT_BYTES_MAX + 1)])).await;
    let details = [("field", "events.data"), ("bytes", "1048577"), ("bytes_max", "1048576")];
    is("oversized event", &status, Code::InvalidArgument, "EVENT_TOO_LARGE", &details);
    let mut metadata = event(1);
    metadata.metadata = vec![b'm'; EVENT_BYTES_MAX].into();
    let status = refused(&streams, request("bad", vec![metadata])).await;
    is("oversized metadata", &status, Code::InvalidArgument, "EVENT_TOO_LARGE", &[("bytes", "1048577")]);
    let status = refused(&streams, request("bad", (0..17).map(|_| event(EVENT_BYTES_MAX)).collect())).await;
    let details = [("field", "events"), ("bytes", "17825792"), ("bytes_max", "16777216")];
    is("oversized batch", &status, Code::InvalidArgument, "BATCH_TOO_LARGE", &details);
    // Too large to be decoded.
    let status = refused(&streams, request("bad", (0..41).map(|_| event(EVENT_BYTES_MAX)).collect())).await;
    is("oversized message", &status, Code::InvalidArgument, "BATCH_TOO_LARGE", &[("field", "events"), ("rule", "")]);
    unharmed(&mut node, "good", 1).await;
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_do_not_decode_name_field_and_rule() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(&dir.path().join("data")).await;
    let streams = channel(&node).await;
    StreamsClient::new(streams.clone()).append(request("good", vec![event(1)])).await.unwrap();
    let bad_text = b"b\xff\xfed";
    let id = Uuid::from_u128(1).to_string();
    let new_event = [field(1, id.as_bytes()), field(2, bad_text)].concat();
    let cases = [
        ("stream", field(1, bad_text), "AppendRequest.stream", "UTF-8"),
        ("type", [field(1, b"bad"), field(3, &new_event)].concat(), "NewEvent.type", "UTF-8"),
        ("cut short", vec![1 << 3 | 2, 100, b'x'], "AppendRequest.stream", ""),
        ("noise", vec![0xff; 16], "message", ""),
    ];
    for (what, message, field, rule) in cases {
        let status = call(streams.clone(), APPEND, message).await.unwrap_err();
        field_is(what, &status, field, rule);
    }
    let unknown = call(streams.clone(), "/taffrail.v1.Streams/Explode", vec![]).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented, "{unknown:?}");
    // No HTTP/2 at all.
    let mut noise = tokio::net::TcpStream::connect(("127.0.0.1", node.ports.clients)).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut noise, &[0xff; 4096]).await.unwrap();
    unharmed(&mut node, "good", 1).await;
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_reads_name_field_and_rule() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(&dir.path().join("data")).await;
    let mut streams = StreamsClient::new(channel(&node).await);
    streams.append(request("good", vec![event(1)])).await.unwrap();
    let stream = |name: &str| Some(v1::Selector { kind: Some(v1::selector::Kind::Stream(name.to_owned())) });
    let all = || Some(v1::Selector { kind: Some(v1::selector::Kind::All(v1::Unit {})) });
    let cases = [
        ("no selector", None, None, "selector", "must be a stream or `all`"),
        ("long stream", stream(&"s".repeat(513)), None, "stream", "at most 512"),
        ("position of a stream", stream("good"), Some(Start::FromPosition(1)), "start.from_position", "revisions"),
        ("revision of all", all(), Some(Start::FromRevision(1)), "start.from_revision", "positions"),
        (
            "revision beyond the last",
            stream("good"),
            Some(Start::FromRevision(u64::MAX)),
            "start.from_revision",
            "at most",
        ),
        ("position beyond the last", all(), Some(Start::AfterPosition(u64::MAX)), "start.after_position", "at most"),
    ];
    for (what, selector, start, field, rule) in cases {
        let start = start.map(v1::Start::from);
        let request = v1::ReadRequest { selector, start, ..v1::ReadRequest::default() };
        let status = streams.read(request).await.expect_err(what);
        field_is(what, &status, field, rule);
    }
    let missing = v1::ReadRequest { selector: stream("none"), ..v1::ReadRequest::default() };
    let answer = streams.read(missing).await.unwrap().into_inner().message().await.unwrap().unwrap();
    let Some(v1::read_response::Kind::End(end)) = answer.kind else { panic!("{answer:?}") };
    assert_eq!((end.state(), end.last_revision, end.next), (v1::StreamState::Absent, None, Some(0)));
    let token = v1::ListRequest { page_token: "\u{1}".into(), ..v1::ListRequest::default() };
    field_is("page token", &streams.list(token).await.unwrap_err(), "page_token", "control characters");
    unharmed(&mut node, "good", 1).await;
    node.kill().await;
}

/// A node without a default store, and two stores.
async fn two_stores(data: &Path) -> Node {
    let node = Node::start_with(data, &[("TAFFRAIL_GATEWAY_DEFAULT_STORE", "")]).await;
    let mut admin = AdminClient::connect(format!("http://127.0.0.1:{}", node.ports.admin)).await.unwrap();
    let declare = |name: &str| StoreDeclaration {
        namespace: "default".into(),
        name: name.into(),
        replicas: 1,
        declared_by: name.into(),
        ..StoreDeclaration::default()
    };
    let stores = vec![declare("orders"), declare("payments")];
    let answer = admin.declare_stores(DeclareStoresRequest { stores }).await.unwrap().into_inner();
    assert!(answer.results.iter().all(|r| r.reason.is_empty()), "{answer:?}");
    node.serves("orders").await;
    node.serves("payments").await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_names_no_store_or_a_wrong_one_is_refused_and_never_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = two_stores(&dir.path().join("data")).await;
    let connected = channel(&node).await;
    let append = async |store: Option<&'static str>| {
        let mut call = Request::new(request("bad", vec![event(1)]));
        if let Some(store) = store {
            call.metadata_mut().insert("taffrail-store", store.parse().unwrap());
        }
        StreamsClient::new(connected.clone()).append(call).await
    };
    let status = append(None).await.unwrap_err();
    is("two stores, none named", &status, Code::InvalidArgument, "STORE_REQUIRED", &[]);
    let status = append(Some("order")).await.unwrap_err();
    let details = [("store", "default/order"), ("nearest", "default/orders")];
    is("a name close to one", &status, Code::NotFound, "STORE_NOT_FOUND", &details);
    let status = append(Some("team-b/orders")).await.unwrap_err();
    is("another namespace", &status, Code::NotFound, "STORE_NOT_FOUND", &[("store", "team-b/orders")]);
    field_is("no store name", &append(Some("Bad_Name")).await.unwrap_err(), "store", "lower-case");
    field_is("long store name", &append(Some(LONG)).await.unwrap_err(), "store", "at most 40");
    // By address: an unknown name is an error, the name of a store selects that store.
    for (authority, expected) in [("a.b.c.example.org", Err("STORE_NOT_FOUND")), ("orders.default.svc", Ok(()))] {
        let origin = format!("http://{authority}:2113").parse().unwrap();
        let named = Endpoint::from_shared(node.endpoint()).unwrap().origin(origin).connect().await.unwrap();
        let answer = StreamsClient::new(named).append(request("good", vec![event(1)])).await;
        match expected {
            Ok(()) => drop(answer.unwrap()),
            Err(reason) => is(authority, &answer.unwrap_err(), Code::NotFound, reason, &[]),
        }
    }
    node.alive();
    for (store, streams) in [("orders", vec!["good"]), ("payments", vec![])] {
        let client = node.client().with_store(store).unwrap();
        let found = client.list_streams(v1::ListRequest::default()).await.unwrap().streams;
        assert_eq!(found.iter().map(|s| s.stream.as_str()).collect::<Vec<_>>(), streams, "in {store}");
    }
    node.kill().await;
}

const LONG: &str = "a2345678901234567890123456789012345678901";

use super::*;
use std::sync::Arc;

const NODE: NodeId = NodeId::new(4);

fn request(bytes: usize) -> Request {
    let payload: Vec<u8> = (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect();
    Request {
        kind: FrameKind::Append,
        group: GroupId::new(7),
        from_replica: ReplicaId::new(1),
        to_replica: ReplicaId::new(2),
        payload: payload.into(),
    }
}

/// Cuts a request and returns its frames.
async fn frames(request: Request) -> Vec<Request> {
    let frames = Arc::new(Mutex::new(Vec::new()));
    let sent = Arc::clone(&frames);
    let send = move |frame, _| {
        sent.lock().unwrap().push(frame);
        std::future::ready(Ok(Bytes::new()))
    };
    call(request, Duration::from_secs(60), send).await.unwrap();
    Arc::try_unwrap(frames).unwrap().into_inner().unwrap()
}

fn same(a: &Request, b: &Request) -> bool {
    (a.kind, a.group, a.from_replica, a.to_replica, &a.payload)
        == (b.kind, b.group, b.from_replica, b.to_replica, &b.payload)
}

fn held(assembly: &Assembly) -> usize {
    assembly.lock().len()
}

/// Changes the message of a frame.
fn altered(frame: &Request, change: impl FnOnce(&mut Piece)) -> Request {
    let mut piece = Piece::decode(frame.payload.clone()).unwrap();
    change(&mut piece);
    Request { payload: piece.encode_to_vec().into(), ..frame.clone() }
}

#[tokio::test]
async fn a_large_request_arrives_whole_and_every_frame_is_small() {
    for bytes in [PIECE_BYTES_MAX + 1, 3 * PIECE_BYTES_MAX, 3 * PIECE_BYTES_MAX + 7] {
        let (whole, assembly) = (request(bytes), Assembly::default());
        let frames = frames(whole.clone()).await;
        assert_eq!(frames.len(), bytes.div_ceil(PIECE_BYTES_MAX));
        let (last, before) = frames.split_last().unwrap();
        for frame in before {
            assert!(frame.kind == FrameKind::Piece && frame.payload.len() <= PIECE_BYTES_MAX + 64);
            assert!(assembly.take(NODE, frame).unwrap().is_none());
            // A frame that arrives again changes nothing.
            assert!(assembly.take(NODE, frame).unwrap().is_none());
        }
        assert!(same(&assembly.take(NODE, last).unwrap().unwrap(), &whole));
        assert_eq!(held(&assembly), 0);
    }
}

#[tokio::test]
async fn a_small_request_is_not_cut() {
    let small = request(PIECE_BYTES_MAX);
    let frames = frames(small.clone()).await;
    assert!(frames.len() == 1 && same(&frames[0], &small));
}

#[tokio::test]
async fn gaps_damage_and_pieces_of_other_requests_are_refused() {
    let (frames, other) = (frames(request(4 * PIECE_BYTES_MAX)).await, frames(request(4 * PIECE_BYTES_MAX)).await);
    let after_first = |then: &Request| {
        let assembly = Assembly::default();
        assert!(assembly.take(NODE, &frames[0]).unwrap().is_none());
        let answer = assembly.take(NODE, then);
        (answer.err().map(|no| no.message), held(&assembly))
    };
    let refused = |then: &Request| after_first(then).0.unwrap_or_else(|| panic!("not refused"));
    assert!(refused(&frames[2]).contains("must follow"));
    assert!(refused(&other[1]).contains("not of the request in progress"));
    assert!(refused(&altered(&frames[1], |p| p.total += 1)).contains("differ"));
    assert!(refused(&altered(&frames[1], |p| p.data = vec![0; 4 * PIECE_BYTES_MAX].into())).contains("beyond"));
    assert!(refused(&Request { payload: Bytes::from_static(b"\xff"), ..frames[1].clone() }).contains("decode"));
    assert_eq!(after_first(&frames[2]).1, 0, "a request with a gap is dropped");

    let assembly = Assembly::default();
    let damaged = altered(&frames[1], |p| p.data = vec![0; p.data.len()].into());
    for frame in [&frames[0], &damaged, &frames[2]] {
        assert!(assembly.take(NODE, frame).unwrap().is_none());
    }
    assert!(assembly.take(NODE, &frames[3]).unwrap_err().message.contains("checksum"));
    assert_eq!(held(&assembly), 0);
}

#[tokio::test(start_paused = true)]
async fn incomplete_requests_have_bounded_memory() {
    let frames = frames(request(2 * PIECE_BYTES_MAX)).await;
    let largest = |transfer| {
        altered(&frames[0], |p| {
            p.total = REQUEST_BYTES_MAX as u64;
            p.transfer = transfer;
        })
    };
    let assembly = Assembly::default();
    let from = NodeId::new;
    for node in 1..=3 {
        assert!(assembly.take(from(node), &largest(node)).unwrap().is_none());
    }
    // The same sender begins again: its earlier request makes room.
    assert!(assembly.take(from(3), &largest(9)).unwrap().is_none());
    assert!(assembly.take(from(4), &largest(4)).unwrap_err().message.contains("already use"));
    let too_large = altered(&frames[0], |p| p.total = REQUEST_BYTES_MAX as u64 + 1);
    assert!(assembly.take(from(5), &too_large).unwrap_err().message.contains("must be between"));
    tokio::time::advance(IDLE_MAX).await;
    assert!(assembly.take(from(4), &largest(4)).unwrap().is_none(), "senders that gave up make room");
}

#[tokio::test(start_paused = true)]
async fn the_time_limit_covers_all_pieces() {
    let begin = Instant::now();
    let slow = |_, left: Duration| async move {
        tokio::time::timeout(left, tokio::time::sleep(Duration::from_secs(2)))
            .await
            .map(|()| Bytes::new())
            .map_err(|_| CallError::NoAnswer("too late".into()))
    };
    let answer = call(request(4 * PIECE_BYTES_MAX), Duration::from_secs(7), slow).await;
    assert!(matches!(answer, Err(CallError::NoAnswer(_))));
    assert_eq!(begin.elapsed(), Duration::from_secs(7));
    assert!(call(request(3 * PIECE_BYTES_MAX), Duration::from_secs(7), slow).await.is_ok());
}

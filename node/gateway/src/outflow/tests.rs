use super::*;
use futures::FutureExt;
use http_body_util::BodyExt;
use std::convert::Infallible;

const MIB: usize = 1 << 20;

fn answers(pool: &BoundOutflow) -> Answers {
    Answers::new(pool.clone())
}

async fn reason(permit: impl Future<Output = Result<Permit, Problem>>) -> &'static str {
    permit.await.unwrap_err().reason().as_str()
}

#[tokio::test(start_paused = true)]
async fn a_reader_gets_pages_ahead_only_while_half_of_the_memory_lasts() {
    let pool = BoundOutflow::new(4 * MIB);
    let (first, second) = (answers(&pool), answers(&pool));
    let ahead = [first.permit(None).await.unwrap(), first.permit(None).await.unwrap()];
    assert_eq!(pool.used(), 2 * MIB);
    assert!(first.permit(None).now_or_never().is_none(), "two pages are under way to this reader");
    assert!(first.ready().now_or_never().is_none());
    let small = second.permit(None).await.unwrap();
    assert_eq!(pool.used(), 2 * MIB + SMALL_PAGE);
    assert!(second.ready().now_or_never().is_none());
    drop(ahead);
    assert_eq!(pool.used(), SMALL_PAGE);
    first.ready().await;
    drop(small);
    assert_eq!(pool.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn readers_wait_in_order_for_the_only_page_and_are_refused_after_a_time() {
    // The half for whole pages has no room for a page; the other half has room for two small pages.
    let pool = BoundOutflow::new(4 * SMALL_PAGE);
    let readers: Vec<Answers> = (0..4).map(|_| answers(&pool)).collect();
    let blocked = answers(&pool);
    let _ahead = blocked.permit(Some(2 * SMALL_PAGE)).await.unwrap();
    let mut held = vec![readers[0].permit(None).await.unwrap(), readers[1].permit(None).await.unwrap()];
    let mut third = Box::pin(readers[2].permit(None));
    let mut fourth = Box::pin(readers[3].permit(None));
    assert!(futures::poll!(&mut third).is_pending() && futures::poll!(&mut fourth).is_pending());
    held.pop();
    assert!(futures::poll!(&mut fourth).is_pending(), "the third reader came first");
    let third = third.await.unwrap();
    assert_eq!(reason(fourth).await, "OVERLOADED");
    drop((held, third));
    assert!(readers[3].permit(None).await.is_ok());
}

#[tokio::test]
async fn a_permit_fits_its_page() {
    let pool = BoundOutflow::new(4 * MIB);
    let call = answers(&pool);
    let mut permit = call.permit(None).await.unwrap();
    assert!(permit.page_bytes() < MIB);
    assert!(permit.fit(1000));
    assert_eq!(pool.used(), 1000);
    assert!(permit.fit(2 * MIB), "the memory is free");
    let other = answers(&pool);
    let mut small = other.permit(None).await.unwrap();
    assert!(small.fit(MIB));
    let third = answers(&pool);
    let mut refused = third.permit(None).await.unwrap();
    assert!(!refused.fit(MIB + 1), "another page uses the memory");
    drop(small);
    assert!(refused.fit(usize::MAX), "a page above the half takes the half");
    assert_eq!(pool.used(), 4 * MIB);
    drop((permit, refused));
    assert_eq!(pool.used(), 0);
}

#[tokio::test]
async fn a_frame_counts_until_it_is_dropped() {
    let pool = BoundOutflow::new(4 * MIB);
    let call = answers(&pool);
    let (tx, rx) = mpsc::channel(2);
    let mut permit = call.permit(None).await.unwrap();
    assert!(permit.fit(5));
    assert!(tx.try_send((Ok(Bytes::from_static(b"event")), Some(permit))).is_ok());
    let encoded = call.stream(rx).map(|message| Ok::<_, Infallible>(Frame::data(message.unwrap())));
    let inner = Body::new(http_body_util::StreamBody::new(encoded));
    let mut body = Counted { inner, encoding: Arc::clone(&call.encoding) };
    let mut frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(&frame[..], b"event");
    // A connection sends a frame in parts.
    let part = frame.split_to(2);
    drop(part);
    assert_eq!(pool.used(), 5);
    drop(frame);
    assert_eq!(pool.used(), 0);
    call.ready().await;
    call.encode(Some(call.permit(None).await.unwrap()));
    assert_eq!(pool.used(), MIB);
    drop(body);
    assert_eq!(pool.used(), 0, "a message without a frame");
}

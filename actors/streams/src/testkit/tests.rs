//! The probes, with stages of this crate between them.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;

use super::*;
use crate::{BufferPolicy, FlowExt};

#[tokio::test(start_paused = true)]
async fn a_source_sees_requests_and_that_it_is_dropped() {
    let (source, mut feed) = source_probe::<u32>();
    let mut sink = SinkProbe::new(source);
    feed.expect_no_request();
    assert_eq!(sink.ready_now(), None);
    feed.expect_request().await;
    feed.send(1);
    feed.expect_no_request();
    sink.expect_next(&1).await;
    assert_eq!(feed.delivered(), 1);
    sink.cancel();
    feed.expect_cancelled().await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_takes_elements_and_the_end_in_their_order() {
    let (source, mut feed) = source_probe();
    let mut sink = SinkProbe::new(source);
    feed.send(1).send(2).send(3).complete();
    sink.expect_next_all(&[1, 2]).await;
    assert_eq!(sink.ready_now(), Some(Some(3)));
    sink.expect_complete().await;
}

#[tokio::test(start_paused = true)]
async fn an_error_is_expected_of_a_stream_of_results() {
    let (source, mut feed) = source_probe::<Result<u32, &str>>();
    let mut sink = SinkProbe::new(source.fail_fast());
    feed.send(Ok(1)).send(Err("on purpose")).send(Ok(2));
    sink.expect_next(&Ok(1)).await;
    assert_eq!(sink.expect_error().await, "on purpose");
    sink.expect_complete().await;
}

#[tokio::test(start_paused = true)]
async fn a_buffer_requests_ahead_of_its_consumer() {
    let (source, mut feed) = source_probe::<u32>();
    let mut sink = SinkProbe::new(source.buffer(2, BufferPolicy::Backpressure));
    assert_eq!(sink.ready_now(), None);
    feed.expect_request().await;
    feed.send(1).send(2).send(3).send(4).complete();
    sink.expect_next_all(&[1, 2, 3, 4]).await;
    sink.expect_complete().await;
}

#[tokio::test(start_paused = true)]
async fn an_expectation_that_does_not_hold_panics() {
    let (source, mut feed) = source_probe::<u32>();
    let mut sink = SinkProbe::new(source);
    let failed = |done: Result<(), _>| done.is_err();
    let caught = AssertUnwindSafe(feed.expect_cancelled()).catch_unwind();
    assert!(failed(caught.await));
    let caught = AssertUnwindSafe(sink.expect_complete()).catch_unwind();
    assert!(failed(caught.await));
    feed.send(7);
    let quiet = sink.expect_nothing_for(Duration::from_secs(1));
    assert!(failed(AssertUnwindSafe(quiet).catch_unwind().await));
}

//! The bounded queue that is a source. Source: Pekko `BoundedSourceQueueSpec`.

use futures_util::future::poll_immediate;

use super::{
    Case, CaseResult, Fault, MS, SCRIPTED, StreamDriver, StreamExt, ensure, ensure_eq, expect,
    expect_end, expect_fault, settle, values,
};
use crate::{
    case::{
        SEED,
        Stance::{Different, Same, Trap},
    },
    cases,
    driver::streams::{Offer, Queue},
};

pub(super) const CASES: &[Case<dyn StreamDriver>] = cases![dyn StreamDriver, L5;
    nothing_is_dropped_while_there_is_room => "BoundedSourceQueueSpec: not drop elements if buffer is not full", Same;
    what_comes_to_a_full_queue_is_dropped => "BoundedSourceQueueSpec: drop elements if buffer is full", Same;
    room_comes_back_as_elements_are_taken => "BoundedSourceQueueSpec: buffer size is kept", Same;
    a_completed_queue_delivers_what_it_holds => "BoundedSourceQueueSpec: complete the stream when buffer is empty", Same;
    an_offer_to_a_completed_queue_is_closed => "BoundedSourceQueueSpec: return QueueClosed after completion", Same;
    a_failed_queue_fails_the_stream => "BoundedSourceQueueSpec: fail the stream on fail", Same;
    an_offer_to_a_failed_queue_says_why => "BoundedSourceQueueSpec: return Failure after failing", Same;
    an_offer_to_a_queue_without_a_stream_is_closed => "BoundedSourceQueueSpec: return QueueClosed when the stream is cancelled", Same;
    completing_twice_is_an_error => "BoundedSourceQueueSpec: completing twice throws", Same;
    completing_a_queue_whose_stream_is_gone_is_none => "BoundedSourceQueueSpec: complete after cancellation", Same;
    a_burst_to_a_waiting_consumer_arrives_in_order => "BoundedSourceQueueSpec: deliver bursts", Same;
    the_size_of_the_queue_is_told => "BoundedSourceQueueSpec: provide the current size", Same;
    everything_enqueued_is_delivered => "BoundedSourceQueueSpec: enqueued means delivered unless cancelled", Same;
    a_thousand_handles_share_one_bound => "actix: each clone of an address has a free slot",
        Trap("a bound that is counted by sender is no bound: actix's mailbox takes one more for each clone");
    a_thousand_handles_from_threads_lose_nothing => "BoundedSourceQueueSpec: multi-threaded producers", Same;
    the_last_handle_completes_the_queue => "BoundedSourceQueue: no handle is left",
        Different("dropping the last handle completes the stream; Pekko's waits for ever");
];

async fn nothing_is_dropped_while_there_is_room(driver: &dyn StreamDriver) -> CaseResult {
    let (queue, flow) = driver.queue(100)?;
    for item in 0..100 {
        ensure_eq("offer", &queue.offer(item), &Offer::Enqueued)?;
    }
    queue.complete();
    ensure_eq("elements", &values(flow).await?, &(0..100).collect())
}

async fn what_comes_to_a_full_queue_is_dropped(driver: &dyn StreamDriver) -> CaseResult {
    for size in [1, 2, 10] {
        let (queue, flow) = driver.queue(size)?;
        let offers: Vec<_> = (0..20).map(|item| queue.offer(item)).collect();
        let enqueued = offers
            .iter()
            .filter(|offer| **offer == Offer::Enqueued)
            .count();
        let dropped = offers
            .iter()
            .filter(|offer| **offer == Offer::Dropped)
            .count();
        ensure_eq(
            "enqueued and dropped",
            &(enqueued, dropped),
            &(size, 20 - size),
        )?;
        queue.complete();
        let first: Vec<u64> = (0..20).take(size).collect();
        ensure_eq("elements", &values(flow).await?, &first)?;
    }
    Ok(())
}

async fn room_comes_back_as_elements_are_taken(driver: &dyn StreamDriver) -> CaseResult {
    let (queue, mut flow) = driver.queue(1)?;
    for item in 0..20 {
        ensure_eq("offer", &queue.offer(item), &Offer::Enqueued)?;
        ensure_eq("offer to a full queue", &queue.offer(99), &Offer::Dropped)?;
        expect(&mut flow, item).await?;
    }
    Ok(())
}

async fn a_completed_queue_delivers_what_it_holds(driver: &dyn StreamDriver) -> CaseResult {
    let (queue, mut flow) = driver.queue(5)?;
    queue.offer(1);
    queue.offer(2);
    ensure(queue.complete(), || "it could not be completed".to_owned())?;
    expect(&mut flow, 1).await?;
    expect(&mut flow, 2).await?;
    expect_end(&mut flow).await
}

async fn an_offer_to_a_completed_queue_is_closed(driver: &dyn StreamDriver) -> CaseResult {
    let (queue, _flow) = driver.queue(5)?;
    queue.complete();
    ensure_eq("offer", &queue.offer(1), &Offer::Closed)
}

async fn a_failed_queue_fails_the_stream(driver: &dyn StreamDriver) -> CaseResult {
    let (queue, mut flow) = driver.queue(5)?;
    queue.offer(1);
    ensure(queue.fail(SCRIPTED), || "it could not be failed".to_owned())?;
    expect_fault(&mut flow, SCRIPTED).await
}

async fn an_offer_to_a_failed_queue_says_why(driver: &dyn StreamDriver) -> CaseResult {
    let (queue, _flow) = driver.queue(5)?;
    queue.fail(Fault::Scripted("why"));
    ensure_eq(
        "offer",
        &queue.offer(1),
        &Offer::Failed(Fault::Scripted("why")),
    )
}

async fn an_offer_to_a_queue_without_a_stream_is_closed(driver: &dyn StreamDriver) -> CaseResult {
    let (queue, flow) = driver.queue(5)?;
    queue.offer(1);
    drop(flow);
    ensure_eq("offer", &queue.offer(2), &Offer::Closed)
}

async fn completing_twice_is_an_error(driver: &dyn StreamDriver) -> CaseResult {
    let (queue, _flow) = driver.queue(5)?;
    ensure_eq(
        "complete, complete, fail",
        &(queue.complete(), queue.complete(), queue.fail(SCRIPTED)),
        &(true, false, false),
    )?;
    let (queue, _flow) = driver.queue(5)?;
    ensure_eq(
        "fail, complete",
        &(queue.fail(SCRIPTED), queue.complete()),
        &(true, false),
    )
}

async fn completing_a_queue_whose_stream_is_gone_is_none(driver: &dyn StreamDriver) -> CaseResult {
    let (queue, flow) = driver.queue(5)?;
    drop(flow);
    ensure(queue.complete(), || "it was an error".to_owned())
}

async fn a_burst_to_a_waiting_consumer_arrives_in_order(driver: &dyn StreamDriver) -> CaseResult {
    let (queue, flow) = driver.queue(100)?;
    let collected = tokio::spawn(values(flow));
    settle().await;
    for item in 0..100 {
        queue.offer(item);
    }
    queue.complete();
    let collected = tokio::time::timeout(MS, collected).await;
    let expected: Vec<_> = (0..100).collect();
    ensure(
        matches!(&collected, Ok(Ok(Ok(seen))) if *seen == expected),
        || format!("saw {collected:?}"),
    )
}

async fn the_size_of_the_queue_is_told(driver: &dyn StreamDriver) -> CaseResult {
    let (queue, mut flow) = driver.queue(3)?;
    ensure_eq("at first", &queue.size(), &0)?;
    for item in 0..5 {
        queue.offer(item);
    }
    ensure_eq("when full", &queue.size(), &3)?;
    expect(&mut flow, 0).await?;
    ensure_eq("after one was taken", &queue.size(), &2)
}

async fn everything_enqueued_is_delivered(driver: &dyn StreamDriver) -> CaseResult {
    let (queue, mut flow) = driver.queue(7)?;
    let mut chance = fastrand::Rng::with_seed(SEED);
    let (mut enqueued, mut delivered) = (Vec::new(), Vec::new());
    for item in 0..2000 {
        if queue.offer(item) == Offer::Enqueued {
            enqueued.push(item);
        }
        if chance.u8(0..3) == 0 {
            let next = flow.next().await;
            delivered.extend(next.and_then(Result::ok));
        }
    }
    queue.complete();
    delivered.extend(values(flow).await?);
    ensure_eq("delivered", &delivered, &enqueued)
}

async fn a_thousand_handles_share_one_bound(driver: &dyn StreamDriver) -> CaseResult {
    let (queue, _flow) = driver.queue(4)?;
    let handles: Vec<_> = (0..1000).map(|_| queue.another()).collect();
    let offers = handles.iter().map(|handle| handle.offer(1));
    let enqueued = offers.filter(|offer| *offer == Offer::Enqueued).count();
    ensure_eq("enqueued through 1000 handles", &enqueued, &4)
}

/// Offers from a thread until it is taken, for `times` elements.
fn offer_all(queue: &dyn Queue, times: u64) {
    for item in 0..times {
        while queue.offer(item) == Offer::Dropped {
            std::thread::yield_now();
        }
    }
}

async fn a_thousand_handles_from_threads_lose_nothing(driver: &dyn StreamDriver) -> CaseResult {
    let (queue, mut flow) = driver.queue(8)?;
    let producers: Vec<_> = (0..8)
        .map(|_| {
            let handles: Vec<_> = (0..125).map(|_| queue.another()).collect();
            std::thread::spawn(move || handles.iter().for_each(|handle| offer_all(&**handle, 10)))
        })
        .collect();
    drop(queue);
    // Never idle, so that paused time stands still while the threads work.
    let mut seen = Vec::new();
    while seen.len() < 10_000 {
        let done = producers.iter().all(std::thread::JoinHandle::is_finished);
        match poll_immediate(flow.next()).await {
            Some(Some(item)) => seen.push(item.map_err(super::unexpected)?),
            Some(None) => break,
            None if done => break,
            None => std::thread::yield_now(),
        }
    }
    for producer in producers {
        let joined = producer.join();
        ensure(joined.is_ok(), || "a producer panicked".to_owned())?;
    }
    ensure_eq("elements", &seen.len(), &10_000)?;
    ensure_eq("their sum", &seen.iter().sum::<u64>(), &45_000)
}

async fn the_last_handle_completes_the_queue(driver: &dyn StreamDriver) -> CaseResult {
    let (queue, flow) = driver.queue(5)?;
    let another = queue.another();
    queue.offer(1);
    drop(queue);
    another.offer(2);
    drop(another);
    ensure_eq("elements", &values(flow).await?, &vec![1, 2])
}

//! Large answers and large events share one budget of memory.

use bytes::Bytes;
use kebne_lane::TailEnding;
use tokio::{
    sync::mpsc::{self, error::TryRecvError},
    task::JoinHandle,
};

use super::*;
use crate::{
    backend::{reason::NO_MEMORY, wire::canned_bytes},
    memory::ByteBudget,
};

const OPENAI: &str = "kind = 'openai'";
/// The whole budget; there is room for one large answer.
const TOTAL: usize = 1 << 20;
const LARGE: usize = 700 << 10;

async fn whole(size: usize, budget: &ByteBudget) -> Result<Answer<ModelResponse>, Failure> {
    let text = "x".repeat(size);
    let body = format!(
        r#"{{"choices":[{{"index":0,"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}"#
    );
    let length = body.len();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
    let (address, _served) = canned_bytes(answer.into_bytes()).await;
    let backend = build(OPENAI, address, "").with_answer_budget(budget);
    try_once(&backend, chat(false)).await
}

/// Begins a stream of one event for each size of its text.
async fn streamed(
    sizes: &[usize],
    budget: &ByteBudget,
) -> Result<(mpsc::Receiver<StreamItem>, JoinHandle<TailEnding>), Failure> {
    let events = sizes.iter().map(|size| {
        let text = "x".repeat(*size);
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    });
    let events: String = events.collect();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{events}data: [DONE]\n\n"
    );
    let (address, _served) = canned_bytes(answer.into_bytes()).await;
    let backend = build(OPENAI, address, "").with_answer_budget(budget);
    let answer = try_once(&backend, chat(true)).await?;
    let ModelBody::Stream(events) = answer.response.body else {
        panic!("a stream was requested");
    };
    Ok((events, tokio::spawn(answer.tail.unwrap())))
}

/// Reads until the large event.
async fn large_event(events: &mut mpsc::Receiver<StreamItem>) -> Bytes {
    loop {
        match events.recv().await {
            Some(StreamItem::Events(events)) if events.len() > LARGE => return events,
            Some(StreamItem::Events(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn is_shed(failure: &Failure) -> bool {
    failure.reason == Some(NO_MEMORY) && failure.is_shed && failure.outcome == Outcome::Unusable
}

#[tokio::test]
async fn large_whole_answers_share_one_budget_and_give_it_back() {
    let budget = ByteBudget::new(TOTAL);
    let _small = whole(30 << 10, &budget).await.unwrap();
    assert_eq!(budget.taken(), 0, "a small answer is not charged");
    let held = whole(LARGE, &budget).await.unwrap();
    let taken = budget.taken();
    assert!((LARGE..TOTAL).contains(&taken), "{taken}");
    let failure = whole(LARGE, &budget).await.unwrap_err();
    assert!(is_shed(&failure), "{failure:?}");
    drop(held);
    assert_eq!(budget.taken(), 0);
    let _room = whole(LARGE, &budget).await.unwrap();
}

#[tokio::test]
async fn a_large_event_is_charged_until_it_is_written_and_refused_only_as_the_first() {
    let budget = ByteBudget::new(TOTAL);
    let (mut events, _tail) = streamed(&[LARGE, 1], &budget).await.unwrap();
    let held = large_event(&mut events).await;
    let taken = budget.taken();
    assert!((LARGE..TOTAL).contains(&taken), "{taken}");
    let failure = streamed(&[LARGE], &budget).await.map(drop).unwrap_err();
    assert!(is_shed(&failure), "{failure:?}");
    drop(held);
    assert_eq!(budget.taken(), 0);
    let _room = streamed(&[LARGE], &budget).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_has_begun_waits_for_room() {
    let budget = ByteBudget::new(TOTAL);
    let (mut first, _tail) = streamed(&[1, LARGE], &budget).await.unwrap();
    let held = large_event(&mut first).await;
    let (mut second, _tail) = streamed(&[1, LARGE], &budget).await.unwrap();
    // A stream that waits has all the room there is.
    while budget.free() > 0 {
        tokio::task::yield_now().await;
    }
    while let Ok(item) = second.try_recv() {
        assert!(matches!(item, StreamItem::Events(events) if events.len() < LARGE));
    }
    assert_eq!(second.try_recv().unwrap_err(), TryRecvError::Empty);
    drop(held);
    drop(large_event(&mut second).await);
    let last = loop {
        match second.recv().await {
            Some(StreamItem::Events(_)) => {}
            last => break last,
        }
    };
    assert!(matches!(last, Some(StreamItem::End)), "{last:?}");
}

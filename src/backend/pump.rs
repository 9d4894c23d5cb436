//! Moves the rest of a stream from a backend to the caller, and handles its endings.
//!
//! A slow reader slows down the reading from the backend, and its time is never counted as the backend's.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use kebne_control::Outcome;
use kebne_lane::{Answer, Failure, TailEnding};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    backend::reason::SILENT,
    llm::{
        AnswerUsage, ModelBody, ModelResponse, STREAM_BUFFER_ITEMS, StreamItem, StreamUsage, Usage,
    },
    memory::SMALL,
};

/// The number of bytes of events after which a stream waits until its reader has taken all of them. Events of this size
/// have a share of the budget of answers, smaller ones do not.
const READ_AHEAD_MAX: usize = SMALL;

/// The source of the parts of a stream. Dropping it closes its connection.
pub(crate) trait EventSource: Send + 'static {
    /// Waits for one or more complete events; `None` is the normal end.
    ///
    /// # Errors
    /// Returns an error if the stream is lost, or if nothing arrived for the idle timeout.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Failure>> + Send;

    /// Returns the output tokens, as far as they are known at the end.
    fn tokens(&self) -> Option<u32>;

    /// Returns the tokens that the backend has reported so far.
    fn usage(&self) -> Usage {
        Usage::of_output(self.tokens())
    }

    /// Returns `true` if the last event was returned. Only the end follows, which need not be awaited.
    fn is_complete(&self) -> bool;

    /// Finishes after the last event, once the caller has it.
    fn finish(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Bounds the time between two parts of a source that sends nothing besides its parts.
#[cfg(any(test, feature = "lab"))]
pub(crate) struct Timed<S> {
    source: S,
    idle_timeout: Duration,
}

#[cfg(any(test, feature = "lab"))]
impl<S> Timed<S> {
    pub(crate) fn new(source: S, idle_timeout: Duration) -> Self {
        Self {
            source,
            idle_timeout,
        }
    }
}

#[cfg(any(test, feature = "lab"))]
impl<S: EventSource> EventSource for Timed<S> {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let next = tokio::time::timeout(self.idle_timeout, self.source.next()).await;
        next.unwrap_or_else(|_| Err(silent(self.idle_timeout)))
    }

    fn tokens(&self) -> Option<u32> {
        self.source.tokens()
    }

    fn usage(&self) -> Usage {
        self.source.usage()
    }

    fn is_complete(&self) -> bool {
        self.source.is_complete()
    }

    async fn finish(&mut self) {
        self.source.finish().await;
    }
}

/// Creates the failure of a stream in which nothing arrived for `waited`.
pub(crate) fn silent(waited: Duration) -> Failure {
    let waited = humantime::format_duration(waited);
    let message = format!("the backend sent nothing for {waited} in the middle of a stream");
    Failure::new(Outcome::Timeout, message).because(SILENT)
}

/// Creates the answer of a stream whose first events have arrived.
pub(crate) fn stream<S: EventSource>(
    first: Bytes,
    source: S,
    cancelled: CancellationToken,
) -> Answer<ModelResponse> {
    let (sender, receiver) = mpsc::channel(STREAM_BUFFER_ITEMS);
    // The channel was just made and has room, so this cannot fail; a reader would see a lost stream if it did.
    let sent = sender.try_send(StreamItem::Events(first));
    debug_assert!(sent.is_ok(), "a new channel has room");
    let usage = Arc::new(StreamUsage::default());
    let mut response = ModelResponse::from(ModelBody::Stream(receiver));
    response.usage = AnswerUsage::OfStream(Arc::clone(&usage));
    note(&source, &usage);
    let sink = Sink { sender, usage };
    Answer::streamed(response, Box::pin(pump(source, sink, cancelled)))
}

/// Where a stream goes.
struct Sink {
    sender: mpsc::Sender<StreamItem>,
    /// Set before the last part is sent.
    usage: Arc<StreamUsage>,
}

/// Notes the tokens of what has arrived, and the usage if the answer is complete.
fn note(source: &impl EventSource, usage: &StreamUsage) {
    if let Some(tokens) = source.tokens() {
        usage.arrived(tokens);
    }
    if source.is_complete() {
        usage.report(|| source.usage());
    }
}

/// Pumps until the stream ends, is lost, or nobody wants it any more.
async fn pump<S: EventSource>(
    mut source: S,
    sink: Sink,
    cancelled: CancellationToken,
) -> TailEnding {
    let unwanted = async {
        tokio::select! {
            () = cancelled.cancelled() => {}
            () = sink.sender.closed() => {}
        }
    };
    let ending = tokio::select! {
        biased;
        () = unwanted => None,
        ending = deliver(&mut source, &sink) => Some(ending),
    };
    // A caller who has seen `[DONE]` goes away at once; the backend has succeeded all the same.
    let ending = ending.unwrap_or_else(|| TailEnding {
        outcome: if source.is_complete() {
            Outcome::Success {
                tokens: source.tokens(),
            }
        } else {
            Outcome::Cancelled
        },
        error: None,
    });
    drop(sink);
    if source.is_complete() {
        source.finish().await;
    }
    ending
}

/// Moves parts until the stream ends.
async fn deliver<S: EventSource>(source: &mut S, sink: &Sink) -> TailEnding {
    let sender = &sink.sender;
    let gone = || TailEnding {
        outcome: Outcome::Cancelled,
        error: None,
    };
    let mut read_ahead = 0;
    let lost = loop {
        let next = if source.is_complete() {
            Ok(None)
        } else {
            source.next().await
        };
        match next {
            Ok(Some(events)) => {
                read_ahead += events.len();
                note(source, &sink.usage);
                if sender.send(StreamItem::Events(events)).await.is_err() {
                    return gone();
                }
                if read_ahead > READ_AHEAD_MAX {
                    // There is room for all items once the reader has taken all of them.
                    if sender.reserve_many(STREAM_BUFFER_ITEMS).await.is_err() {
                        return gone();
                    }
                    read_ahead = 0;
                }
            }
            Ok(None) => {
                sink.usage.report(|| source.usage());
                let outcome = Outcome::Success {
                    tokens: source.tokens(),
                };
                // A caller who is gone by now has all events.
                let ending = TailEnding {
                    outcome,
                    error: None,
                };
                return match sender.send(StreamItem::End).await {
                    Ok(()) | Err(_) => ending,
                };
            }
            Err(failure) => break failure,
        }
    };
    let ending = TailEnding {
        outcome: lost.outcome,
        error: Some(lost.message.clone()),
    };
    if sender.send(StreamItem::Lost(lost)).await.is_err() {
        return gone();
    }
    ending
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    /// Gives `parts` events, each after `each`, then ends, or stays open.
    struct Scripted {
        parts: u32,
        each: Duration,
        ends: bool,
    }

    impl EventSource for Scripted {
        async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
            if self.parts == 0 && self.ends {
                return Ok(None);
            }
            if self.parts == 0 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(self.each).await;
            self.parts -= 1;
            Ok(Some(Bytes::from_static(b"data: {}\n\n")))
        }

        fn tokens(&self) -> Option<u32> {
            Some(7)
        }

        fn is_complete(&self) -> bool {
            self.parts == 0 && self.ends
        }
    }

    fn start(
        source: Scripted,
        idle: u64,
    ) -> (
        mpsc::Receiver<StreamItem>,
        tokio::task::JoinHandle<TailEnding>,
        CancellationToken,
    ) {
        let cancelled = CancellationToken::new();
        let first = Bytes::from_static(b"data: {}\n\n");
        let source = Timed::new(source, Duration::from_secs(idle));
        let answer = stream(first, source, cancelled.clone());
        let ModelBody::Stream(receiver) = answer.response.body else {
            panic!("a stream was asked for");
        };
        (receiver, tokio::spawn(answer.tail.unwrap()), cancelled)
    }

    /// Gives events of 25 KiB and counts them.
    struct Large(Arc<AtomicUsize>);

    impl EventSource for Large {
        async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
            self.0.fetch_add(1, SeqCst);
            Ok(Some(Bytes::from(vec![b'x'; 25 << 10])))
        }

        fn tokens(&self) -> Option<u32> {
            None
        }

        fn is_complete(&self) -> bool {
            false
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_who_reads_nothing_has_few_bytes_held_for_it() {
        let made = Arc::new(AtomicUsize::new(0));
        let first = Bytes::from_static(b"data: {}\n\n");
        let answer = stream(first, Large(Arc::clone(&made)), CancellationToken::new());
        let ModelBody::Stream(mut receiver) = answer.response.body else {
            panic!("a stream was asked for");
        };
        let tail = tokio::spawn(answer.tail.unwrap());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(made.load(SeqCst), 3);
        for _ in 0..3 {
            receiver.recv().await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(made.load(SeqCst), 3, "not all have been taken");
        }
        receiver.recv().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(made.load(SeqCst), 6);
        drop(receiver);
        tail.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_taken_for_a_silent_backend() {
        let source = Scripted {
            parts: 100,
            each: Duration::from_millis(10),
            ends: true,
        };
        let (mut receiver, tail, _) = start(source, 1);
        let mut events = 0;
        while let Some(item) = receiver.recv().await {
            match item {
                StreamItem::Events(_) => events += 1,
                StreamItem::End => break,
                StreamItem::Lost(failure) => panic!("lost: {failure}"),
            }
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        assert_eq!(events, 101);
        assert_eq!(
            tail.await.unwrap().outcome,
            Outcome::Success { tokens: Some(7) }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_source_is_a_loss_by_timeout_after_the_idle_time() {
        let begun = tokio::time::Instant::now();
        let source = Scripted {
            parts: 1,
            each: Duration::from_secs(1),
            ends: false,
        };
        let (mut receiver, tail, _) = start(source, 5);
        assert!(matches!(receiver.recv().await, Some(StreamItem::Events(_))));
        assert!(matches!(receiver.recv().await, Some(StreamItem::Events(_))));
        let Some(StreamItem::Lost(failure)) = receiver.recv().await else {
            panic!("not lost");
        };
        assert_eq!(failure.outcome, Outcome::Timeout);
        assert_eq!(begun.elapsed(), Duration::from_secs(6));
        assert_eq!(tail.await.unwrap().outcome, Outcome::Timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_or_dropping_the_reader_ends_the_tail_at_once() {
        for drop_reader in [true, false] {
            let source = Scripted {
                parts: 0,
                each: Duration::ZERO,
                ends: false,
            };
            let (receiver, tail, cancelled) = start(source, 3600);
            tokio::task::yield_now().await;
            let begun = tokio::time::Instant::now();
            let kept = if drop_reader {
                drop(receiver);
                None
            } else {
                cancelled.cancel();
                Some(receiver)
            };
            assert_eq!(tail.await.unwrap().outcome, Outcome::Cancelled);
            assert!(
                begun.elapsed() < Duration::from_millis(100),
                "{drop_reader}"
            );
            drop(kept);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_ends_a_tail_that_waits_for_a_reader_who_reads_nothing() {
        let source = Scripted {
            parts: 1000,
            each: Duration::ZERO,
            ends: true,
        };
        let (receiver, tail, cancelled) = start(source, 3600);
        tokio::time::sleep(Duration::from_secs(1)).await;
        cancelled.cancel();
        assert_eq!(tail.await.unwrap().outcome, Outcome::Cancelled);
        drop(receiver);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_leaves_with_the_last_event_does_not_make_it_a_cancellation() {
        let source = Scripted {
            parts: 1,
            each: Duration::ZERO,
            ends: true,
        };
        let (mut receiver, tail, _) = start(source, 5);
        for _ in 0..2 {
            assert!(matches!(receiver.recv().await, Some(StreamItem::Events(_))));
        }
        drop(receiver);
        let tokens = Some(7);
        assert_eq!(tail.await.unwrap().outcome, Outcome::Success { tokens });
    }
}

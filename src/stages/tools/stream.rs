//! Where the parts of an answer of several rounds go: into a list, or to a caller while they are made.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use kebne_wire::{mcp::McpStep, tool_rounds::RoundsPart};
use tokio::sync::mpsc;

use crate::surface::error::ApiError;

/// The parts that a stream holds until its caller takes them.
const PARTS_MAX: usize = 4;

/// Takes the parts of an answer.
pub(super) enum Sink {
    /// Of a whole answer. `None` if its caller does not need them.
    Whole(Option<Vec<RoundsPart>>),
    /// Of a stream.
    Stream(mpsc::Sender<RoundsPart>),
}

impl Sink {
    /// Takes events; waits while the caller does not take what is there.
    pub(super) async fn events(&mut self, events: String) {
        if !events.is_empty() {
            self.part(RoundsPart::Events(Bytes::from(events))).await;
        }
    }

    /// Takes a step.
    pub(super) async fn step(&mut self, step: McpStep) {
        self.part(RoundsPart::Step(step)).await;
    }

    /// Returns the parts of a whole answer.
    pub(super) fn into_parts(self) -> Vec<RoundsPart> {
        match self {
            Self::Whole(parts) => parts.unwrap_or_default(),
            Self::Stream(_) => Vec::new(),
        }
    }

    async fn part(&mut self, part: RoundsPart) {
        match self {
            Self::Whole(Some(parts)) => parts.push(part),
            Self::Whole(None) => {}
            Self::Stream(parts) => {
                // A stream that takes no more parts is dropped together with its rounds.
                let _is_taken = parts.send(part).await;
            }
        }
    }
}

type Work = Pin<Box<dyn Future<Output = Result<(), ApiError>>>>;

/// A part of a stream, or its end.
pub(in crate::stages) enum RoundsItem {
    /// A part.
    Part(RoundsPart),
    /// The answer is complete.
    End,
    /// The rest is lost.
    Lost(ApiError),
}

/// A streamed answer of several rounds. The rounds go on while it is polled, and end when it is dropped.
pub(in crate::stages) struct RoundsStream {
    work: Option<Work>,
    parts: mpsc::Receiver<RoundsPart>,
    /// The part that was awaited before the answer began.
    first: Option<RoundsItem>,
    ended: Option<Result<(), ApiError>>,
}

impl RoundsStream {
    /// Creates the stream of rounds that send their parts to a sink.
    pub(super) fn new(rounds: impl FnOnce(Sink) -> Work) -> Self {
        let (sender, parts) = mpsc::channel(PARTS_MAX);
        Self {
            work: Some(rounds(Sink::Stream(sender))),
            parts,
            first: None,
            ended: None,
        }
    }

    /// Waits for the first part.
    ///
    /// # Errors
    /// Returns the error of an answer that ends before it begins.
    pub(in crate::stages) async fn begun(mut self) -> Result<Self, ApiError> {
        match std::future::poll_fn(|task| self.poll_next(task)).await {
            RoundsItem::Lost(error) => Err(error),
            first => {
                self.first = Some(first);
                Ok(self)
            }
        }
    }

    pub(in crate::stages) fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<RoundsItem> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(first);
        }
        loop {
            if let Poll::Ready(Some(part)) = self.parts.poll_recv(task) {
                return Poll::Ready(RoundsItem::Part(part));
            }
            if let Some(ended) = self.ended.take() {
                return Poll::Ready(match ended {
                    Ok(()) => RoundsItem::End,
                    Err(error) => RoundsItem::Lost(error),
                });
            }
            let Some(work) = &mut self.work else {
                return Poll::Ready(RoundsItem::End);
            };
            match work.as_mut().poll(task) {
                Poll::Ready(ended) => {
                    self.work = None;
                    self.ended = Some(ended);
                }
                // It waits for something else, or for room.
                Poll::Pending => {
                    return match self.parts.poll_recv(task) {
                        Poll::Ready(Some(part)) => Poll::Ready(RoundsItem::Part(part)),
                        _ => Poll::Pending,
                    };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut stream: RoundsStream) -> (usize, bool) {
        let mut count = 0;
        loop {
            match std::future::poll_fn(|task| stream.poll_next(task)).await {
                RoundsItem::Part(_) => count += 1,
                RoundsItem::End => return (count, true),
                RoundsItem::Lost(_) => return (count, false),
            }
        }
    }

    fn stream(parts: usize, fails: bool) -> RoundsStream {
        RoundsStream::new(|mut sink| {
            Box::pin(async move {
                for number in 0..parts {
                    sink.events(format!("data: {number}\n\n")).await;
                }
                if fails {
                    return Err(ApiError::deadline_passed());
                }
                Ok(())
            })
        })
    }

    #[actix::test]
    async fn all_parts_arrive_before_the_end_and_before_a_loss() {
        assert_eq!(all(stream(3 * PARTS_MAX, false)).await, (12, true));
        assert_eq!(all(stream(3 * PARTS_MAX, true)).await, (12, false));
        let begun = stream(2, true).begun().await.unwrap();
        assert_eq!(all(begun).await, (2, false));
        assert!(stream(0, true).begun().await.is_err());
        let empty = stream(0, false).begun().await.unwrap();
        assert_eq!(all(empty).await, (0, true));
    }
}

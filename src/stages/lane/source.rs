//! Where the parts of a streamed answer come from: the attempt of a lane, or an answer that is shared or was kept.

use std::task::{Context, Poll};

use bytes::Bytes;
use kebne_lane::{CallGuard, Ending};
#[cfg(feature = "mcp")]
use kebne_wire::{mcp::McpStep, tool_rounds::RoundsPart};
use tokio::sync::mpsc;

use crate::{
    answer_cache::{RideItem, Rider},
    gateway::GatewayReply,
    llm::StreamItem,
    stages::cache::Ridden,
    surface::error::ApiError,
};

#[cfg(feature = "mcp")]
use crate::stages::tools::{RoundsItem, RoundsStream};

/// An answer that has begun.
pub(super) enum Started {
    /// From a lane.
    Lane(Box<GatewayReply>),
    /// Shared, or kept.
    Shared(Ridden),
    /// In rounds.
    #[cfg(feature = "mcp")]
    Rounds(Box<RoundsStream>),
}

/// A part of a stream.
pub(super) enum Item {
    /// Complete events.
    Events(Bytes),
    /// A step with a tool.
    #[cfg(feature = "mcp")]
    Step(McpStep),
    /// The answer is complete.
    End,
    /// The rest is lost.
    Lost(ApiError),
    /// The attempt has ended without an end.
    Died,
}

/// The source of a stream.
pub(super) enum Source {
    /// The attempt of a lane, and the guard of the call there.
    Lane(mpsc::Receiver<StreamItem>, CallGuard),
    /// An answer that is shared or was kept. Others count its ending in the lane.
    Shared(Rider),
    /// Rounds, each of which counts its own endings.
    #[cfg(feature = "mcp")]
    Rounds(Box<RoundsStream>),
}

impl Source {
    pub(super) fn poll(&mut self, task: &mut Context<'_>) -> Poll<Item> {
        let item = match self {
            Self::Lane(items, _) => match std::task::ready!(items.poll_recv(task)) {
                Some(StreamItem::Events(events)) => Item::Events(events),
                Some(StreamItem::End) => Item::End,
                Some(StreamItem::Lost(failure)) => Item::Lost(ApiError::failed(&failure)),
                None => Item::Died,
            },
            Self::Shared(rider) => match std::task::ready!(rider.poll_next(task)) {
                RideItem::Part(events) => Item::Events(events),
                RideItem::End => Item::End,
                RideItem::Lost(error) => Item::Lost(error),
            },
            #[cfg(feature = "mcp")]
            Self::Rounds(rounds) => match std::task::ready!(rounds.poll_next(task)) {
                RoundsItem::Part(RoundsPart::Events(events)) => Item::Events(events),
                RoundsItem::Part(RoundsPart::Step(step)) => Item::Step(step),
                RoundsItem::End => Item::End,
                RoundsItem::Lost(error) => Item::Lost(error),
            },
        };
        Poll::Ready(item)
    }

    /// Ends the call; returns the ending that is counted.
    pub(super) fn finish(self, ending: Ending) -> Ending {
        match self {
            Self::Lane(_, guard) => guard.finish(ending),
            Self::Shared(_) => ending,
            #[cfg(feature = "mcp")]
            Self::Rounds(_) => ending,
        }
    }

    /// Ends the call of a caller that has left.
    pub(super) fn leave(self) -> Ending {
        match self {
            Self::Lane(_, guard) => guard.leave(),
            Self::Shared(_) => Ending::Cancelled,
            #[cfg(feature = "mcp")]
            Self::Rounds(_) => Ending::Cancelled,
        }
    }

    /// Returns the ending with which the lane itself ended the call.
    pub(super) fn verdict(&self) -> Option<Ending> {
        match self {
            Self::Lane(_, guard) => guard.verdict(),
            Self::Shared(_) => None,
            #[cfg(feature = "mcp")]
            Self::Rounds(_) => None,
        }
    }
}

//! Probes for tests of streams: a source that the test feeds, and a sink that takes only what the test asks for.
//!
//! A Rust stream is pulled: a request is a poll that has no element yet. A [`SourceProbe`] sees these requests, and that the
//! stream is dropped. A [`SinkProbe`] polls a stream only in its own methods, so that between two of them nothing is
//! requested. Waits use tokio's time, which a test may pause. After Pekko's `TestSource` and `TestSink`.
//!
//! ```
//! use std::time::Duration;
//!
//! use kebne_streams::{FlowExt, Pace, testkit::{SinkProbe, source_probe}};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
//! let second = Duration::from_secs(1);
//! let (source, mut feed) = source_probe();
//! let mut sink = SinkProbe::new(source.throttle(Pace::new(1, second)?.burst(1)));
//! feed.expect_no_request();
//! feed.send(1).send(2).complete();
//! sink.expect_next(&1).await;
//! sink.expect_nothing_for(Duration::from_millis(900)).await;
//! sink.expect_next(&2).await;
//! sink.expect_complete().await;
//! sink.cancel();
//! feed.expect_cancelled().await;
//! # Ok::<(), kebne_streams::backoff::InvalidSetting>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![expect(
    clippy::panic,
    reason = "an expectation that does not hold fails the test"
)]

use std::time::Duration;

mod sink;
mod source;

pub use sink::SinkProbe;
pub use source::{ProbedSource, SourceProbe, source_probe};

/// The longest wait for what is expected, as in Pekko's test kit.
const WAIT_MAX: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;

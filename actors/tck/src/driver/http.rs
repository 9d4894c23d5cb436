//! What a library that serves HTTP offers: the same handlers, by its own rules for connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

use super::Offered;

/// Serves the handlers of `http_app`.
pub trait HttpDriver {
    /// Starts a server on a thread of its own, with the library's defaults.
    ///
    /// # Errors
    /// When the library serves no HTTP.
    fn serve(&self, upstream: Upstream) -> Offered<Box<dyn Server>>;
}

/// A running server; it stops when dropped.
pub trait Server {
    /// Returns where it listens.
    fn address(&self) -> SocketAddr;
}

/// The upstream of the handlers: a call begins when its guard is made and is over when that is dropped.
#[derive(Clone, Debug)]
pub struct Upstream {
    began: Sender<()>,
    dropped: Sender<Instant>,
    produced: Arc<AtomicU64>,
}

/// One call to the upstream.
#[derive(Debug)]
pub struct UpstreamCall(Upstream);

/// What a case sees of the upstream.
#[derive(Debug)]
pub struct Watch {
    began: Receiver<()>,
    dropped: Receiver<Instant>,
    produced: Arc<AtomicU64>,
}

impl Upstream {
    /// Makes an upstream and the watch over it.
    pub fn watched() -> (Self, Watch) {
        let (began, begins) = channel();
        let (dropped, drops) = channel();
        let upstream = Self {
            began,
            dropped,
            produced: Arc::default(),
        };
        let watch = Watch {
            began: begins,
            dropped: drops,
            produced: Arc::clone(&upstream.produced),
        };
        (upstream, watch)
    }

    /// Begins a call.
    pub fn begin(&self) -> UpstreamCall {
        let _nobody_watches = self.began.send(());
        UpstreamCall(self.clone())
    }

    /// Notes that so many bytes were produced.
    pub fn produce(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.produced.fetch_add(bytes, SeqCst);
    }
}

impl Drop for UpstreamCall {
    fn drop(&mut self) {
        let _nobody_watches = self.0.dropped.send(Instant::now());
    }
}

impl Watch {
    /// Waits, in real time, until a call has begun; false when none did.
    pub fn begins(&self, patience: Duration) -> bool {
        self.began.recv_timeout(patience).is_ok()
    }

    /// Waits, in real time, until a call was dropped; says when.
    pub fn drops(&self, patience: Duration) -> Option<Instant> {
        self.dropped.recv_timeout(patience).ok()
    }

    /// Returns the bytes produced so far.
    pub fn produced(&self) -> u64 {
        self.produced.load(SeqCst)
    }
}

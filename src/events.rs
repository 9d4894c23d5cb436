//! The events of the gateway: what happened, told to whoever follows.
//!
//! Owns the bounded queue between those who emit events and the thread that writes them, and the last events in memory. Emitting never waits: an event
//! that finds the queue full is lost and counted. The types of events are those of `kebne-events`; nothing here decides what happens to a call.

mod alerts;
mod calls;
mod outside;
mod writer;

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use kebne_actors::{Offer, Recipient};
use kebne_event_bus::{BusError, FileError, Follower, MemoryBus, Message, Outbox};
use kebne_events::{Data, Event, SessionChange, SessionChanged, TYPES};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::{
    record::CallRecord,
    settings::{Environment, EventsSettings},
    unix_time,
};

use outside::Outside;
pub use outside::OutsideReport;
use writer::{Job, Writer};

/// Who gets each event on the thread that writes them.
pub trait EventSink: std::fmt::Debug + Send + Sync {
    /// Returns `true` if it takes events now. It must not wait.
    fn takes_any(&self) -> bool;

    /// Takes an event, in the form in which it is published. It may wait for a file.
    fn take(&self, event: &Event, message: &Message);
}

/// What is set once the service has it.
type Sink = Arc<OnceLock<Arc<dyn EventSink>>>;

/// The emitter of events; clones share it.
#[derive(Clone, Debug)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The queue of the writer; `None` if no events are emitted.
    jobs: Option<mpsc::Sender<Job>>,
    recent: MemoryBus,
    /// Who gets events besides.
    sink: Sink,
    /// The bus outside this process.
    outside: Option<Outside>,
    /// Tells the ids of this process from those of others.
    process: String,
    next: AtomicU64,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    /// The events of each type, in the order of [`TYPES`].
    emitted: [AtomicU64; TYPES.len()],
    /// Events that found the queue full.
    lost: AtomicU64,
}

impl Counts {
    fn count(&self, kind: &str) {
        let place = TYPES.iter().position(|known| known.kind() == kind);
        if let Some(counter) = place.and_then(|place| self.emitted.get(place)) {
            counter.fetch_add(1, Relaxed);
        }
    }
}

/// Something that happened, and whose it is.
#[derive(Clone, Debug)]
pub struct Happened {
    /// The tenant; empty for the service itself.
    pub tenant: String,
    /// The session.
    pub session: Option<String>,
    /// When it happened, in milliseconds since 1970.
    pub at_ms: u64,
    /// What happened.
    pub data: Data,
}

/// The events as `/state` and the metrics show them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EventReport {
    /// `true` if events are emitted.
    pub enabled: bool,
    /// The events that were emitted, by type.
    pub emitted: BTreeMap<&'static str, u64>,
    /// Events that were lost because too many waited to be written.
    pub lost: u64,
    /// The bus outside this process; `None` without one.
    pub bus: Option<OutsideReport>,
}

/// The reason why no events can be emitted.
#[derive(Debug, thiserror::Error)]
pub enum StartEventsError {
    /// The thread cannot be started.
    #[error("events cannot be written: {0}")]
    Thread(#[from] io::Error),
    /// The key of the outbox cannot be read.
    #[error("`events.outbox.{key}`: {reason}")]
    Key {
        /// The setting.
        key: &'static str,
        /// The reason.
        reason: String,
    },
    /// The outbox cannot be used.
    #[error("`events.outbox.path`: {0}")]
    Outbox(#[from] kebne_event_bus::StartError),
    /// The bus cannot be used.
    #[error("`events.bus`: {0}")]
    Bus(#[from] BusError),
    /// A secret of the servers cannot be read.
    #[cfg(feature = "broker")]
    #[error(transparent)]
    Secret(#[from] crate::brokers::BrokerSecretError),
}

impl Events {
    /// Starts the thread that writes events, if the settings want events, and what publishes them.
    ///
    /// # Errors
    /// See [`StartEventsError`].
    pub async fn start(
        settings: &EventsSettings,
        environment: &dyn Environment,
    ) -> Result<Self, StartEventsError> {
        let recent = MemoryBus::new(settings.recent_max);
        let sink = Sink::default();
        let (mut jobs, mut outside) = (None, None);
        if settings.enabled {
            outside = Outside::start(settings, environment).await?;
            let (sender, inbox) = mpsc::channel(settings.queue_max);
            let writer = Writer {
                source: settings.source.clone(),
                recent: recent.clone(),
                outbox: outside.as_ref().map(|outside| outside.outbox.clone()),
                sink: Arc::clone(&sink),
            };
            writer.start(inbox)?;
            jobs = Some(sender);
        }
        Ok(Self::new(jobs, recent, (outside, sink)))
    }

    /// Creates an emitter whose events go nowhere.
    pub fn none() -> Self {
        Self::new(None, MemoryBus::new(1), (None, Sink::default()))
    }

    fn new(
        jobs: Option<mpsc::Sender<Job>>,
        recent: MemoryBus,
        (outside, sink): (Option<Outside>, Sink),
    ) -> Self {
        Self(Arc::new(Inner {
            jobs,
            recent,
            sink,
            outside,
            process: format!("{:016x}", fastrand::u64(..)),
            next: AtomicU64::new(1),
            counts: Counts::default(),
        }))
    }

    /// Has somebody get each event. Only the first call has an effect.
    pub fn give_to(&self, sink: Arc<dyn EventSink>) {
        let _first_ones_stay = self.0.sink.set(sink);
    }

    /// Returns `true` if events are emitted.
    pub fn are_enabled(&self) -> bool {
        self.0.jobs.is_some()
    }

    /// Returns `true` if somebody would see an event: there is a bus outside, a function subscribes, or somebody follows or did lately.
    fn are_read(&self) -> bool {
        let takes_any = |sink: &Arc<dyn EventSink>| sink.takes_any();
        self.0.outside.is_some()
            || self.0.sink.get().is_some_and(takes_any)
            || self.0.recent.is_read()
    }

    /// Emits an event; never waits. If nobody would see it, it is only counted.
    pub fn emit(&self, happened: Happened) -> Offer {
        let Some(jobs) = &self.0.jobs else {
            return Offer::Closed;
        };
        let counts = &self.0.counts;
        let kind = happened.data.kind();
        let number = self.0.next.fetch_add(1, Relaxed);
        if !self.are_read() {
            counts.count(kind);
            return Offer::Enqueued;
        }
        let event = Event {
            id: format!("{}-{number}", self.0.process),
            at_ms: happened.at_ms,
            tenant: happened.tenant,
            session: happened.session,
            data: happened.data,
        };
        if jobs.try_send(Job::Write(Box::new(event))).is_err() {
            if counts.lost.fetch_add(1, Relaxed) == 0 {
                tracing::warn!("events are lost, because too many wait to be written");
            }
            return Offer::Dropped;
        }
        counts.count(kind);
        Offer::Enqueued
    }

    /// Returns a recipient for emitters that do not know this type.
    pub fn recipient(&self) -> Recipient<Happened> {
        let events = self.clone();
        Recipient::new(move |happened| events.emit(happened))
    }

    /// Emits the events of an ended call.
    pub fn call_ended(&self, record: &CallRecord, currency: &str) {
        if !self.are_enabled() {
            return;
        }
        // Events that nobody would see are not made.
        if !self.are_read() {
            for kind in calls::kinds(record) {
                self.0.counts.count(kind);
            }
            return;
        }
        let at_ms = unix_time::millis();
        for data in calls::events(record, currency) {
            let happened = Happened {
                tenant: record.tenant.clone(),
                session: record.session.clone(),
                at_ms,
                data,
            };
            // A loss is counted.
            let _counted = self.emit(happened);
        }
    }

    /// Emits the change of a session.
    pub fn session_changed(
        &self,
        owner: &str,
        session: &str,
        (change, turn): (SessionChange, Option<u64>),
    ) {
        if !self.are_enabled() {
            return;
        }
        let happened = Happened {
            tenant: owner.to_owned(),
            session: Some(session.to_owned()),
            at_ms: unix_time::millis(),
            data: Data::SessionChanged(SessionChanged {
                session: session.to_owned(),
                change,
                turn,
            }),
        };
        // A loss is counted.
        let _counted = self.emit(happened);
    }

    /// Follows the events after the one with this id, if it is still in memory; else those from now on.
    pub fn follow(&self, after: Option<&str>) -> Follower {
        self.0.recent.follow(after)
    }

    /// Returns what was emitted.
    pub fn report(&self) -> EventReport {
        let counts = &self.0.counts;
        let emitted = TYPES.iter().zip(&counts.emitted);
        EventReport {
            enabled: self.are_enabled(),
            emitted: emitted
                .map(|(known, count)| (known.kind(), count.load(Relaxed)))
                .collect(),
            lost: counts.lost.load(Relaxed),
            bus: self.0.outside.as_ref().map(Outside::report),
        }
    }

    /// Returns the number of events of a tenant that wait for the bus outside.
    ///
    /// # Errors
    /// Fails if the outbox cannot be read.
    pub async fn waiting_of(&self, tenant: &str) -> Result<u64, FileError> {
        match self.outbox() {
            Some(outbox) => outbox.count_of(tenant).await,
            None => Ok(0),
        }
    }

    /// Removes the events of a tenant that wait for the bus outside; returns their number.
    ///
    /// # Errors
    /// Fails if the outbox cannot be written.
    pub async fn erase(&self, tenant: &str) -> Result<u64, FileError> {
        match self.outbox() {
            Some(outbox) => outbox.erase(tenant).await,
            None => Ok(0),
        }
    }

    fn outbox(&self) -> Option<&Outbox> {
        let outside = self.0.outside.as_ref()?;
        Some(&outside.outbox)
    }

    /// Waits until what was emitted before is written.
    pub async fn flush(&self) {
        let Some(jobs) = &self.0.jobs else {
            return;
        };
        let (done, is_done) = oneshot::channel();
        if jobs.send(Job::Flush(done)).await.is_ok() {
            // The writer answers, or is gone.
            let _nothing_waits = is_done.await;
        }
    }
}

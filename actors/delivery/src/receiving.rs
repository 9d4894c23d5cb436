//! The consumer's side as a state machine: order, duplicates, gaps, and the window.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::frame::{ToConsumer, ToProducer};

/// The highest number of a message; no producer lives to reach it.
const SEQUENCE_MAX: u64 = u64::MAX / 2;

/// A message that has arrived in its order and is not confirmed.
#[derive(Debug)]
struct Arrived<T> {
    message: Arc<T>,
    ack: bool,
}

/// The messages of one consumer.
#[derive(Debug)]
pub(crate) struct Receiving<T> {
    window: u64,
    session: Option<u64>,
    confirmed: u64,
    /// In order, from `confirmed + 1` on.
    ready: VecDeque<Arrived<T>>,
    /// Those that lie behind a gap.
    early: BTreeMap<u64, Arrived<T>>,
    /// The last that the producer may send.
    up_to: u64,
    /// The number for which the producer was asked last.
    missed: u64,
    has_heard: bool,
}

impl<T> Receiving<T> {
    pub(crate) fn new(window: u64) -> Self {
        Self {
            window: window.max(1),
            session: None,
            confirmed: 0,
            ready: VecDeque::new(),
            early: BTreeMap::new(),
            up_to: 0,
            missed: 0,
            has_heard: false,
        }
    }

    pub(crate) fn session(&self) -> Option<u64> {
        self.session
    }

    /// Returns the number of the last message before the first gap.
    fn received(&self) -> u64 {
        self.confirmed + self.ready.len() as u64
    }

    /// Returns the oldest message that is not confirmed, with its session and number.
    pub(crate) fn next(&self) -> Option<(u64, u64, &Arc<T>)> {
        let first = self.ready.front()?;
        Some((self.session?, self.confirmed + 1, &first.message))
    }

    fn request(&mut self, session: u64, timed_out: bool) -> ToProducer {
        self.up_to = self.confirmed + self.window;
        ToProducer::Request {
            session,
            confirmed: self.confirmed,
            received: self.received(),
            up_to: self.up_to,
            timed_out,
        }
    }

    /// Handles a message that has arrived, maybe not for the first time.
    pub(crate) fn receive(&mut self, frame: &ToConsumer<T>) -> Option<ToProducer> {
        if !(1..=SEQUENCE_MAX).contains(&frame.sequence) {
            return None;
        }
        let is_new = self.session.is_none_or(|session| frame.session > session);
        if is_new {
            return frame.first.then(|| self.begin(frame));
        }
        let session = self.session?;
        if frame.session < session {
            // A producer that has started later by a clock that was set back learns of it from the request.
            return frame.first.then(|| self.request(session, false));
        }
        self.has_heard = true;
        let (next, sequence) = (self.received() + 1, frame.sequence);
        if sequence < next {
            // The producer has not heard that this consumer knows the session.
            return frame.first.then(|| self.request(session, false));
        }
        if frame.first && sequence > next {
            // What lies between was confirmed by an earlier consumer.
            return Some(self.begin(frame));
        }
        if sequence > self.up_to {
            return None;
        }
        let Arrived { message, ack } = arrived(frame);
        self.early
            .entry(sequence)
            .or_insert(Arrived { message, ack });
        self.settle();
        if sequence == next || self.missed == next {
            return None;
        }
        self.missed = next;
        Some(ToProducer::Resend {
            session,
            from: next,
        })
    }

    /// Begins a session with its first message. What is in hand of an earlier one can no longer be confirmed.
    fn begin(&mut self, frame: &ToConsumer<T>) -> ToProducer {
        self.session = Some(frame.session);
        self.confirmed = frame.sequence - 1;
        self.missed = 0;
        self.has_heard = true;
        self.early.clear();
        self.ready.clear();
        self.ready.push_back(arrived(frame));
        self.request(frame.session, false)
    }

    /// Moves what has no gap before it.
    fn settle(&mut self) {
        loop {
            let next = self.received() + 1;
            let Some(arrived) = self.early.remove(&next) else {
                return;
            };
            self.ready.push_back(arrived);
        }
    }

    /// Confirms the oldest message. Another number has no effect.
    pub(crate) fn confirm(&mut self, session: u64, sequence: u64) -> Option<ToProducer> {
        let is_next = self.next().map(|next| (next.0, next.1)) == Some((session, sequence));
        let arrived = is_next.then(|| self.ready.pop_front())??;
        self.confirmed = sequence;
        let room = self.confirmed + self.window - self.up_to;
        if room >= (self.window / 2).max(1) {
            return Some(self.request(session, false));
        }
        let confirmed = self.confirmed;
        arrived
            .ack
            .then_some(ToProducer::Ack { session, confirmed })
    }

    /// Returns what is to be told where nothing has arrived since the last call.
    pub(crate) fn silence(&mut self) -> Option<ToProducer> {
        let has_heard = std::mem::take(&mut self.has_heard);
        (!has_heard).then(|| self.ask_anew())
    }

    /// Returns what has the producer send again what is lost.
    pub(crate) fn ask_anew(&mut self) -> ToProducer {
        self.missed = 0;
        match self.session {
            None => ToProducer::Register,
            Some(session) => self.request(session, true),
        }
    }
}

fn arrived<T>(frame: &ToConsumer<T>) -> Arrived<T> {
    Arrived {
        message: Arc::clone(&frame.message),
        ack: frame.ack,
    }
}

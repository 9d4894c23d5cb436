//! The producer's side as a state machine: numbers, the window, and what is sent again.

use std::{collections::VecDeque, sync::Arc};

use crate::frame::{ToConsumer, ToProducer};

/// A message that is not confirmed, with what its sender keeps for it.
#[derive(Debug)]
struct Held<T, K> {
    message: Arc<T>,
    ack: bool,
    kept: K,
}

/// The messages of one producer that are not confirmed.
#[derive(Debug)]
pub(crate) struct Sending<T, K> {
    session: u64,
    /// In order, from `confirmed + 1` on.
    held: VecDeque<Held<T, K>>,
    confirmed: u64,
    /// The last that was sent.
    sent: u64,
    /// The last that may be sent.
    allowed: u64,
    /// Whether a consumer has registered.
    has_consumer: bool,
    /// Whether a consumer was heard that knows the session.
    is_known: bool,
}

/// What follows from something that was heard.
#[derive(Debug)]
pub(crate) struct Heard<T, K> {
    pub(crate) frames: Vec<ToConsumer<T>>,
    /// What was kept for the messages that are confirmed now, in their order.
    pub(crate) confirmed: Vec<K>,
}

impl<T, K> Sending<T, K> {
    pub(crate) fn new(session: u64) -> Self {
        Self {
            session,
            held: VecDeque::new(),
            confirmed: 0,
            sent: 0,
            allowed: 1,
            has_consumer: false,
            is_known: false,
        }
    }

    /// Returns `true` if a message that is added now can be sent now.
    pub(crate) fn has_demand(&self) -> bool {
        self.last() < self.allowed
    }

    /// The number of the last message.
    fn last(&self) -> u64 {
        self.confirmed + self.held.len() as u64
    }

    /// Adds a message; returns what is to be sent.
    pub(crate) fn add(&mut self, message: Arc<T>, ack: bool, kept: K) -> Vec<ToConsumer<T>> {
        self.held.push_back(Held { message, ack, kept });
        self.pump()
    }

    /// Handles what a consumer tells.
    pub(crate) fn hear(&mut self, told: &ToProducer) -> Heard<T, K> {
        let mut confirmed = Vec::new();
        let frames = match told.session() {
            None => self.register(),
            // The consumer knows a session that began later by its number: a clock was set back meanwhile.
            Some(session) if session > self.session => {
                self.session = session.saturating_add(1);
                self.begin_anew()
            }
            Some(session) if session < self.session => Vec::new(),
            Some(_) => self.learn(told, &mut confirmed),
        };
        Heard { frames, confirmed }
    }

    /// Returns what is to be sent again where no consumer was heard.
    pub(crate) fn repeat_first(&self) -> Option<ToConsumer<T>> {
        let unheard = !self.is_known && self.sent > self.confirmed;
        unheard.then(|| self.frame(self.confirmed + 1))?
    }

    /// Serves a consumer that knows no session. It may be a new one, or one that was lost on the way.
    fn register(&mut self) -> Vec<ToConsumer<T>> {
        if std::mem::replace(&mut self.has_consumer, true) {
            return self.begin_anew();
        }
        // What was sent before the first consumer registered is on its way to it.
        Vec::new()
    }

    /// Sends the first message that is not confirmed, as the first of the session.
    fn begin_anew(&mut self) -> Vec<ToConsumer<T>> {
        self.is_known = false;
        self.sent = self.confirmed;
        self.allowed = self.confirmed + 1;
        self.pump()
    }

    /// Handles what a consumer tells that knows the session. If it is an earlier one, whose words come late, the next
    /// silence of the later one repairs what this did.
    fn learn(&mut self, told: &ToProducer, confirmed: &mut Vec<K>) -> Vec<ToConsumer<T>> {
        (self.has_consumer, self.is_known) = (true, true);
        match *told {
            ToProducer::Register => Vec::new(),
            ToProducer::Ack {
                confirmed: upto, ..
            } => {
                self.confirm(upto, confirmed);
                Vec::new()
            }
            // It lacks what an earlier consumer has confirmed, and is to go on after that.
            ToProducer::Resend { from, .. } if from <= self.confirmed => self.begin_anew(),
            ToProducer::Request {
                received,
                timed_out: true,
                ..
            } if received < self.confirmed => self.begin_anew(),
            ToProducer::Resend { from, .. } => self.again(from),
            ToProducer::Request {
                confirmed: upto,
                received,
                up_to,
                timed_out,
                ..
            } => {
                self.confirm(upto, confirmed);
                let mut frames = Vec::new();
                if timed_out {
                    frames = self.again(received.saturating_add(1));
                }
                self.allowed = self.allowed.max(up_to);
                frames.extend(self.pump());
                frames
            }
        }
    }

    fn confirm(&mut self, upto: u64, confirmed: &mut Vec<K>) {
        while self.confirmed < upto.min(self.sent) {
            let Some(held) = self.held.pop_front() else {
                return;
            };
            self.confirmed += 1;
            confirmed.push(held.kept);
        }
    }

    /// Returns what was sent from this number on and is not confirmed.
    fn again(&self, from: u64) -> Vec<ToConsumer<T>> {
        let from = from.max(self.confirmed + 1);
        (from..=self.sent)
            .filter_map(|sequence| self.frame(sequence))
            .collect()
    }

    fn pump(&mut self) -> Vec<ToConsumer<T>> {
        let from = self.sent.max(self.confirmed) + 1;
        let to = self.allowed.min(self.last());
        self.sent = self.sent.max(to);
        (from..=to)
            .filter_map(|sequence| self.frame(sequence))
            .collect()
    }

    fn frame(&self, sequence: u64) -> Option<ToConsumer<T>> {
        let at = usize::try_from(sequence.checked_sub(self.confirmed + 1)?).ok()?;
        let held = self.held.get(at)?;
        Some(ToConsumer {
            session: self.session,
            sequence,
            first: !self.is_known && at == 0,
            ack: held.ack,
            message: Arc::clone(&held.message),
        })
    }
}

//! The work on one message.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use kebne_event_bus::{BusError, Delivery, Message, Published};

use crate::consume::{
    Consumer,
    ask::Asked,
    call::Call,
    letters::{Address, Cause},
};

/// The deliveries after which a message becomes a dead letter: whatever works on it dies of it.
const DELIVERIES_MAX: u64 = 20;
/// The first and the longest wait after a failure of a call or of the bus.
const WAITS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// The tries to acknowledge a message whose answer is stored. If all fail it is delivered again, and its answer is dropped by its id.
const ACKNOWLEDGE_TRIES: usize = 3;

/// The work on one message; counted until it is dropped.
pub(super) struct Work {
    consumer: Consumer,
    delivery: Delivery,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.consumer.0.running.fetch_sub(1, SeqCst);
    }
}

impl Work {
    pub(super) fn new(consumer: Consumer, delivery: Delivery) -> Self {
        consumer.0.running.fetch_add(1, SeqCst);
        Self { consumer, delivery }
    }

    /// Works on the message, and tells the bus meanwhile that it is worked on.
    pub(super) async fn run(self) {
        tokio::select! {
            () = self.work() => {}
            () = self.extend() => {}
        }
    }

    async fn extend(&self) {
        let every = self.consumer.0.settings.acknowledge_within.0 / 3;
        loop {
            tokio::time::sleep(every).await;
            if let Err(error) = self.delivery.extend().await {
                // It may be delivered to another gateway as well; the first answer counts.
                tracing::debug!(%error, "a call that is worked on could not be held");
            }
        }
    }

    async fn work(&self) {
        let Some(answer) = self.answer().await else {
            // The gateway stops; the next one takes it at once.
            if let Err(error) = self.delivery.release(Duration::ZERO).await {
                tracing::debug!(%error, "a call could not be given back");
            }
            return;
        };
        let is_dead = answer.topic == self.consumer.0.settings.dead_letters;
        let Some(published) = self.publish(answer).await else {
            return;
        };
        let counts = &self.consumer.0.counts;
        let counter = match published {
            Published::Duplicate => &counts.duplicates,
            Published::Stored if is_dead => &counts.dead,
            Published::Stored => &counts.answered,
        };
        counter.fetch_add(1, SeqCst);
        for _ in 0..ACKNOWLEDGE_TRIES {
            match self.delivery.acknowledge().await {
                Ok(()) => return,
                Err(error) => self.failed(&error),
            }
        }
    }

    /// Returns what the message is answered with; `None` if the gateway stops before there is an answer.
    async fn answer(&self) -> Option<Message> {
        let payload = &self.delivery.message.payload;
        let reason = match Call::read(&self.delivery.message) {
            _ if self.delivery.attempt > DELIVERIES_MAX => Cause {
                status: 0,
                reason: "delivered_too_often".to_owned(),
                message: format!("it was delivered {} times", self.delivery.attempt),
            },
            Err(wrong) => Cause {
                status: 0,
                reason: wrong.reason.to_owned(),
                message: wrong.message,
            },
            Ok(call) => match self.ask(&call).await? {
                Ok(answer) => return Some(answer),
                Err(reason) => reason,
            },
        };
        let id = Call::id_of(&self.delivery.message);
        tracing::warn!(id, reason = reason.reason, "a call becomes a dead letter");
        let address = self.address(&id, &self.delivery.message.key, true);
        let letter = address.dead_letter(&reason, payload);
        // JSON of JSON can always be written.
        letter.ok()
    }

    /// Makes the call until it is answered, or refused, or has failed too often.
    async fn ask(&self, call: &Call) -> Option<Result<Message, Cause>> {
        let (inner, mut failed, mut wait) = (&self.consumer.0, 0, WAITS.0);
        loop {
            let (status, reason, message) = match inner.asker.ask(call).await {
                Asked::Answered { body, request } => {
                    let address = self.address(&call.id, &call.key, false);
                    let answer = address.answer(&body, request);
                    return Some(answer.map_err(|error| Cause {
                        status: 200,
                        reason: "unreadable_answer".to_owned(),
                        message: error.to_string(),
                    }));
                }
                Asked::PutOff(wait) => {
                    self.consumer.pause(wait);
                    self.sleep(wait).await?;
                    continue;
                }
                Asked::Refused {
                    status,
                    reason,
                    message,
                } => {
                    return Some(Err(Cause {
                        status,
                        reason,
                        message,
                    }));
                }
                Asked::Failed {
                    status,
                    reason,
                    message,
                } => (status, reason, message),
            };
            failed += 1;
            if failed >= inner.settings.tries {
                return Some(Err(Cause {
                    status,
                    reason,
                    message,
                }));
            }
            self.sleep(wait).await?;
            wait = (wait * 2).min(WAITS.1);
        }
    }

    /// Publishes an answer until the bus has it; `None` if the gateway stops before.
    async fn publish(&self, answer: Message) -> Option<Published> {
        let (inner, mut answer, mut wait) = (&self.consumer.0, answer, WAITS.0);
        loop {
            let error = match inner.buses.answers.publish(answer.clone()).await {
                Ok(published) => return Some(published),
                Err(error) => error,
            };
            self.failed(&error);
            if let BusError::Refused(message) = error {
                if answer.topic == inner.settings.dead_letters {
                    tracing::error!(id = answer.id, message, "a dead letter is lost");
                    return None;
                }
                answer = self.refused(&answer, message)?;
                continue;
            }
            self.sleep(wait).await?;
            wait = (wait * 2).min(WAITS.1);
        }
    }

    /// Returns the dead letter of a call whose answer the bus does not take.
    fn refused(&self, answer: &Message, message: String) -> Option<Message> {
        let reason = Cause {
            status: 200,
            reason: "answer_refused".to_owned(),
            message,
        };
        let id = Call::id_of(&self.delivery.message);
        let address = self.address(&id, &answer.key, true);
        let letter = address.dead_letter(&reason, &self.delivery.message.payload);
        letter.ok()
    }

    fn address<'a>(&'a self, call: &'a str, key: &'a str, is_dead: bool) -> Address<'a> {
        let inner = &self.consumer.0;
        let topic = if is_dead {
            &inner.settings.dead_letters
        } else {
            &inner.settings.answers
        };
        Address {
            source: &inner.source,
            topic,
            call,
            key,
        }
    }

    fn failed(&self, error: &BusError) {
        if self.consumer.0.counts.failures.fetch_add(1, SeqCst) == 0 {
            tracing::warn!(%error, "the bus of `kebne consume` fails");
        }
    }

    /// Waits; returns `None` if the gateway stops.
    async fn sleep(&self, wait: Duration) -> Option<()> {
        tokio::select! {
            biased;
            () = self.consumer.0.stop.cancelled() => None,
            () = tokio::time::sleep(wait) => Some(()),
        }
    }
}

//! Messages that are pulled from a subscription.

use std::{sync::Arc, time::Duration};

use kebne_event_bus::{BusError, Deliveries, Delivery, Later, Receipt};
use tokio::{sync::watch, time::Instant};

use crate::{
    group::{Group, moved},
    queue::{Place, Taken},
};

/// One who takes messages of a subscription.
#[derive(Debug)]
pub(crate) struct KafkaDeliveries {
    group: Arc<Group>,
    changes: watch::Receiver<()>,
}

impl KafkaDeliveries {
    pub(crate) fn new(group: Arc<Group>) -> Self {
        let changes = group.changes();
        Self { group, changes }
    }

    fn delivery(&self, taken: Taken) -> Delivery {
        let receipt = KafkaReceipt {
            group: Arc::clone(&self.group),
            place: taken.place,
            attempt: taken.attempt,
        };
        Delivery::new(taken.message, taken.attempt, Box::new(receipt))
    }
}

impl Deliveries for KafkaDeliveries {
    fn pull(&mut self, max: usize, wait: Duration) -> Later<'_, Result<Vec<Delivery>, BusError>> {
        Box::pin(async move {
            let until = Instant::now() + wait;
            loop {
                self.changes.borrow_and_update();
                let now = Instant::now();
                let (taken, due) = {
                    let mut queue = self.group.queue();
                    (queue.take(max, now), queue.next_due())
                };
                if !taken.is_empty() {
                    self.group.taken();
                }
                if !taken.is_empty() || now >= until {
                    let delivered = taken.into_iter().map(|taken| self.delivery(taken));
                    return Ok(delivered.collect());
                }
                let wake = due.map_or(until, |due| due.min(until));
                tokio::select! {
                    changed = self.changes.changed() => {
                        let gone = |_| BusError::Unavailable("it has stopped".to_owned());
                        changed.map_err(gone)?;
                    }
                    () = tokio::time::sleep_until(wake) => {}
                }
            }
        })
    }
}

/// What acknowledges a message.
#[derive(Debug)]
struct KafkaReceipt {
    group: Arc<Group>,
    place: Place,
    attempt: u64,
}

impl KafkaReceipt {
    fn delay(&self, wait: Option<Duration>) -> Result<(), BusError> {
        let mut queue = self.group.queue();
        let delayed = queue.delay(&self.place, self.attempt, wait, Instant::now());
        drop(queue);
        self.group.wake();
        delayed.map_err(|_| moved())
    }
}

impl Receipt for KafkaReceipt {
    fn acknowledge(&self) -> Later<'_, Result<(), BusError>> {
        Box::pin(self.group.acknowledge(&self.place))
    }

    fn extend(&self) -> Later<'_, Result<(), BusError>> {
        Box::pin(async { self.delay(None) })
    }

    fn release(&self, wait: Duration) -> Later<'_, Result<(), BusError>> {
        Box::pin(async move { self.delay(Some(wait)) })
    }
}

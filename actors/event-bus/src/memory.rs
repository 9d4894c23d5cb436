//! The bus inside a process.
//!
//! Owns the last messages, each once, and how far each subscription has come. It is bounded: the oldest message leaves when a further one comes, also
//! if a subscription has not seen it. Everything is gone when the process ends. It knows whether anybody reads, so that publishers can save the
//! work of writing messages that nobody would see.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use kebne_events::matches;
use tokio::{sync::watch, time::Instant};

use crate::bus::{
    BusError, Deliveries, Delivery, EventBus, Later, Message, Published, Receipt, Subscription,
};

/// The time for which messages are still wanted after the last follower has left: it may come back for what it has missed.
const WANTED_AFTER: Duration = Duration::from_mins(10);

/// The bus; clones share it.
#[derive(Clone, Debug)]
pub struct MemoryBus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The number of the newest message, and changes when a message is given back.
    changed: watch::Sender<u64>,
    /// `false` if nobody has read for long, so that there are no messages.
    is_read: AtomicBool,
}

#[derive(Debug)]
struct State {
    messages: VecDeque<Arc<Message>>,
    ids: HashSet<String>,
    /// The number of the first message of `messages`; the first one of all has 1.
    first: u64,
    messages_max: usize,
    groups: BTreeMap<String, Group>,
    /// When the last follower left.
    left: Option<Instant>,
}

/// The members of a subscription.
#[derive(Debug)]
struct Group {
    subscription: Subscription,
    /// The number of the next message that was never delivered.
    next: u64,
    unacknowledged: BTreeMap<u64, Unacknowledged>,
}

#[derive(Clone, Copy, Debug)]
struct Unacknowledged {
    attempt: u64,
    /// When it is delivered again.
    due: Instant,
}

/// What a follower finds next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// A message.
    Message(Arc<Message>),
    /// So many messages have left the bus before they were read.
    Missed(u64),
}

/// One who reads all messages in their order and acknowledges none.
#[derive(Debug)]
pub struct Follower {
    shared: Arc<Shared>,
    changes: watch::Receiver<u64>,
    next: u64,
}

impl MemoryBus {
    /// Creates a bus that holds at most this many messages, at least one.
    pub fn new(messages_max: usize) -> Self {
        let state = State {
            messages: VecDeque::new(),
            ids: HashSet::new(),
            first: 1,
            messages_max: messages_max.max(1),
            groups: BTreeMap::new(),
            left: None,
        };
        let shared = Shared {
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            is_read: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Publishes a message without waiting.
    pub fn put(&self, message: Message) -> Published {
        let newest = {
            let mut state = self.shared.state();
            if !state.ids.insert(message.id.clone()) {
                return Published::Duplicate;
            }
            state.messages.push_back(Arc::new(message));
            while state.messages.len() > state.messages_max {
                state.drop_oldest();
            }
            state.end()
        };
        self.shared.changed.send_replace(newest);
        Published::Stored
    }

    /// Follows the messages after the one with the id `after`, if it is still there; else those that are published from now on.
    pub fn follow(&self, after: Option<&str>) -> Follower {
        let changes = self.shared.changed.subscribe();
        let state = self.shared.state();
        self.shared.is_read.store(true, SeqCst);
        let place = after.and_then(|id| state.messages.iter().position(|one| one.id == id));
        let next = place.map_or(state.end(), |place| state.first + as_u64(place) + 1);
        drop(state);
        Follower {
            shared: Arc::clone(&self.shared),
            changes,
            next,
        }
    }

    /// Returns `true` if somebody reads the messages: there is a subscription, or a follower, or one was there in the last ten minutes. If not,
    /// the bus holds no messages any more, so that nobody who comes later misses some of those in between.
    pub fn is_read(&self) -> bool {
        let shared = &self.shared;
        if !shared.is_read.load(SeqCst) || shared.changed.receiver_count() > 0 {
            return shared.is_read.load(SeqCst);
        }
        let mut state = shared.state();
        let is_over = |left: Instant| left.elapsed() >= WANTED_AFTER;
        // One who comes now counts as a receiver before it takes the lock.
        let nobody = shared.changed.receiver_count() == 0 && state.groups.is_empty();
        if nobody && state.left.is_none_or(is_over) {
            while !state.messages.is_empty() {
                state.drop_oldest();
            }
            shared.is_read.store(false, SeqCst);
        }
        shared.is_read.load(SeqCst)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.state().left = Some(Instant::now());
    }
}

impl Follower {
    /// Waits for the next message. Returns `None` if the bus is gone.
    pub async fn next(&mut self) -> Option<Followed> {
        loop {
            self.changes.borrow_and_update();
            if let Some(found) = self.look() {
                return Some(found);
            }
            self.changes.changed().await.ok()?;
        }
    }

    fn look(&mut self) -> Option<Followed> {
        let state = self.shared.state();
        if self.next < state.first {
            let missed = state.first - self.next;
            self.next = state.first;
            return Some(Followed::Missed(missed));
        }
        let message = state.message(self.next)?;
        self.next += 1;
        Some(Followed::Message(message))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who wait, because a message can be delivered again.
    fn wake(&self) {
        self.changed.send_modify(|_| {});
    }
}

impl State {
    /// Returns the number of the next message that is published.
    fn end(&self) -> u64 {
        self.first + as_u64(self.messages.len())
    }

    fn message(&self, number: u64) -> Option<Arc<Message>> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.messages.get(place).cloned()
    }

    fn drop_oldest(&mut self) {
        let Some(gone) = self.messages.pop_front() else {
            return;
        };
        self.ids.remove(&gone.id);
        let number = self.first;
        self.first += 1;
        for group in self.groups.values_mut() {
            group.unacknowledged.remove(&number);
            group.next = group.next.max(self.first);
        }
    }

    /// Takes what can be delivered now.
    fn take(&mut self, name: &str, max: usize, now: Instant) -> Vec<(u64, u64, Arc<Message>)> {
        let Some(mut group) = self.groups.remove(name) else {
            return Vec::new();
        };
        let mut taken = Vec::new();
        let late = group
            .unacknowledged
            .iter()
            .filter(|(_, one)| one.due <= now);
        let late: Vec<u64> = late.map(|(number, _)| *number).take(max).collect();
        let within = group.subscription.acknowledge_within;
        for number in late {
            let (Some(message), Some(one)) =
                (self.message(number), group.unacknowledged.get_mut(&number))
            else {
                continue;
            };
            one.attempt += 1;
            one.due = now + within;
            taken.push((number, one.attempt, message));
        }
        let room = group.subscription.unacknowledged_max;
        while taken.len() < max && group.unacknowledged.len() < room {
            let number = group.next;
            let Some(message) = self.message(number) else {
                break;
            };
            group.next += 1;
            if matches(&group.subscription.filter, &message.topic) {
                let due = now + within;
                let one = Unacknowledged { attempt: 1, due };
                group.unacknowledged.insert(number, one);
                taken.push((number, 1, message));
            }
        }
        self.groups.insert(name.to_owned(), group);
        taken
    }

    /// Returns when the next unacknowledged message of a group is delivered again.
    fn next_due(&self, name: &str) -> Option<Instant> {
        let group = self.groups.get(name)?;
        group.unacknowledged.values().map(|one| one.due).min()
    }
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

impl EventBus for MemoryBus {
    fn publish(&self, message: Message) -> Later<'_, Result<Published, BusError>> {
        Box::pin(async move { Ok(self.put(message)) })
    }

    /// The messages that the bus holds already are delivered too.
    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> Later<'_, Result<Box<dyn Deliveries>, BusError>> {
        Box::pin(async move {
            let name = subscription.name.clone();
            let mut state = self.shared.state();
            self.shared.is_read.store(true, SeqCst);
            let next = state.first;
            let group = state.groups.entry(name.clone()).or_insert_with(|| Group {
                subscription: subscription.clone(),
                next,
                unacknowledged: BTreeMap::new(),
            });
            group.subscription = subscription;
            drop(state);
            let member = Member {
                shared: Arc::clone(&self.shared),
                changes: self.shared.changed.subscribe(),
                name,
            };
            Ok(Box::new(member) as Box<dyn Deliveries>)
        })
    }
}

/// A member of a subscription.
#[derive(Debug)]
struct Member {
    shared: Arc<Shared>,
    changes: watch::Receiver<u64>,
    name: String,
}

impl Deliveries for Member {
    fn pull(&mut self, max: usize, wait: Duration) -> Later<'_, Result<Vec<Delivery>, BusError>> {
        Box::pin(async move {
            let until = Instant::now() + wait;
            loop {
                self.changes.borrow_and_update();
                let now = Instant::now();
                let (taken, due) = {
                    let mut state = self.shared.state();
                    let taken = state.take(&self.name, max, now);
                    (taken, state.next_due(&self.name))
                };
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

impl Member {
    fn delivery(&self, (number, attempt, message): (u64, u64, Arc<Message>)) -> Delivery {
        let receipt = MemoryReceipt {
            shared: Arc::clone(&self.shared),
            name: self.name.clone(),
            number,
            attempt,
        };
        Delivery::new((*message).clone(), attempt, Box::new(receipt))
    }
}

/// The place of a delivery.
#[derive(Debug)]
struct MemoryReceipt {
    shared: Arc<Shared>,
    name: String,
    number: u64,
    attempt: u64,
}

impl MemoryReceipt {
    /// Changes when the message is delivered again, unless it was delivered anew meanwhile.
    fn delay(&self, wait: Option<Duration>) {
        let mut state = self.shared.state();
        if let Some(group) = state.groups.get_mut(&self.name) {
            let wait = wait.unwrap_or(group.subscription.acknowledge_within);
            if let Some(one) = group.unacknowledged.get_mut(&self.number)
                && one.attempt == self.attempt
            {
                one.due = Instant::now() + wait;
            }
        }
        drop(state);
        self.shared.wake();
    }
}

impl Receipt for MemoryReceipt {
    fn acknowledge(&self) -> Later<'_, Result<(), BusError>> {
        Box::pin(async {
            let mut state = self.shared.state();
            if let Some(group) = state.groups.get_mut(&self.name) {
                group.unacknowledged.remove(&self.number);
            }
            drop(state);
            // Others may have waited for room.
            self.shared.wake();
            Ok(())
        })
    }

    fn extend(&self) -> Later<'_, Result<(), BusError>> {
        Box::pin(async {
            self.delay(None);
            Ok(())
        })
    }

    fn release(&self, wait: Duration) -> Later<'_, Result<(), BusError>> {
        Box::pin(async move {
            self.delay(Some(wait));
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract;

    fn message(number: u64) -> Message {
        Message::new(number.to_string(), "a.b", "k", "{}")
    }

    #[tokio::test(start_paused = true)]
    async fn it_keeps_the_contract() {
        contract::check(&|| async { Ok(MemoryBus::new(1000)) }, "t")
            .await
            .unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_read_while_somebody_follows_and_ten_minutes_longer() {
        let bus = MemoryBus::new(10);
        assert!(!bus.is_read());
        let first = bus.follow(None);
        let second = bus.follow(None);
        assert!(bus.is_read());
        bus.put(message(0));
        drop(first);
        tokio::time::advance(Duration::from_mins(20)).await;
        assert!(bus.is_read(), "the second one follows");
        drop(second);
        tokio::time::advance(Duration::from_mins(9)).await;
        bus.put(message(1));
        assert!(bus.is_read());
        let mut back = bus.follow(Some("0"));
        let found = back.next().await;
        assert_eq!(found, Some(Followed::Message(Arc::new(message(1)))));
        drop(back);
        tokio::time::advance(Duration::from_mins(11)).await;
        assert!(!bus.is_read());
        // What came before has left, and is not taken for all that there was.
        let mut late = bus.follow(Some("0"));
        bus.put(message(2));
        let found = late.next().await;
        assert_eq!(found, Some(Followed::Message(Arc::new(message(2)))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscription_reads_also_while_no_member_is_there() {
        let bus = MemoryBus::new(10);
        drop(
            bus.subscribe(Subscription::new("group", "a.b"))
                .await
                .unwrap(),
        );
        tokio::time::advance(Duration::from_mins(20)).await;
        assert!(bus.is_read());
    }

    #[tokio::test(start_paused = true)]
    async fn a_follower_is_told_how_many_messages_it_has_missed() {
        let bus = MemoryBus::new(2);
        let mut follower = bus.follow(None);
        for number in 0..5 {
            bus.put(message(number));
        }
        assert_eq!(follower.next().await, Some(Followed::Missed(3)));
        assert_eq!(
            follower.next().await,
            Some(Followed::Message(Arc::new(message(3))))
        );
        let mut later = bus.follow(Some("3"));
        assert_eq!(
            later.next().await,
            Some(Followed::Message(Arc::new(message(4))))
        );
        let waits = tokio::time::timeout(Duration::from_secs(1), later.next());
        assert!(waits.await.is_err());
    }
}

//! The messages of a subscription that are in this process: those that have come and were not handed out, and those that were and are not acknowledged.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use kebne_event_bus::Message;
use tokio::time::Instant;

use crate::progress::{Position, Progress};

/// The messages that may have come and not been handed out. Beyond them nothing is fetched.
const READY_MAX: usize = 256;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Partition {
    pub(crate) topic: Arc<str>,
    pub(crate) number: i32,
}

/// Where a message is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) partition: Partition,
    pub(crate) offset: i64,
    /// Which of the times that this process had the partition.
    term: u64,
}

/// A message that is handed out.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) place: Place,
    pub(crate) message: Message,
    /// The number of times that it was handed out.
    pub(crate) attempt: u64,
}

/// The partition of a message belongs to another member now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved;

/// The messages of a subscription.
#[derive(Debug)]
pub(crate) struct Queue {
    within: Duration,
    unacknowledged_max: usize,
    partitions: BTreeMap<Partition, Owned>,
    ready: VecDeque<(Place, Message)>,
    open: BTreeMap<Place, Open>,
    terms: u64,
}

/// A partition that this process has.
#[derive(Debug)]
struct Owned {
    term: u64,
    progress: Progress,
    /// There is something to commit.
    is_dirty: bool,
}

#[derive(Debug)]
struct Open {
    message: Message,
    attempt: u64,
    /// When it is handed out again.
    due: Instant,
}

impl Queue {
    pub(crate) fn new(within: Duration, unacknowledged_max: usize) -> Self {
        Self {
            within,
            unacknowledged_max,
            partitions: BTreeMap::new(),
            ready: VecDeque::new(),
            open: BTreeMap::new(),
            terms: 0,
        }
    }

    /// Takes the bounds of a member that has come later.
    pub(crate) fn set_bounds(&mut self, within: Duration, unacknowledged_max: usize) {
        self.within = within;
        self.unacknowledged_max = unacknowledged_max;
    }

    /// Begins with a partition, where its last owner was.
    pub(crate) fn gain(&mut self, partition: Partition, committed: Option<(i64, &str)>) {
        self.lose(&partition);
        self.terms += 1;
        let owned = Owned {
            term: self.terms,
            progress: Progress::take_over(committed),
            // The takeover itself is to be known.
            is_dirty: committed.is_some(),
        };
        self.partitions.insert(partition, owned);
    }

    /// Forgets a partition.
    pub(crate) fn lose(&mut self, partition: &Partition) {
        self.partitions.remove(partition);
        self.ready
            .retain(|(place, _)| place.partition != *partition);
        self.open.retain(|place, _| place.partition != *partition);
    }

    /// Forgets all partitions.
    pub(crate) fn lose_all(&mut self) {
        self.partitions.clear();
        self.ready.clear();
        self.open.clear();
    }

    /// Returns the partitions that this process has.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.keys()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.ready.len() >= READY_MAX
    }

    /// Adds what has come; a message that is not wanted is done at once. What comes from a partition of others is left to them.
    pub(crate) fn put(&mut self, partition: &Partition, offset: i64, message: Option<Message>) {
        let Some(owned) = self.partitions.get_mut(partition) else {
            return;
        };
        owned.is_dirty = true;
        if !owned.progress.come(offset) {
            return;
        }
        let Some(message) = message else {
            owned.progress.done(offset);
            return;
        };
        let place = Place {
            partition: partition.clone(),
            offset,
            term: owned.term,
        };
        self.ready.push_back((place, message));
    }

    /// Hands out at most `max` messages: first those that were not acknowledged in time.
    pub(crate) fn take(&mut self, max: usize, now: Instant) -> Vec<Taken> {
        let mut taken = Vec::new();
        let due = now + self.within;
        for (place, open) in self.open.iter_mut().filter(|(_, open)| open.due <= now) {
            if taken.len() == max {
                return taken;
            }
            open.attempt += 1;
            open.due = due;
            taken.push(Taken {
                place: place.clone(),
                message: open.message.clone(),
                attempt: open.attempt,
            });
        }
        while taken.len() < max && self.open.len() < self.unacknowledged_max {
            let Some((place, message)) = self.ready.pop_front() else {
                break;
            };
            let owned = self.partitions.get(&place.partition);
            let before = owned.map_or(0, |owned| owned.progress.attempts_before(place.offset));
            let attempt = before.saturating_add(1);
            let open = Open {
                message: message.clone(),
                attempt,
                due,
            };
            self.open.insert(place.clone(), open);
            taken.push(Taken {
                place,
                message,
                attempt,
            });
        }
        taken
    }

    /// Returns when the next message is handed out again.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.open.values().map(|open| open.due).min()
    }

    /// Notes that a message is done.
    pub(crate) fn done(&mut self, place: &Place) -> Result<(), Moved> {
        let owned = self.owned(place)?;
        owned.progress.done(place.offset);
        owned.is_dirty = true;
        self.open.remove(place);
        Ok(())
    }

    /// Changes when a message is handed out again, unless it was handed out anew meanwhile.
    pub(crate) fn delay(
        &mut self,
        place: &Place,
        attempt: u64,
        wait: Option<Duration>,
        now: Instant,
    ) -> Result<(), Moved> {
        self.owned(place)?;
        let wait = wait.unwrap_or(self.within);
        if let Some(open) = self.open.get_mut(place)
            && open.attempt == attempt
        {
            open.due = now + wait;
        }
        Ok(())
    }

    fn owned(&mut self, place: &Place) -> Result<&mut Owned, Moved> {
        let owned = self.partitions.get_mut(&place.partition);
        owned.filter(|owned| owned.term == place.term).ok_or(Moved)
    }

    /// Returns what is to be committed, and takes it for committed; see [`Queue::uncommitted`].
    pub(crate) fn take_commits(&mut self) -> Vec<(Partition, Position)> {
        let dirty = self.partitions.iter_mut().filter(|(_, one)| one.is_dirty);
        dirty
            .filter_map(|(partition, owned)| {
                owned.is_dirty = false;
                Some((partition.clone(), owned.progress.position()?))
            })
            .collect()
    }

    /// Notes that the commit of partitions has failed.
    pub(crate) fn uncommitted(&mut self, partitions: impl IntoIterator<Item = Partition>) {
        for partition in partitions {
            if let Some(owned) = self.partitions.get_mut(&partition) {
                owned.is_dirty = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(30);

    fn partition(number: i32) -> Partition {
        Partition {
            topic: "t".into(),
            number,
        }
    }

    fn filled(count: i64) -> Queue {
        let mut queue = Queue::new(WITHIN, 4);
        queue.gain(partition(0), None);
        for offset in 0..count {
            let message = Message::new(offset.to_string(), "t", "k", "{}");
            queue.put(&partition(0), offset, Some(message));
        }
        queue
    }

    fn offsets(taken: &[Taken]) -> Vec<i64> {
        taken.iter().map(|one| one.place.offset).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_acknowledged_comes_again_first() {
        let (mut queue, now) = (filled(6), Instant::now());
        assert_eq!(offsets(&queue.take(3, now)), [0, 1, 2]);
        let later = now + WITHIN;
        let again = queue.take(9, later);
        // Four are unacknowledged, and there may be no more.
        assert_eq!(offsets(&again), [0, 1, 2, 3]);
        let attempts: Vec<u64> = again.iter().map(|one| one.attempt).collect();
        assert_eq!(attempts, [2, 2, 2, 1]);
        queue.done(&again[1].place).unwrap();
        assert_eq!(offsets(&queue.take(9, later)), [4]);
        let committed = queue.take_commits();
        assert_eq!(committed[0].1.offset, 0);
        assert!(queue.take_commits().is_empty());
        queue.uncommitted([partition(0)]);
        assert_eq!(queue.take_commits(), committed);
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_receipt_changes_nothing() {
        let (mut queue, now) = (filled(1), Instant::now());
        let first = queue.take(1, now).remove(0);
        let later = now + WITHIN;
        queue.take(1, later);
        let hour = Duration::from_hours(1);
        queue.delay(&first.place, 1, Some(hour), later).unwrap();
        assert_eq!(queue.next_due(), Some(later + WITHIN));
        queue.delay(&first.place, 2, Some(hour), later).unwrap();
        assert_eq!(queue.next_due(), Some(later + hour));
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_moved_cannot_be_acknowledged() {
        let (mut queue, now) = (filled(3), Instant::now());
        let taken = queue.take(1, now).remove(0);
        queue.lose(&partition(0));
        assert!(queue.take(9, now + WITHIN).is_empty());
        assert_eq!(queue.done(&taken.place), Err(Moved));
        queue.gain(partition(0), Some((0, "")));
        assert_eq!(queue.done(&taken.place), Err(Moved));
        let moved = queue.delay(&taken.place, 1, None, now);
        assert_eq!(moved, Err(Moved));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_filter_leaves_out_is_done_in_its_turn() {
        let (mut queue, now) = (filled(1), Instant::now());
        queue.put(&partition(0), 1, None);
        queue.put(&partition(7), 1, None);
        assert_eq!(queue.take_commits()[0].1.offset, 0);
        let taken = queue.take(9, now);
        queue.done(&taken[0].place).unwrap();
        let committed = queue.take_commits();
        assert_eq!((committed.len(), committed[0].1.offset), (1, 2));
    }
}

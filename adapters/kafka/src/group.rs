//! A subscription of this process: a member of a consumer group, whose messages are shared by all who have subscribed by its name.
//!
//! The member is in a task of its own, which fetches messages while there is room for them, and in any case shows the group that it lives. Another
//! loop of the task commits what was acknowledged, many acknowledgements at once.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use kebne_event_bus::{BusError, Message, Subscription};
use kebne_events::matches;
use krafka::{
    CloseOptions,
    admin::{AdminClient, ListConsumerGroupOffsetsOptions},
    consumer::{
        AutoOffsetReset, Consumer, ConsumerRebalanceListener, ConsumerRecord, OffsetAndMetadata,
        PartitionAssignmentStrategy, TopicPartition,
    },
};
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    ID, TOPIC, Topics,
    connection::Connection,
    error::{late, unavailable},
    queue::{Partition, Place, Queue},
};

/// The longest wait for messages, after which the members of the group are looked at.
const POLL: Duration = Duration::from_millis(200);
/// The messages that are fetched at once.
const POLL_MAX: i32 = 128;
/// The wait after a failure.
const AGAIN: Duration = Duration::from_millis(500);
/// The shortest time between two commits. What is acknowledged meanwhile is committed together.
const COMMIT_EVERY: Duration = Duration::from_millis(5);
/// The session timeouts that brokers accept by default.
const SESSION: (Duration, Duration) = (Duration::from_secs(6), Duration::from_mins(30));
/// The time that the member has for leaving the group.
const LEAVE: Duration = Duration::from_secs(3);

/// A subscription; it leaves the group when this is dropped.
#[derive(Debug)]
pub(crate) struct Group {
    shared: Arc<Shared>,
    ended: watch::Receiver<bool>,
    stop: CancellationToken,
    _stop: DropGuard,
}

/// What the task and those who take messages share.
#[derive(Debug)]
struct Shared {
    name: String,
    filter: String,
    topics: Topics,
    kafka_topics: Vec<String>,
    session: Duration,
    timeout: Duration,
    queue: Mutex<Queue>,
    /// Those who wait until their acknowledgement is committed.
    waiters: Mutex<Vec<oneshot::Sender<Result<(), BusError>>>>,
    /// Partitions that have come to this process and are not in the queue yet.
    gained: Mutex<Vec<Partition>>,
    /// Changes when there may be messages to take.
    changed: watch::Sender<()>,
    /// There is something to commit.
    commits: Notify,
    /// There is room for further messages.
    room: Notify,
}

impl Group {
    /// Subscribes to topics of Kafka.
    pub(crate) fn start(
        connection: Arc<Connection>,
        subscription: &Subscription,
        kafka_topics: Vec<String>,
    ) -> Self {
        let Subscription {
            name,
            filter,
            acknowledge_within,
            unacknowledged_max,
        } = subscription.clone();
        let options = connection.options();
        let shared = Arc::new(Shared {
            name,
            filter,
            topics: options.topics.clone(),
            kafka_topics,
            session: acknowledge_within.clamp(SESSION.0, SESSION.1),
            timeout: options.timeout,
            queue: Mutex::new(Queue::new(acknowledge_within, unacknowledged_max)),
            waiters: Mutex::default(),
            gained: Mutex::default(),
            changed: watch::Sender::new(()),
            commits: Notify::new(),
            room: Notify::new(),
        });
        let (sender, ended) = watch::channel(false);
        let stop = CancellationToken::new();
        let (member, stopped) = (Arc::clone(&shared), stop.clone());
        tokio::spawn(async move {
            member.run(&connection, &stopped).await;
            sender.send_replace(true);
        });
        Self {
            shared,
            ended,
            _stop: stop.clone().drop_guard(),
            stop,
        }
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue()
    }

    /// Returns what changes when there may be messages to take.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.shared.changed.subscribe()
    }

    /// Has those look again who wait for messages.
    pub(crate) fn wake(&self) {
        self.shared.changed.send_replace(());
    }

    /// Notes that messages were taken.
    pub(crate) fn taken(&self) {
        self.shared.room.notify_one();
    }

    /// Acknowledges a message, and waits until that is committed.
    pub(crate) async fn acknowledge(&self, place: &Place) -> Result<(), BusError> {
        let committed = {
            let mut queue = self.shared.queue();
            queue.done(place).map_err(|_| moved())?;
            let (sender, committed) = oneshot::channel();
            self.shared.waiters().push(sender);
            committed
        };
        self.shared.commits.notify_one();
        self.wake();
        let committed = tokio::time::timeout(self.shared.timeout, committed).await;
        committed
            .map_err(|_| late())?
            .map_err(|_| unavailable("the subscription has ended"))?
    }

    /// Returns `true` if the group was left.
    pub(crate) fn has_ended(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Leaves the group.
    pub(crate) async fn leave(&self) {
        self.stop.cancel();
        let mut ended = self.ended.clone();
        // A task that is gone has left too.
        drop(ended.wait_for(|ended| *ended).await);
    }
}

/// The message is another member's.
pub(crate) fn moved() -> BusError {
    unavailable("the partition of the message belongs to another member now")
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiters(&self) -> MutexGuard<'_, Vec<oneshot::Sender<Result<(), BusError>>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gained(&self) -> MutexGuard<'_, Vec<Partition>> {
        self.gained.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Is a member of the group until the subscription ends.
    async fn run(self: &Arc<Self>, connection: &Arc<Connection>, stop: &CancellationToken) {
        loop {
            let Err(error) = self.attend(connection, stop).await else {
                return;
            };
            tracing::warn!(group = self.name, %error, "messages cannot be taken from Kafka");
            self.gained().clear();
            self.queue().lose_all();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// Joins the group and takes part in it until the subscription ends, or the client cannot go on.
    async fn attend(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        stop: &CancellationToken,
    ) -> Result<(), BusError> {
        let client = connection.get().await?;
        let listener = Arc::new(Listener {
            shared: Arc::clone(self),
            consumer: OnceLock::new(),
        });
        let consumer = client.kafka.consumer(&self.name);
        let consumer = consumer
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .enable_auto_commit(false)
            .partition_assignment_strategy(PartitionAssignmentStrategy::CooperativeSticky)
            .session_timeout(self.session)
            .heartbeat_interval(self.session / 4)
            .fetch_max_wait(POLL)
            .max_poll_records(POLL_MAX)
            .metrics_push(false)
            .rebalance_listener(Arc::clone(&listener))
            .build();
        let consumer = Arc::new(consumer.await.map_err(unavailable)?);
        // It was made a moment ago, and is empty.
        drop(listener.consumer.set(Arc::downgrade(&consumer)));
        let subscribed = consumer.subscribe(&self.kafka_topics).await;
        subscribed.map_err(unavailable)?;
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            error = self.fetch(&consumer, &client.admin) => Err(error),
            never = self.commit_all(&consumer) => match never {},
        };
        if ended.is_err() {
            connection.forget(&client).await;
        } else {
            self.until_committed(&consumer).await;
        }
        let left = consumer
            .close_with(CloseOptions::new().timeout(LEAVE))
            .await;
        if let Err(error) = left {
            tracing::debug!(%error, "the group was not told that a member leaves");
        }
        ended
    }

    /// Fetches messages while there is room, until the client cannot go on.
    async fn fetch(&self, consumer: &Consumer, admin: &AdminClient) -> BusError {
        let mut failing = false;
        loop {
            let wait = if self.hold(consumer).await {
                // The group is to see that this member lives. A full client returns at once, however long it may wait.
                self.until_room().await;
                Duration::ZERO
            } else {
                POLL
            };
            let added = match consumer.poll(wait).await {
                Ok(records) => self.add(records, admin).await,
                Err(error) if error.is_fatal() => return unavailable(error),
                Err(error) => Err(unavailable(error)),
            };
            match added {
                Ok(()) => failing = false,
                Err(error) => {
                    if !failing {
                        tracing::warn!(group = self.name, %error, "no messages come from Kafka");
                    }
                    failing = true;
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Stops or resumes fetching. Returns `true` if it is stopped.
    async fn hold(&self, consumer: &Consumer) -> bool {
        let is_full = self.queue().is_full();
        for (topic, partitions) in consumer.assignment().await {
            if is_full {
                consumer.pause(&topic, &partitions).await;
            } else {
                consumer.resume(&topic, &partitions).await;
            }
        }
        is_full
    }

    /// Waits until there is room, but not so long that the group would miss this member.
    async fn until_room(&self) {
        let room = async {
            let is_full = || self.queue().is_full();
            while is_full() {
                self.room.notified().await;
            }
        };
        // A queue that is still full is looked at again.
        drop(tokio::time::timeout(POLL, room).await);
    }

    /// Puts messages into the queue, once it is known how far the last owners of their partitions were.
    async fn add(&self, records: Vec<ConsumerRecord>, admin: &AdminClient) -> Result<(), BusError> {
        while let Err(error) = self.take_over(admin).await {
            tracing::warn!(group = self.name, %error, "it is not known which messages are done");
            tokio::time::sleep(AGAIN).await;
        }
        if records.is_empty() {
            return Ok(());
        }
        {
            let mut queue = self.queue();
            for record in records {
                let partition = Partition {
                    topic: Arc::clone(&record.topic),
                    number: record.partition,
                };
                let message = self.message(&record);
                let is_wanted = matches(&self.filter, &message.topic);
                queue.put(&partition, record.offset, is_wanted.then_some(message));
            }
        }
        self.commits.notify_one();
        self.changed.send_replace(());
        Ok(())
    }

    /// Takes partitions over from their last owners.
    async fn take_over(&self, admin: &AdminClient) -> Result<(), BusError> {
        let gained: Vec<Partition> = self.gained().clone();
        if gained.is_empty() {
            return Ok(());
        }
        let asked = gained.iter().map(to_kafka).collect();
        let options = ListConsumerGroupOffsetsOptions::default().partitions(asked);
        let found = admin.list_consumer_group_offsets(&self.name, options).await;
        let found = found.map_err(unavailable)?;
        let mut committed = Vec::new();
        for partition in gained {
            let position = match found.get(&to_kafka(&partition)) {
                None => None,
                Some(Ok(found)) => found.offset.map(|offset| (offset, found.metadata.clone())),
                Some(Err(error)) => return Err(unavailable(error)),
            };
            committed.push((partition, position));
        }
        {
            let mut queue = self.queue();
            for (partition, position) in committed {
                let position = position.as_ref();
                let position =
                    position.map(|(at, note)| (*at, note.as_deref().unwrap_or_default()));
                queue.gain(partition, position);
            }
        }
        self.gained().clear();
        self.commits.notify_one();
        Ok(())
    }

    fn message(&self, record: &ConsumerRecord) -> Message {
        let header = |name| record.header_str(name).map(str::to_owned);
        let id = header(ID).unwrap_or_else(|| {
            // One who publishes without an id is not protected from duplicates; the place is the same at each delivery.
            format!("{}-{}-{}", record.topic, record.partition, record.offset)
        });
        let topic = match &self.topics {
            Topics::One(_) => header(TOPIC),
            Topics::Named(_) => None,
        };
        let key = record.key.as_deref().unwrap_or_default();
        Message {
            id,
            topic: topic.unwrap_or_else(|| record.topic.to_string()),
            key: String::from_utf8_lossy(key).into_owned(),
            payload: record.value.clone().unwrap_or_default(),
        }
    }

    /// Commits what is acknowledged, for ever.
    async fn commit_all(&self, consumer: &Consumer) -> Infallible {
        loop {
            self.commits.notified().await;
            while let Err(error) = self.commit(consumer).await {
                tracing::debug!(%error, "acknowledgements could not be committed");
                tokio::time::sleep(AGAIN).await;
            }
            tokio::time::sleep(COMMIT_EVERY).await;
        }
    }

    /// Commits the last acknowledgements before the group is left.
    async fn until_committed(&self, consumer: &Consumer) {
        if let Err(error) = self.commit(consumer).await {
            tracing::debug!(%error, "the last acknowledgements could not be committed");
        }
    }

    /// Commits what is acknowledged, and tells those who wait for it.
    async fn commit(&self, consumer: &Consumer) -> Result<(), BusError> {
        let (positions, waiters) = {
            let mut queue = self.queue();
            (queue.take_commits(), std::mem::take(&mut *self.waiters()))
        };
        let offsets: HashMap<_, _> = positions
            .iter()
            .map(|(partition, position)| {
                let position = position.clone();
                let offset = OffsetAndMetadata::with_metadata(position.offset, position.note);
                (to_kafka(partition), offset)
            })
            .collect();
        let committed = if offsets.is_empty() {
            Ok(())
        } else {
            let committed = consumer.commit_offsets(&offsets);
            let committed = tokio::time::timeout(self.timeout, committed).await;
            let committed = committed.map_err(|_| late());
            committed.and_then(|committed| committed.map_err(unavailable))
        };
        if committed.is_err() {
            let partitions = positions.into_iter().map(|(partition, _)| partition);
            self.queue().uncommitted(partitions);
        }
        for waiter in waiters {
            // One who does not wait any more needs no answer.
            drop(waiter.send(committed.clone()));
        }
        committed
    }
}

fn to_kafka(partition: &Partition) -> TopicPartition {
    TopicPartition::new(&*partition.topic, partition.number)
}

/// What is done when partitions come and go.
struct Listener {
    shared: Arc<Shared>,
    consumer: OnceLock<Weak<Consumer>>,
}

impl Listener {
    fn forget(&self, partitions: &[TopicPartition]) {
        let is_gone = |one: &Partition| partitions.contains(&to_kafka(one));
        self.shared.gained().retain(|one| !is_gone(one));
        let mut queue = self.shared.queue();
        let gone: Vec<_> = queue
            .partitions()
            .filter(|one| is_gone(one))
            .cloned()
            .collect();
        for partition in gone {
            queue.lose(&partition);
        }
    }
}

impl ConsumerRebalanceListener for Listener {
    async fn on_partitions_assigned(&self, partitions: &[TopicPartition]) {
        let gained = partitions.iter().map(|one| Partition {
            topic: one.topic.as_str().into(),
            number: one.partition,
        });
        self.shared.gained().extend(gained);
    }

    async fn on_partitions_revoked(&self, partitions: &[TopicPartition]) {
        let consumer = self.consumer.get().and_then(Weak::upgrade);
        if let Some(consumer) = consumer
            && let Err(error) = self.shared.commit(&consumer).await
        {
            tracing::debug!(%error, "acknowledgements could not be committed");
        }
        self.forget(partitions);
    }

    async fn on_partitions_lost(&self, partitions: &[TopicPartition]) {
        self.forget(partitions);
    }
}

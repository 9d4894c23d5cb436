//! Reads what was published lately, so that it is not published again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kebne_event_bus::BusError;
use krafka::{
    Kafka, KrafkaError,
    admin::{AdminClient, ListOffsetsOptions, OffsetSpec},
    consumer::{Consumer, ConsumerRecord, TopicPartition},
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{ID, Options, error::unavailable, ids::Ids};

/// The time for which what was read counts as everything, if others publish too.
const FRESH: Duration = Duration::from_secs(5);
/// The longest wait for further messages between two looks at the ends of the topics.
const POLL: Duration = Duration::from_millis(500);
/// The wait after a failure.
const AGAIN: Duration = Duration::from_millis(500);

/// The reading of topics; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Tail {
    /// The moment as of which everything was read.
    read: watch::Receiver<Option<Instant>>,
    is_shared: bool,
    timeout: Duration,
    _stop: DropGuard,
}

struct Reader {
    kafka: Kafka,
    topics: Vec<String>,
    window: Duration,
    is_shared: bool,
    timeout: Duration,
    ids: Arc<Mutex<Ids>>,
    read: watch::Sender<Option<Instant>>,
}

impl Tail {
    /// Begins to read in a task.
    pub(crate) fn start(kafka: Kafka, options: &Options, ids: Arc<Mutex<Ids>>) -> Self {
        let (sender, read) = watch::channel(None);
        let reader = Reader {
            kafka,
            topics: options.topics.names().to_vec(),
            window: options.duplicate_window,
            is_shared: options.is_shared,
            timeout: options.timeout,
            ids,
            read: sender,
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = reader.run() => {}
            }
        });
        Self {
            read,
            is_shared: options.is_shared,
            timeout: options.timeout,
            _stop: stop.drop_guard(),
        }
    }

    /// Waits until everything was read that was there a moment ago, and in any case at `since`.
    pub(crate) async fn require(&self, since: Option<Instant>) -> Result<(), BusError> {
        let is_enough = |read: &Option<Instant>| {
            let Some(read) = read else {
                return false;
            };
            let is_after = since.is_none_or(|since| *read > since);
            !self.is_shared || (is_after && read.elapsed() < FRESH)
        };
        let mut read = self.read.clone();
        let enough = tokio::time::timeout(self.timeout, read.wait_for(is_enough)).await;
        match enough {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(unavailable(
                "what was published lately could not be read yet",
            )),
        }
    }
}

impl Reader {
    async fn run(self) {
        while let Err(error) = self.follow().await {
            tracing::debug!(%error, "what was published lately could not be read");
            tokio::time::sleep(AGAIN).await;
        }
        // What was read counts as long as somebody asks.
        self.read.closed().await;
    }

    /// Reads the topics, once or for ever.
    async fn follow(&self) -> Result<(), KrafkaError> {
        let consumer = self.kafka.consumer_without_group().metrics_push(false);
        let consumer = consumer.fetch_max_wait(POLL).build().await?;
        let admin = self.kafka.admin().default_api_timeout(self.timeout);
        let places = self.begin(&consumer, &admin).await?;
        loop {
            let now = Instant::now();
            let ends = ends(&admin, &places).await?;
            while !is_read(&consumer, &ends).await {
                self.note(&consumer.poll(POLL).await?);
            }
            self.read.send_replace(Some(now));
            if !self.is_shared {
                return consumer.close().await;
            }
            self.note(&consumer.poll(POLL).await?);
        }
    }

    /// Goes to the first message of the window in each partition.
    async fn begin(
        &self,
        consumer: &Consumer,
        admin: &AdminClient,
    ) -> Result<Vec<TopicPartition>, KrafkaError> {
        let mut places = Vec::new();
        for topic in &self.topics {
            let found = consumer.fetch_metadata(Some(topic)).await?.topics;
            let found = found.iter().flat_map(|topic| topic.partitions.keys());
            let numbers: Vec<i32> = found.copied().collect();
            consumer.assign(topic, numbers.clone()).await?;
            places.extend(
                numbers
                    .into_iter()
                    .map(|one| TopicPartition::new(topic, one)),
            );
        }
        let ends = ends(admin, &places).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let first = now.unwrap_or_default().saturating_sub(self.window);
        let first = i64::try_from(first.as_millis()).unwrap_or(i64::MAX);
        let asked: Vec<(&str, i32)> = places
            .iter()
            .map(|place| (&*place.topic, place.partition))
            .collect();
        let starts = consumer.offsets_for_times(&asked, first).await;
        let mut seeks = HashMap::new();
        for ((topic, partition), start) in starts {
            let place = TopicPartition::new(topic, partition);
            let start = match start? {
                // Nothing is that new.
                ..0 => ends.get(&place).copied().unwrap_or(0),
                start => start,
            };
            seeks.insert(place, start);
        }
        consumer.seek_many(&seeks).await?;
        Ok(places)
    }

    fn note(&self, records: &[ConsumerRecord]) {
        let now = Instant::now();
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        for id in records.iter().filter_map(|record| record.header_str(ID)) {
            ids.stored(id, now);
        }
    }
}

async fn ends(
    admin: &AdminClient,
    places: &[TopicPartition],
) -> Result<HashMap<TopicPartition, i64>, KrafkaError> {
    let asked = places
        .iter()
        .cloned()
        .map(|place| (place, OffsetSpec::Latest));
    let ends = admin.list_offsets(asked, ListOffsetsOptions::default());
    let ends = ends.await?.into_iter();
    ends.map(|(place, end)| Ok((place, end?.offset))).collect()
}

async fn is_read(consumer: &Consumer, ends: &HashMap<TopicPartition, i64>) -> bool {
    for (place, end) in ends {
        let position = consumer.position(&place.topic, place.partition).await;
        if position.is_none_or(|position| position < *end) {
            return false;
        }
    }
    true
}

//! For tests of entities: a journal that fails on request, and a kit that runs one command at a time.

use std::{
    future::ready,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::Message;
use kebne_actors::{ActorRef, ActorSystem, AskError};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Semaphore;

use crate::{
    codec::{Codec, Json},
    entity::{CommandHandler, Entity, EventSourced, Inspect, Persistence},
    journal::{Journal, JournalError, Payload, Recorded, Snapshots, Step},
    memory::MemoryJournal,
};

/// The longest wait for one command. Steps of the kit's journal take no time.
const COMMAND_TIMEOUT: Duration = Duration::from_mins(1);

/// A journal in memory whose steps fail or wait on request; clones share it.
#[derive(Clone, Debug)]
pub struct FaultyJournal {
    inner: MemoryJournal,
    faults: Arc<Faults>,
}

#[derive(Debug)]
struct Faults {
    writes: AtomicUsize,
    lost_answers: AtomicUsize,
    reads: AtomicUsize,
    snapshots: AtomicUsize,
    /// Has no permit while writes are held.
    gate: Semaphore,
    /// The id and the number of events of each write that began.
    begun: Mutex<Vec<(String, usize)>>,
}

impl Default for FaultyJournal {
    fn default() -> Self {
        let faults = Faults {
            writes: AtomicUsize::new(0),
            lost_answers: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            snapshots: AtomicUsize::new(0),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            begun: Mutex::default(),
        };
        Self {
            inner: MemoryJournal::default(),
            faults: Arc::new(faults),
        }
    }
}

impl FaultyJournal {
    /// Has the next writes fail, with nothing written.
    pub fn fail_next_writes(&self, writes: usize) {
        self.faults.writes.store(writes, SeqCst);
    }

    /// Has the next writes fail although their events are written, as when an acknowledgement is lost.
    pub fn lose_next_acknowledgements(&self, writes: usize) {
        self.faults.lost_answers.store(writes, SeqCst);
    }

    /// Has the next reads of events fail.
    pub fn fail_next_reads(&self, reads: usize) {
        self.faults.reads.store(reads, SeqCst);
    }

    /// Has the next writes of snapshots fail.
    pub fn fail_next_snapshots(&self, snapshots: usize) {
        self.faults.snapshots.store(snapshots, SeqCst);
    }

    /// Holds writes that begin from now on, until [`FaultyJournal::release_writes`].
    pub fn hold_writes(&self) {
        self.faults.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Lets the held writes go on, and those that follow.
    pub fn release_writes(&self) {
        let held = Semaphore::MAX_PERMITS - self.faults.gate.available_permits();
        self.faults.gate.add_permits(held);
    }

    /// Returns the id and the number of events of each write that began, in their order.
    pub fn writes(&self) -> Vec<(String, usize)> {
        let begun = &self.faults.begun;
        begun.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Takes one of the faults that are left.
fn strikes(left: &AtomicUsize) -> bool {
    left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
        .is_ok()
}

fn failed<T: Send + 'static>() -> Step<T> {
    let error = JournalError::Failed("on request".to_owned());
    Box::pin(ready(Err(error)))
}

impl Journal for FaultyJournal {
    fn append(&self, id: &str, first: u64, events: Vec<Payload>) -> Step<()> {
        {
            let begun = &self.faults.begun;
            let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
            begun.push((id.to_owned(), events.len()));
        }
        let (journal, id) = (self.clone(), id.to_owned());
        Box::pin(async move {
            // Its error, a closed gate, does not occur.
            drop(journal.faults.gate.acquire().await);
            if strikes(&journal.faults.writes) {
                return failed().await;
            }
            journal.inner.append(&id, first, events).await?;
            if strikes(&journal.faults.lost_answers) {
                return failed().await;
            }
            Ok(())
        })
    }

    fn read(&self, id: &str, from: u64, limit: usize) -> Step<Vec<Recorded>> {
        if strikes(&self.faults.reads) {
            return failed();
        }
        self.inner.read(id, from, limit)
    }

    fn highest(&self, id: &str) -> Step<u64> {
        self.inner.highest(id)
    }

    fn delete(&self, id: &str, to: u64) -> Step<()> {
        self.inner.delete(id, to)
    }
}

impl Snapshots for FaultyJournal {
    fn save(&self, id: &str, snapshot: Recorded) -> Step<()> {
        if strikes(&self.faults.snapshots) {
            return failed();
        }
        self.inner.save(id, snapshot)
    }

    fn latest(&self, id: &str) -> Step<Option<Recorded>> {
        self.inner.latest(id)
    }

    fn delete_snapshots(&self, id: &str, to: u64) -> Step<()> {
        self.inner.delete_snapshots(id, to)
    }
}

/// What one command led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<S: EventSourced, R> {
    /// Its events, as they are read back from the journal.
    pub events: Vec<S::Event>,
    /// The state behind them; `None` if the entity has stopped.
    pub state: Option<S>,
    /// The answer.
    pub reply: Result<R, AskError>,
}

/// Runs the commands of one entity one by one, after Pekko's `EventSourcedBehaviorTestKit`.
///
/// Events go through JSON, so that each command also checks that they can be written and read.
#[derive(Debug)]
pub struct EntityTestKit<S: EventSourced> {
    system: ActorSystem,
    journal: FaultyJournal,
    persistence: Persistence<S>,
    empty: fn() -> S,
    entity: ActorRef<Entity<S>>,
    read: u64,
}

/// The id of the kit's entity.
const ID: &str = "entity";

impl<S> EntityTestKit<S>
where
    S: EventSourced + Clone + Send,
    S::Event: Serialize + DeserializeOwned,
{
    /// Starts an entity with an empty journal, in a runtime of actix's.
    pub fn new(empty: fn() -> S) -> Self {
        let journal = FaultyJournal::default();
        let persistence = Persistence::new(Arc::new(journal.clone()), Json::default());
        let system = ActorSystem::new("testkit", 1);
        let entity = system.spawn(persistence.props(ID, empty), ID);
        Self {
            system,
            journal,
            persistence,
            empty,
            entity,
            read: 0,
        }
    }

    /// Returns the journal, to have its steps fail.
    pub fn journal(&self) -> &FaultyJournal {
        &self.journal
    }

    /// Returns the entity.
    pub fn entity(&self) -> &ActorRef<Entity<S>> {
        &self.entity
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// When an event in the journal cannot be read.
    pub async fn run<M>(&mut self, command: M) -> Result<Outcome<S, M::Result>, crate::CodecError>
    where
        S: CommandHandler<M>,
        M: Message + Send + 'static,
        M::Result: Send + 'static,
    {
        let reply = self.entity.ask(command, COMMAND_TIMEOUT).await;
        let failed = |error: JournalError| crate::CodecError(error.to_string());
        let read = self.journal.inner.read(ID, self.read + 1, usize::MAX);
        let mut events = Vec::new();
        for event in read.await.map_err(failed)? {
            self.read = event.sequence;
            let codec: &dyn Codec<S::Event> = &Json::default();
            events.extend(codec.decode(&event.payload)?);
        }
        Ok(Outcome {
            events,
            state: self.state().await,
            reply,
        })
    }

    /// Returns the state; `None` if the entity has stopped.
    pub async fn state(&self) -> Option<S> {
        let asked = self.entity.ask(Inspect::default(), COMMAND_TIMEOUT);
        asked.await.ok()
    }

    /// Stops the entity and starts it again, and returns the recovered state.
    pub async fn restart(&mut self) -> Option<S> {
        self.entity.stop();
        self.entity.when_stopped().await;
        let props = self.persistence.props(ID, self.empty);
        self.entity = self.system.spawn(props, ID);
        self.state().await
    }
}

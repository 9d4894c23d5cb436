//! The thread that reads and writes the file, because that blocks.
//!
//! It takes what waits, does it in one transaction, and answers when that is committed. A step that fails takes back its own savepoint only. It
//! has no state but the open file, so a step that panics loses nothing: the file is opened again for the next one.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
};

use kebne_file::OwnedFile;
use tokio::sync::oneshot;

use crate::{sqlite::database::Database, store::StoreError};

/// The most steps of one transaction.
const STEPS_MAX: usize = 128;

/// Answers a step once it is known whether it is committed.
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A step; the result says whether its savepoint stays.
type Act = Box<dyn FnOnce(Result<&mut Database, StoreError>) -> (bool, Reply) + Send>;

struct Step {
    act: Act,
    /// `true` if it removes data, which is then taken out of the file's log too.
    removes: bool,
}

/// The thread, which starts with the first step and ends with the last handle.
pub(super) struct Thread {
    place: OwnedFile,
    steps: Mutex<Option<Sender<Step>>>,
}

impl Thread {
    pub(super) fn new(place: OwnedFile) -> Self {
        Self {
            place,
            steps: Mutex::new(None),
        }
    }

    /// Does a step.
    ///
    /// # Errors
    /// Returns the error of the step, or of the file.
    pub(super) async fn step<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.send(act, false).await
    }

    /// Does a step that removes data.
    ///
    /// # Errors
    /// As [`Thread::step`].
    pub(super) async fn removing<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.send(act, true).await
    }

    async fn send<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Database) -> Result<T, StoreError> + Send + 'static,
        removes: bool,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let act = move |database: Result<&mut Database, StoreError>| {
            let done = database.and_then(act);
            let stays = done.is_ok();
            let reply = move |committed: Result<(), StoreError>| {
                // Who does not wait any more hears nothing.
                sender.send(committed.and(done)).ok();
            };
            (stays, Box::new(reply) as Reply)
        };
        let step = Step {
            act: Box::new(act),
            removes,
        };
        let gone = || StoreError::Failed("the store of agents has stopped".to_owned());
        self.offer(step)?;
        receiver.await.map_err(|_| gone())?
    }

    fn offer(&self, step: Step) -> Result<(), StoreError> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let step = match &*steps {
            Some(sender) => match sender.send(step) {
                Ok(()) => return Ok(()),
                Err(refused) => refused.0,
            },
            None => step,
        };
        let (sender, receiver) = channel();
        let place = self.place.clone();
        let thread = std::thread::Builder::new().name("agents-store".to_owned());
        let started = thread.spawn(move || serve(&place, &receiver));
        started.map_err(|error| StoreError::Failed(error.to_string()))?;
        sender.send(step).ok();
        *steps = Some(sender);
        Ok(())
    }
}

fn serve(place: &OwnedFile, receiver: &Receiver<Step>) {
    let mut database = None;
    while let Ok(first) = receiver.recv() {
        let mut steps = vec![first];
        while steps.len() < STEPS_MAX
            && let Ok(next) = receiver.try_recv()
        {
            steps.push(next);
        }
        let removes = steps.iter().any(|step| step.removes);
        let all = || {
            catch_unwind(AssertUnwindSafe(|| {
                transaction(place, &mut database, steps)
            }))
        };
        let done = if removes { place.removing(all) } else { all() };
        match done {
            Ok((done, replies)) => {
                if let Err(error) = &done {
                    tracing::error!(%error, "the store of agents is unavailable");
                    database = None;
                }
                if removes
                    && let Some(database) = &mut database
                    && let Err(error) = database.file.forget_log()
                {
                    tracing::debug!(%error, "removed data is still in the log of the agents");
                }
                for reply in replies {
                    reply(done.clone());
                }
            }
            Err(_panic) => {
                tracing::error!("a step on the store of agents has panicked");
                database = None;
            }
        }
    }
}

/// Does steps in one transaction. Returns what is to be answered; with an error the file is to be opened again.
fn transaction(
    place: &OwnedFile,
    database: &mut Option<Database>,
    steps: Vec<Step>,
) -> (Result<(), StoreError>, Vec<Reply>) {
    let opened = opened(place, database).and_then(|database| {
        database.file.begin()?;
        Ok(database)
    });
    let database = match opened {
        Ok(database) => database,
        Err(error) => {
            let replies = steps
                .into_iter()
                .map(|step| (step.act)(Err(error.clone())).1);
            return (Err(error.clone()), replies.collect());
        }
    };
    let mut replies = Vec::with_capacity(steps.len());
    let mut done = Ok(());
    for step in steps {
        if done.is_ok() {
            done = database.save();
        }
        let (stays, reply) = match &done {
            Ok(()) => (step.act)(Ok(database)),
            Err(error) => (step.act)(Err(error.clone())),
        };
        replies.push(reply);
        if done.is_ok() {
            done = database.keep(stays);
        }
    }
    let done = done.and_then(|()| Ok(database.file.commit()?));
    if done.is_err() {
        database.file.roll_back();
    }
    (done, replies)
}

fn opened<'d>(
    place: &OwnedFile,
    database: &'d mut Option<Database>,
) -> Result<&'d mut Database, StoreError> {
    // A file that was removed or replaced is not written any more, although it is still open.
    place.check()?;
    let open = match database.take() {
        Some(open) => open,
        None => Database::new(place.open()?),
    };
    Ok(database.insert(open))
}

impl std::fmt::Debug for Thread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Thread").finish_non_exhaustive()
    }
}

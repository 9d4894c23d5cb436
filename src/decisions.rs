//! What operators have decided about backends: which are drained or disabled, by whom, and since when.
//!
//! An event-sourced actor keeps it in a journal, so that a backend that was taken out of service stays out when the gateway is
//! started anew, after a crash too, and the newest decisions can be read. A journal that cannot be used keeps no operator from
//! acting: the decision then holds until the program stops, and the log says so.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use actix::Message;
use kebne_actors::{ActorRef, AskError, Context, Props};
use kebne_persistence::{
    CommandHandler, Effect, Entity, EventSourced, JournalError, Json, Persistence, ReplyEffect,
    Retention, SqliteJournal, on_persist_failure,
};
use serde::{Deserialize, Serialize};

/// The id of the one entity in the journal.
const ID: &str = "decisions";
/// The version of the events' shape.
const VERSION: u32 = 1;
/// Decisions that are kept for reading.
const RECENT_MAX: usize = 200;
/// Events between two snapshots; those before the last snapshot are deleted.
const SNAPSHOT_EVERY: u64 = 50;
/// How long the start and an operator wait for the journal. A write takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The waits before the journal is used again after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What an operator does to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// New calls go elsewhere.
    Drain,
    /// New calls and those that wait go elsewhere.
    Disable,
    /// Back into service.
    Reopen,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The backend.
    pub backend: String,
    /// What is done to it.
    pub action: Action,
    /// The name of the key; empty if no keys are set.
    pub by: String,
    /// When, in seconds of Unix time.
    pub at: u64,
}

/// All decisions: those in force, and the newest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// The backends that are out of service, by their names. One that the settings no longer name stays here for its return.
    pub in_force: BTreeMap<String, Decision>,
    /// The newest decisions, the last one at the end.
    pub recent: VecDeque<Decision>,
}

/// Takes note of a decision.
#[derive(Message)]
#[rtype(result = "()")]
struct Note(Decision);

/// Returns all decisions.
#[derive(Message)]
#[rtype(result = "Book")]
struct GetBook;

impl EventSourced for Book {
    type Event = Decision;

    fn apply(&mut self, decision: &Decision) {
        match decision.action {
            Action::Drain | Action::Disable => {
                let backend = decision.backend.clone();
                self.in_force.insert(backend, decision.clone());
            }
            Action::Reopen => {
                self.in_force.remove(&decision.backend);
            }
        }
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(decision.clone());
    }
}

impl CommandHandler<Note> for Book {
    /// A decision that changes nothing is no event: who took a backend out first stays on record.
    fn handle(
        &self,
        Note(decision): Note,
        _: &mut Context<Entity<Self>>,
    ) -> ReplyEffect<Self, Note> {
        let before = self.in_force.get(&decision.backend).map(|one| one.action);
        let is_news = before.unwrap_or(Action::Reopen) != decision.action;
        if !is_news {
            return Effect::reply(());
        }
        self.persist(decision).then_reply(|_| ())
    }
}

impl CommandHandler<GetBook> for Book {
    fn handle(&self, _: GetBook, _: &mut Context<Entity<Self>>) -> ReplyEffect<Self, GetBook> {
        Effect::reply(self.clone())
    }
}

/// Returns the props of the actor with the journal at `path`.
///
/// # Errors
/// Returns an error if the file cannot be opened.
pub(crate) fn props(path: &Path) -> Result<Props<Entity<Book>>, JournalError> {
    create(path).map_err(|error| JournalError::Failed(error.to_string()))?;
    let journal = Arc::new(SqliteJournal::open(path)?);
    let retention = Retention::every(SNAPSHOT_EVERY).keep(1).delete_events();
    let codec = Json::version(VERSION);
    let persistence = Persistence::new(Arc::clone(&journal) as _, codec.clone());
    let persistence = persistence.snapshots(journal, codec, retention);
    let props = persistence.props(ID, Book::default);
    Ok(props.supervise(on_persist_failure(BACKOFF.0, BACKOFF.1)))
}

/// Creates the file, so that nobody else can read it.
fn create(path: &Path) -> io::Result<()> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder)?;
    }
    let mut options = fs::OpenOptions::new();
    let options = options.create(true).append(true).mode(0o600);
    options.open(path).map(drop)
}

/// The decisions as the gateway uses them; clones share the actor.
#[derive(Clone, Default)]
pub struct Decisions(Option<ActorRef<Entity<Book>>>);

impl Decisions {
    pub(crate) fn new(actor: ActorRef<Entity<Book>>) -> Self {
        Self(Some(actor))
    }

    /// Takes note of a decision. A failure is logged: the decision then holds until the program stops.
    pub async fn note(&self, decision: Decision) {
        let Some(actor) = &self.0 else {
            return;
        };
        let backend = decision.backend.clone();
        if let Err(error) = actor.ask(Note(decision), TIMEOUT).await {
            tracing::warn!(
                backend,
                %error,
                "what an operator decided could not be written: it holds until the program stops"
            );
        }
    }

    /// Returns all decisions; empty if none are kept.
    ///
    /// # Errors
    /// Returns an error if the journal cannot be read.
    pub async fn book(&self) -> Result<Book, AskError> {
        match &self.0 {
            Some(actor) => actor.ask(GetBook, TIMEOUT).await,
            None => Ok(Book::default()),
        }
    }
}

impl fmt::Debug for Decisions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_kept = self.0.is_some();
        formatter.debug_tuple("Decisions").field(&is_kept).finish()
    }
}

#[cfg(test)]
mod tests {
    use kebne_actors::ActorSystem;

    use super::*;

    fn decision(backend: &str, action: Action, by: &str) -> Decision {
        Decision {
            backend: backend.to_owned(),
            action,
            by: by.to_owned(),
            at: 1,
        }
    }

    fn start(path: &Path) -> (ActorSystem, Decisions) {
        let system = ActorSystem::new("test", 1);
        let actor = system.spawn(props(path).unwrap(), "decisions");
        (system, Decisions::new(actor))
    }

    #[actix::test]
    async fn decisions_outlive_the_process_and_a_reopened_backend_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/decisions.sqlite");
        let (system, decisions) = start(&path);
        decisions.note(decision("a", Action::Drain, "ann")).await;
        decisions.note(decision("b", Action::Disable, "ann")).await;
        decisions.note(decision("a", Action::Drain, "bob")).await;
        decisions.note(decision("b", Action::Reopen, "bob")).await;
        system.terminate().await;

        let (system, decisions) = start(&path);
        let book = decisions.book().await.unwrap();
        let in_force: Vec<_> = book.in_force.values().collect();
        assert_eq!(
            in_force,
            [&decision("a", Action::Drain, "ann")],
            "who was first"
        );
        assert_eq!(book.recent.len(), 3, "what changed nothing is not kept");
        decisions.note(decision("a", Action::Disable, "bob")).await;
        let book = decisions.book().await.unwrap();
        assert_eq!(book.in_force["a"], decision("a", Action::Disable, "bob"));
        system.terminate().await;
    }

    #[actix::test]
    async fn the_newest_are_kept_and_the_file_does_not_grow_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("decisions.sqlite");
        let (system, decisions) = start(&path);
        for round in 0..150 {
            let action = [Action::Drain, Action::Reopen][round % 2];
            decisions.note(decision("a", action, "ann")).await;
        }
        system.terminate().await;
        let (system, decisions) = start(&path);
        let book = decisions.book().await.unwrap();
        assert_eq!((book.in_force.len(), book.recent.len()), (0, 150));
        for round in 0..100 {
            let action = [Action::Drain, Action::Reopen][round % 2];
            decisions.note(decision("a", action, "ann")).await;
        }
        let book = decisions.book().await.unwrap();
        assert_eq!(book.recent.len(), RECENT_MAX);
        system.terminate().await;
        let database = rusqlite::Connection::open(&path).unwrap();
        let count = |table: &str| -> i64 {
            let sql = format!("SELECT count(*) FROM {table}");
            database.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        assert!(count("events") <= 100, "{} events", count("events"));
        assert!(count("snapshots") <= 2);
    }

    #[test]
    fn only_its_owner_can_read_the_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("decisions.sqlite");
        let _props = props(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

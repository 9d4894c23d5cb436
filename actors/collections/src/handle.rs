//! The handle through which a program uses collections.

mod batches;
mod members;
mod searching;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use actix::{Actor, ArbiterHandle, Handler};
use kebne_actors::{ActorRef, AskError, Context, Spawn};
use kebne_file_store::{FileKeeper, FileStore as _, StepKind, do_step, time_for};
use kebne_seal::Keyring;
use tokio::sync::OnceCell;

use crate::{
    document::{CountTokens, PdfReader, Tools},
    ingester::{Ingester, IngesterParts, Wake},
    model::{
        Ages, Collection, CollectionChange, CollectionDetails, CollectionError, Counts,
        FileDetails, FileRecord, Lifetimes, Page, PageQuery, StoreError, Thing, WallClock,
    },
    progress::{EmbeddingProgress, Progress},
    search::Searcher,
    settings::CollectionsSettings,
    sqlite::{Database, Place},
};
use kebne_retrieval::Embedder;

/// The names of the actors.
const MANAGER: &str = "collections";
const INGESTER: &str = "ingester";

/// What collections need.
#[derive(Clone)]
pub struct CollectionsParts {
    /// The settings.
    pub settings: CollectionsSettings,
    /// The keys that encrypt the file; `None` for a file that is not encrypted.
    pub keyring: Option<Keyring>,
    /// The clock.
    pub clock: WallClock,
    /// Counts the tokens of a text.
    pub count: Arc<CountTokens>,
    /// Makes the vectors.
    pub embedder: Arc<dyn Embedder>,
    /// Reads PDF files; `None` if they are not read.
    pub pdf: Option<Arc<dyn PdfReader>>,
}

/// The handle of collections; clones share them.
#[derive(Clone)]
pub struct Collections(Arc<Inner>);

struct Inner {
    parts: CollectionsParts,
    place: Place,
    searcher: Searcher,
    progress: Arc<Progress>,
    start: Box<dyn Fn(CollectionsParts, Place) -> Starting + Send + Sync>,
    running: OnceCell<Running>,
}

type Starting = Pin<Box<dyn Future<Output = Result<Running, AskError>> + Send>>;

/// The actors, once there is something to keep.
#[derive(Clone)]
struct Running {
    manager: ActorRef<FileKeeper<Place>>,
    ingester: ActorRef<Ingester>,
    thread: ArbiterHandle,
}

/// A document that is imported into a collection.
#[derive(Clone, Debug)]
pub struct Document {
    /// The name, by which it is found again in the collection.
    pub name: String,
    /// The content.
    pub content: Vec<u8>,
}

impl Collections {
    /// Creates the handle. The actors will be children of `parent`; they start with the first file or collection.
    pub fn new<P>(parent: &ActorRef<P>, parts: CollectionsParts) -> Self
    where
        P: Actor<Context = Context<P>> + Handler<Spawn>,
    {
        let parent = parent.clone();
        let progress = Arc::<Progress>::default();
        let of_ingester = Arc::clone(&progress);
        let start = move |parts: CollectionsParts, place: Place| -> Starting {
            let (parent, progress) = (parent.clone(), Arc::clone(&of_ingester));
            Box::pin(async move {
                let thread = actix_rt::Arbiter::new().handle();
                let ages = Ages {
                    document: parts.settings.document_age_max.map(|age| age.0),
                    member: parts.settings.member_age_max.map(|age| age.0),
                };
                let clock = parts.clock;
                let sweep =
                    Arc::new(move |database: &mut Database| database.remove_expired(clock(), ages));
                let props = FileKeeper::props(place, sweep, thread.clone());
                let manager = Spawn::ask(&parent, props, MANAGER).await?;
                let of_ingester = IngesterParts {
                    manager: manager.clone(),
                    tools: Tools {
                        count: parts.count,
                        pdf: parts.pdf,
                    },
                    embedder: parts.embedder,
                    progress,
                    unpaid: Arc::default(),
                    chunks_max: parts.settings.chunks_max,
                    owner_bytes_max: parts.settings.owner_bytes_max.0,
                };
                let props = Ingester::props(of_ingester);
                let ingester = Spawn::ask(&parent, props, INGESTER).await?;
                Ok(Running {
                    manager,
                    ingester,
                    thread,
                })
            })
        };
        let (path, keyring) = (parts.settings.path.clone(), parts.keyring.clone());
        let file_size_max = parts.settings.file_size_max.0;
        let place = Place::new(path, keyring, parts.embedder.space(), file_size_max);
        let index_size_max = parts.settings.index_size_max.as_usize();
        let graph_min = usize::try_from(parts.settings.graph_chunks_min).unwrap_or(usize::MAX);
        Self(Arc::new(Inner {
            searcher: Searcher::new(place.clone(), index_size_max, graph_min),
            place,
            progress,
            parts,
            start: Box::new(start),
            running: OnceCell::new(),
        }))
    }

    /// Checks the file if there is one.
    ///
    /// # Errors
    /// Returns [`StoreError::Damaged`] if it is not a store of collections or has another key, and [`StoreError::Failed`] if it cannot be
    /// opened now.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.0.place.file().exists() {
            self.0.place.open()?;
        }
        Ok(())
    }

    /// Starts the actors if there is a file, so that what an earlier process left is read.
    ///
    /// # Errors
    /// Returns an error if the parent has stopped or does not answer.
    pub async fn resume(&self) -> Result<(), AskError> {
        if self.0.place.file().exists() {
            self.running().await?;
        }
        Ok(())
    }

    /// Stops the thread of the store. The actors end with their parent.
    pub fn stop(&self) {
        if let Some(running) = self.0.running.get() {
            running.thread.stop();
        }
    }

    /// Returns the settings.
    pub fn settings(&self) -> &CollectionsSettings {
        &self.0.parts.settings
    }

    /// Returns `true` once there is a file.
    pub fn exist(&self) -> bool {
        self.0.place.file().exists()
    }

    /// Returns the bytes that the indexes take.
    pub fn index_bytes(&self) -> usize {
        self.0.searcher.bytes()
    }

    /// Returns the vectors of large collections that are not in their graphs yet, and are compared one by one.
    pub fn unlinked(&self) -> usize {
        self.0.searcher.unlinked()
    }

    /// Returns how far the work on chunks is.
    pub fn progress(&self) -> EmbeddingProgress {
        self.0.progress.now()
    }

    fn now(&self) -> u64 {
        (self.0.parts.clock)()
    }

    async fn running(&self) -> Result<&Running, AskError> {
        let start = || (self.0.start)(self.0.parts.clone(), self.0.place.clone());
        self.0.running.get_or_try_init(start).await
    }

    /// Does a step; returns `unmade` while there is no file and the step does not create it.
    pub(crate) async fn step<T: Send + 'static>(
        &self,
        kind: StepKind,
        unmade: Result<T, StoreError>,
        act: impl FnOnce(&mut Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, CollectionError> {
        self.large_step(0, kind, unmade, act).await
    }

    /// Does a step that stores so many bytes. If it is not done in time, it is not done at all.
    async fn large_step<T: Send + 'static>(
        &self,
        bytes: usize,
        kind: StepKind,
        unmade: Result<T, StoreError>,
        act: impl FnOnce(&mut Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, CollectionError> {
        if kind != StepKind::Makes && !self.0.place.file().exists() {
            return Ok(unmade?);
        }
        let running = self.running().await?;
        do_step(&running.manager, kind, time_for(bytes), act).await
    }

    /// Has the ingester look for files. If it is not told, it looks after 10 seconds.
    fn wake(&self) {
        if let Some(running) = self.0.running.get() {
            running.ingester.post(Wake);
        }
    }

    /// Keeps a file. It lives for `lifetime` if one is given.
    ///
    /// # Errors
    /// Returns [`StoreError::Full`] if the owner's quota is used up.
    pub async fn add_file(
        &self,
        owner: &str,
        details: FileDetails,
        content: Vec<u8>,
        lifetime: Option<Duration>,
    ) -> Result<FileRecord, CollectionError> {
        let file = self.new_file(details, &content, lifetime)?;
        let (owner, settings) = (owner.to_owned(), self.settings().clone());
        let bytes = content.len();
        let act = move |database: &mut Database| {
            database.add_file(&owner, &file, &content, &settings)?;
            Ok(file)
        };
        self.large_step(bytes, StepKind::Makes, NO_FILE, act).await
    }

    fn new_file(
        &self,
        details: FileDetails,
        content: &[u8],
        lifetime: Option<Duration>,
    ) -> Result<FileRecord, StoreError> {
        let now = self.now();
        let lifetime = lifetime.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        Ok(FileRecord {
            id: new_id("file-")?,
            created: now,
            expires: lifetime.map(|span| now.saturating_add(span)),
            bytes: content.len() as u64,
            details,
        })
    }

    /// Returns a file.
    ///
    /// # Errors
    /// Returns [`StoreError::NotFound`] if the owner has no such file.
    pub async fn file(&self, owner: &str, id: &str) -> Result<FileRecord, CollectionError> {
        let (owner, id, now) = (owner.to_owned(), id.to_owned(), self.now());
        let act = move |database: &mut Database| database.file(&owner, &id, now);
        self.step(StepKind::Reads, NO_FILE, act).await
    }

    /// Returns files, those of one purpose if it is given.
    ///
    /// # Errors
    /// Returns [`StoreError::NotListed`] if `after` or `before` names a file that is not in the list.
    pub async fn files(
        &self,
        owner: &str,
        page: PageQuery,
        purpose: Option<String>,
    ) -> Result<Page<FileRecord>, CollectionError> {
        let (owner, now) = (owner.to_owned(), self.now());
        let unmade = page.of_nothing();
        let act =
            move |database: &mut Database| database.files(&owner, &page, purpose.as_deref(), now);
        self.step(StepKind::Reads, unmade, act).await
    }

    /// Returns the content of a file.
    ///
    /// # Errors
    /// As [`Collections::file`].
    pub async fn content(&self, owner: &str, id: &str) -> Result<Vec<u8>, CollectionError> {
        let (owner, id, now) = (owner.to_owned(), id.to_owned(), self.now());
        let act = move |database: &mut Database| database.content(&owner, &id, now);
        self.step(StepKind::Reads, Err(StoreError::NotFound(Thing::File)), act)
            .await
    }

    /// Removes a file, also from all collections.
    ///
    /// # Errors
    /// As [`Collections::file`].
    pub async fn remove_file(&self, owner: &str, id: &str) -> Result<(), CollectionError> {
        let (owner, id, now) = (owner.to_owned(), id.to_owned(), self.now());
        let act = move |database: &mut Database| database.remove_file(&owner, &id, now);
        self.step(
            StepKind::Removes,
            Err(StoreError::NotFound(Thing::File)),
            act,
        )
        .await
    }

    /// Creates an empty collection.
    ///
    /// # Errors
    /// Returns [`StoreError::Full`] if the owner has as many as the settings allow.
    pub async fn add_collection(
        &self,
        owner: &str,
        details: CollectionDetails,
        lifetimes: Lifetimes,
    ) -> Result<Collection, CollectionError> {
        let now = self.now();
        let collection = Collection {
            id: new_id("vs_")?,
            created: now,
            used: now,
            expires_after_days: lifetimes.unused_days,
            file_days: lifetimes.file_days,
            details,
            counts: Counts::default(),
            bytes: 0,
            waiting: 0,
        };
        let (owner, settings) = (owner.to_owned(), self.settings().clone());
        let act = move |database: &mut Database| {
            database.add_collection(&owner, &collection, &settings)?;
            Ok(collection)
        };
        self.step(StepKind::Makes, NO_COLLECTION, act).await
    }

    /// Returns a collection.
    ///
    /// # Errors
    /// Returns [`StoreError::NotFound`] if the owner has no such collection.
    pub async fn collection(&self, owner: &str, id: &str) -> Result<Collection, CollectionError> {
        let (owner, id, now) = (owner.to_owned(), id.to_owned(), self.now());
        let act = move |database: &mut Database| database.collection(&owner, &id, now);
        self.step(StepKind::Reads, NO_COLLECTION, act).await
    }

    /// Returns collections.
    ///
    /// # Errors
    /// Returns [`StoreError::NotListed`] if `after` or `before` names a collection that is not in the list.
    pub async fn collections(
        &self,
        owner: &str,
        page: PageQuery,
    ) -> Result<Page<Collection>, CollectionError> {
        let (owner, now) = (owner.to_owned(), self.now());
        let unmade = page.of_nothing();
        let act = move |database: &mut Database| database.collections(&owner, &page, now);
        self.step(StepKind::Reads, unmade, act).await
    }

    /// Changes a collection.
    ///
    /// # Errors
    /// As [`Collections::collection`].
    pub async fn change_collection(
        &self,
        owner: &str,
        id: &str,
        change: CollectionChange,
    ) -> Result<Collection, CollectionError> {
        let (owner, id, now) = (owner.to_owned(), id.to_owned(), self.now());
        let act =
            move |database: &mut Database| database.change_collection(&owner, &id, change, now);
        self.step(StepKind::Writes, NO_COLLECTION, act).await
    }

    /// Removes a collection with all that was made of its files. The files stay.
    ///
    /// # Errors
    /// As [`Collections::collection`].
    pub async fn remove_collection(&self, owner: &str, id: &str) -> Result<(), CollectionError> {
        let (owner, id, now) = (owner.to_owned(), id.to_owned(), self.now());
        let act = move |database: &mut Database| database.remove_collection(&owner, &id, now);
        let unmade = Err(StoreError::NotFound(Thing::Collection));
        let removed = self.step(StepKind::Removes, unmade, act).await?;
        self.0.searcher.forget(removed);
        Ok(())
    }

    /// Removes the index of a collection from memory.
    pub(crate) fn forget_index(&self, collection: i64) {
        self.0.searcher.forget(collection);
    }
}

const NO_FILE: Result<FileRecord, StoreError> = Err(StoreError::NotFound(Thing::File));
const NO_COLLECTION: Result<Collection, StoreError> = Err(StoreError::NotFound(Thing::Collection));

/// Returns a new id that nobody can guess.
fn new_id(prefix: &str) -> Result<String, StoreError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| StoreError::Failed(error.to_string()))?;
    Ok(format!("{prefix}{}", hex::encode(id)))
}

impl std::fmt::Debug for CollectionsParts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = formatter.debug_struct("CollectionsParts");
        parts
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Collections {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Collections")
            .finish_non_exhaustive()
    }
}

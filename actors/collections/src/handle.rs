//! The handle through which a program uses collections.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use actix::{Actor, ArbiterHandle, Handler};
use kebne_actors::{ActorRef, AskError, Context, Spawn};
use kebne_seal::Keyring;
use tokio::sync::OnceCell;

use crate::{
    document::CountTokens,
    ingester::{Ingester, IngesterParts, Wake},
    manager::{CollectionManager, Step},
    model::{
        ChunkText, Collection, CollectionChange, CollectionDetails, Counts, FileDetails,
        FileRecord, Imported, Member, MemberDetails, Page, PageQuery, Status, StoreError, Thing,
        WallClock,
    },
    search::{Query, Searcher, Source},
    settings::CollectionsSettings,
    sqlite::{Database, Place},
};
use kebne_retrieval::Attributes;

/// The time within which the store must answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The names of the actors.
const MANAGER: &str = "collections";
const INGESTER: &str = "ingester";

/// The reason why a question about collections has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectionError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The actor did not answer; a retry may succeed.
    #[error("the store of collections is unavailable: {0}")]
    NoAnswer(#[from] AskError),
}

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
}

/// The handle of collections; clones share them.
#[derive(Clone)]
pub struct Collections(Arc<Inner>);

struct Inner {
    parts: CollectionsParts,
    place: Place,
    searcher: Searcher,
    start: Box<dyn Fn(CollectionsParts, Place) -> Starting + Send + Sync>,
    running: OnceCell<Running>,
}

type Starting = Pin<Box<dyn Future<Output = Result<Running, AskError>> + Send>>;

/// The actors, once there is something to keep.
#[derive(Clone)]
struct Running {
    manager: ActorRef<CollectionManager>,
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
        let start = move |parts: CollectionsParts, place: Place| -> Starting {
            let parent = parent.clone();
            Box::pin(async move {
                let thread = actix_rt::Arbiter::new().handle();
                let props = CollectionManager::props(place, parts.clock, thread.clone());
                let manager = Spawn::ask(&parent, props, MANAGER).await?;
                let of_ingester = IngesterParts {
                    manager: manager.clone(),
                    count: parts.count,
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
        let place = Place::new(parts.settings.path.clone(), parts.keyring.clone());
        let index_size_max = parts.settings.index_size_max.as_usize();
        Self(Arc::new(Inner {
            searcher: Searcher::new(place.clone(), index_size_max),
            place,
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
        if self.0.place.exists() {
            self.0.place.open()?;
        }
        Ok(())
    }

    /// Starts the actors if there is a file, so that what an earlier process left is read.
    ///
    /// # Errors
    /// Returns an error if the parent has stopped or does not answer.
    pub async fn resume(&self) -> Result<(), AskError> {
        if self.0.place.exists() {
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
        self.0.place.exists()
    }

    /// Returns the bytes that the indexes take.
    pub fn index_bytes(&self) -> usize {
        self.0.searcher.bytes()
    }

    fn now(&self) -> u64 {
        (self.0.parts.clock)()
    }

    async fn running(&self) -> Result<&Running, AskError> {
        let start = || (self.0.start)(self.0.parts.clone(), self.0.place.clone());
        self.0.running.get_or_try_init(start).await
    }

    /// Does a step; returns `unmade` while there is no file and the step does not create it.
    async fn step<T: Send + 'static>(
        &self,
        kind: Kind,
        unmade: Result<T, StoreError>,
        act: impl FnOnce(&mut Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, CollectionError> {
        if kind != Kind::Makes && !self.0.place.exists() {
            return Ok(unmade?);
        }
        let step = Step {
            act: Box::new(act),
            removes: kind == Kind::Removes,
        };
        let running = self.running().await?;
        Ok(running.manager.ask(step, ANSWER_TIMEOUT).await??)
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
        let act = move |database: &mut Database| {
            database.add_file(&owner, &file, content, &settings)?;
            Ok(file)
        };
        self.step(Kind::Makes, NO_FILE, act).await
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
        self.step(Kind::Reads, NO_FILE, act).await
    }

    /// Returns files, those of one purpose if it is given.
    ///
    /// # Errors
    /// Returns [`StoreError::NotFound`] if there is no file at which the page begins or ends.
    pub async fn files(
        &self,
        owner: &str,
        page: PageQuery,
        purpose: Option<String>,
    ) -> Result<Page<FileRecord>, CollectionError> {
        let (owner, now) = (owner.to_owned(), self.now());
        let unmade = page.of_nothing(Thing::File);
        let act =
            move |database: &mut Database| database.files(&owner, &page, purpose.as_deref(), now);
        self.step(Kind::Reads, unmade, act).await
    }

    /// Returns the content of a file.
    ///
    /// # Errors
    /// As [`Collections::file`].
    pub async fn content(&self, owner: &str, id: &str) -> Result<Vec<u8>, CollectionError> {
        let (owner, id, now) = (owner.to_owned(), id.to_owned(), self.now());
        let act = move |database: &mut Database| database.content(&owner, &id, now);
        self.step(Kind::Reads, Err(StoreError::NotFound(Thing::File)), act)
            .await
    }

    /// Removes a file, also from all collections.
    ///
    /// # Errors
    /// As [`Collections::file`].
    pub async fn remove_file(&self, owner: &str, id: &str) -> Result<(), CollectionError> {
        let (owner, id, now) = (owner.to_owned(), id.to_owned(), self.now());
        let act = move |database: &mut Database| database.remove_file(&owner, &id, now);
        self.step(Kind::Removes, Err(StoreError::NotFound(Thing::File)), act)
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
        expires_after_days: Option<u32>,
    ) -> Result<Collection, CollectionError> {
        let now = self.now();
        let collection = Collection {
            id: new_id("vs_")?,
            created: now,
            used: now,
            expires_after_days,
            details,
            counts: Counts::default(),
            bytes: 0,
        };
        let (owner, settings) = (owner.to_owned(), self.settings().clone());
        let act = move |database: &mut Database| {
            database.add_collection(&owner, &collection, &settings)?;
            Ok(collection)
        };
        self.step(Kind::Makes, NO_COLLECTION, act).await
    }

    /// Returns a collection.
    ///
    /// # Errors
    /// Returns [`StoreError::NotFound`] if the owner has no such collection.
    pub async fn collection(&self, owner: &str, id: &str) -> Result<Collection, CollectionError> {
        let (owner, id, now) = (owner.to_owned(), id.to_owned(), self.now());
        let act = move |database: &mut Database| database.collection(&owner, &id, now);
        self.step(Kind::Reads, NO_COLLECTION, act).await
    }

    /// Returns collections.
    ///
    /// # Errors
    /// Returns [`StoreError::NotFound`] if there is no collection at which the page begins or ends.
    pub async fn collections(
        &self,
        owner: &str,
        page: PageQuery,
    ) -> Result<Page<Collection>, CollectionError> {
        let (owner, now) = (owner.to_owned(), self.now());
        let unmade = page.of_nothing(Thing::Collection);
        let act = move |database: &mut Database| database.collections(&owner, &page, now);
        self.step(Kind::Reads, unmade, act).await
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
        self.step(Kind::Writes, NO_COLLECTION, act).await
    }

    /// Removes a collection with all that was made of its files. The files stay.
    ///
    /// # Errors
    /// As [`Collections::collection`].
    pub async fn remove_collection(&self, owner: &str, id: &str) -> Result<(), CollectionError> {
        let (owner, id, now) = (owner.to_owned(), id.to_owned(), self.now());
        let act = move |database: &mut Database| database.remove_collection(&owner, &id, now);
        let unmade = Err(StoreError::NotFound(Thing::Collection));
        let removed = self.step(Kind::Removes, unmade, act).await?;
        self.0.searcher.forget(removed);
        Ok(())
    }

    /// Adds a file to a collection. One that it has gets the attributes, and is read again only if it has failed or is to be cut
    /// otherwise.
    ///
    /// # Errors
    /// Returns [`StoreError::NotFound`] if the owner has no such collection or file, and [`StoreError::Full`] if the collection has as many
    /// as the settings allow.
    pub async fn add_member(
        &self,
        owner: &str,
        collection: &str,
        file: &str,
        details: MemberDetails,
    ) -> Result<Member, CollectionError> {
        let (owner, now) = (owner.to_owned(), self.now());
        let (collection, file) = (collection.to_owned(), file.to_owned());
        let settings = self.settings().clone();
        let act = move |database: &mut Database| {
            let both = (collection.as_str(), file.as_str());
            database.add_member(&owner, both, &details, (now, &settings))
        };
        let added = self.step(Kind::Writes, NO_MEMBER, act).await?;
        self.wake();
        Ok(added)
    }

    /// Returns a file of a collection.
    ///
    /// # Errors
    /// Returns [`StoreError::NotFound`] if the owner has no such collection, or it has no such file.
    pub async fn member(
        &self,
        owner: &str,
        collection: &str,
        file: &str,
    ) -> Result<Member, CollectionError> {
        let (owner, now) = (owner.to_owned(), self.now());
        let (collection, file) = (collection.to_owned(), file.to_owned());
        let act = move |database: &mut Database| database.member(&owner, &collection, &file, now);
        self.step(Kind::Reads, NO_MEMBER, act).await
    }

    /// Returns files of a collection, those of one state if it is given.
    ///
    /// # Errors
    /// As [`Collections::member`].
    pub async fn members(
        &self,
        owner: &str,
        collection: &str,
        page: PageQuery,
        status: Option<Status>,
    ) -> Result<Page<Member>, CollectionError> {
        let (owner, collection, now) = (owner.to_owned(), collection.to_owned(), self.now());
        let act = move |database: &mut Database| {
            database.members(&owner, &collection, &page, (status, now))
        };
        let unmade = Err(StoreError::NotFound(Thing::Collection));
        self.step(Kind::Reads, unmade, act).await
    }

    /// Replaces the attributes of a file of a collection.
    ///
    /// # Errors
    /// As [`Collections::member`].
    pub async fn set_attributes(
        &self,
        owner: &str,
        collection: &str,
        file: &str,
        attributes: Attributes,
    ) -> Result<Member, CollectionError> {
        let (owner, now) = (owner.to_owned(), self.now());
        let (collection, file) = (collection.to_owned(), file.to_owned());
        let act = move |database: &mut Database| {
            let both = (collection.as_str(), file.as_str());
            database.set_attributes(&owner, both, attributes, now)
        };
        self.step(Kind::Writes, NO_MEMBER, act).await
    }

    /// Takes a file out of a collection. The file stays.
    ///
    /// # Errors
    /// As [`Collections::member`].
    pub async fn remove_member(
        &self,
        owner: &str,
        collection: &str,
        file: &str,
    ) -> Result<(), CollectionError> {
        let (owner, now) = (owner.to_owned(), self.now());
        let (collection, file) = (collection.to_owned(), file.to_owned());
        let act =
            move |database: &mut Database| database.remove_member(&owner, &collection, &file, now);
        let unmade = Err(StoreError::NotFound(Thing::Collection));
        self.step(Kind::Removes, unmade, act).await
    }

    /// Returns the texts of a file of a collection, in order.
    ///
    /// # Errors
    /// As [`Collections::member`].
    pub async fn texts(
        &self,
        owner: &str,
        collection: &str,
        file: &str,
    ) -> Result<Vec<ChunkText>, CollectionError> {
        let (owner, now) = (owner.to_owned(), self.now());
        let (collection, file) = (collection.to_owned(), file.to_owned());
        let act = move |database: &mut Database| {
            database.texts(&owner, (collection.as_str(), file.as_str()), now)
        };
        let unmade = Err(StoreError::NotFound(Thing::Collection));
        self.step(Kind::Reads, unmade, act).await
    }

    /// Imports a document: adds it to the collection in place of the document of the same name, unless that has the same content.
    ///
    /// # Errors
    /// As [`Collections::add_file`] and [`Collections::add_member`].
    pub async fn import(
        &self,
        owner: &str,
        collection: &str,
        document: Document,
    ) -> Result<Imported, CollectionError> {
        let details = FileDetails {
            name: document.name,
            purpose: "assistants".to_owned(),
        };
        let file = self.new_file(details, &document.content, None)?;
        let (owner, collection) = (owner.to_owned(), collection.to_owned());
        let settings = self.settings().clone();
        let act = move |database: &mut Database| {
            database.import(&owner, &collection, (&file, document.content), &settings)
        };
        let imported = self.step(Kind::Removes, NO_IMPORT, act).await?;
        self.wake();
        Ok(imported)
    }

    /// Notes that collections are used. It is lost if the store fails.
    pub async fn touch(&self, owner: &str, ids: &[String]) {
        let (owner, ids, now) = (owner.to_owned(), ids.to_vec(), self.now());
        let act = move |database: &mut Database| database.touch(&owner, &ids, now);
        if let Err(error) = self.step(Kind::Writes, Ok(()), act).await {
            tracing::debug!(%error, "the use of a vector store was not noted");
        }
    }

    /// Returns the chunks that fit a query best, the best first. It blocks: it must not be called on an event loop.
    ///
    /// # Errors
    /// Returns [`StoreError::NotFound`] if the owner has no such collection.
    pub fn search(&self, owner: &str, query: &Query) -> Result<Vec<Source>, StoreError> {
        if !self.0.place.exists() {
            return Err(StoreError::NotFound(Thing::Collection));
        }
        self.0.searcher.search(owner, query, self.now())
    }
}

/// What a step does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reads,
    Writes,
    /// It creates the file if there is none.
    Makes,
    /// It removes data.
    Removes,
}

const NO_FILE: Result<FileRecord, StoreError> = Err(StoreError::NotFound(Thing::File));
const NO_COLLECTION: Result<Collection, StoreError> = Err(StoreError::NotFound(Thing::Collection));
const NO_MEMBER: Result<Member, StoreError> = Err(StoreError::NotFound(Thing::Collection));
const NO_IMPORT: Result<Imported, StoreError> = Err(StoreError::NotFound(Thing::Collection));

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

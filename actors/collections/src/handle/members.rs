//! Files of collections, through the handle.

use kebne_retrieval::Attributes;

use kebne_file_store::StepKind;

use super::{Collections, Document};
use crate::{
    model::{
        ChunkText, CollectionError, FileDetails, Imported, Member, MemberDetails, Page, PageQuery,
        Status, StoreError, Thing,
    },
    sqlite::Database,
};

const NO_MEMBER: Result<Member, StoreError> = Err(StoreError::NotFound(Thing::Collection));
const NO_IMPORT: Result<Imported, StoreError> = Err(StoreError::NotFound(Thing::Collection));

impl Collections {
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
        let added = self.step(StepKind::Writes, NO_MEMBER, act).await?;
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
        self.step(StepKind::Reads, NO_MEMBER, act).await
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
        self.step(StepKind::Reads, unmade, act).await
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
        self.step(StepKind::Writes, NO_MEMBER, act).await
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
        self.step(StepKind::Removes, unmade, act).await
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
        self.step(StepKind::Reads, unmade, act).await
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
        let bytes = document.content.len();
        let act = move |database: &mut Database| {
            database.import(&owner, &collection, (&file, document.content), &settings)
        };
        let imported = self
            .large_step(bytes, StepKind::Removes, NO_IMPORT, act)
            .await?;
        self.wake();
        Ok(imported)
    }

    /// Notes that collections are used. It is lost if the store fails.
    pub async fn touch(&self, owner: &str, ids: &[String]) {
        let (owner, ids, now) = (owner.to_owned(), ids.to_vec(), self.now());
        let act = move |database: &mut Database| database.touch(&owner, &ids, now);
        if let Err(error) = self.step(StepKind::Writes, Ok(()), act).await {
            tracing::debug!(%error, "the use of a vector store was not noted");
        }
    }
}

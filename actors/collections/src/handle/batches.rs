//! Batches of files, and totals.

use kebne_file_store::StepKind;

use super::{Collections, new_id};
use crate::{
    model::{
        Batch, CollectionError, Member, MemberDetails, Page, PageQuery, Status, StoreError, Thing,
        Totals,
    },
    sqlite::Database,
};

impl Collections {
    /// Adds files to a collection as one batch: all of them, or none.
    ///
    /// # Errors
    /// As [`Collections::add_member`].
    pub async fn add_batch(
        &self,
        owner: &str,
        collection: &str,
        files: Vec<(String, MemberDetails)>,
    ) -> Result<Batch, CollectionError> {
        let (id, now) = (new_id("vsfb_")?, self.now());
        let (owner, collection) = (owner.to_owned(), collection.to_owned());
        let settings = self.settings().clone();
        let act = move |database: &mut Database| {
            let both = (collection.as_str(), id.as_str());
            database.add_batch(&owner, both, &files, (now, &settings))
        };
        let added = self.step(StepKind::Writes, NO_BATCH, act).await?;
        self.wake();
        Ok(added)
    }

    /// Returns a batch.
    ///
    /// # Errors
    /// Returns [`StoreError::NotFound`] if the owner has no such collection, or it has no such batch.
    pub async fn batch(
        &self,
        owner: &str,
        collection: &str,
        id: &str,
    ) -> Result<Batch, CollectionError> {
        let (owner, now) = (owner.to_owned(), self.now());
        let (collection, id) = (collection.to_owned(), id.to_owned());
        let act = move |database: &mut Database| database.batch(&owner, (&collection, &id), now);
        self.step(StepKind::Reads, NO_BATCH, act).await
    }

    /// Gives up the files of a batch that are not read yet.
    ///
    /// # Errors
    /// As [`Collections::batch`].
    pub async fn cancel_batch(
        &self,
        owner: &str,
        collection: &str,
        id: &str,
    ) -> Result<Batch, CollectionError> {
        let (owner, now) = (owner.to_owned(), self.now());
        let (collection, id) = (collection.to_owned(), id.to_owned());
        let act =
            move |database: &mut Database| database.cancel_batch(&owner, (&collection, &id), now);
        self.step(StepKind::Writes, NO_BATCH, act).await
    }

    /// Returns the files of a batch, those of one state if it is given.
    ///
    /// # Errors
    /// As [`Collections::batch`].
    pub async fn batch_members(
        &self,
        owner: &str,
        (collection, id): (&str, &str),
        page: PageQuery,
        status: Option<Status>,
    ) -> Result<Page<Member>, CollectionError> {
        let (owner, now) = (owner.to_owned(), self.now());
        let (collection, id) = (collection.to_owned(), id.to_owned());
        let act = move |database: &mut Database| {
            database.batch_members(&owner, (&collection, &id), &page, (status, now))
        };
        let unmade = Err(StoreError::NotFound(Thing::Collection));
        self.step(StepKind::Reads, unmade, act).await
    }
}

impl Collections {
    /// Counts what the store holds, of all owners together.
    ///
    /// # Errors
    /// Returns an error if the store fails or does not answer.
    pub async fn totals(&self) -> Result<Totals, CollectionError> {
        self.step(StepKind::Reads, Ok(Totals::default()), Database::totals)
            .await
    }
}

const NO_BATCH: Result<Batch, StoreError> = Err(StoreError::NotFound(Thing::Collection));

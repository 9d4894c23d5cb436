//! Batches and notices.

use std::time::Duration;

use kebne_file_store::StepKind;

use crate::{
    counts::Count,
    handle::Jobs,
    id::new_id,
    model::{Batch, Delivery, JobError, Line, NewBatch, Page, PageQuery, StoreError},
    sqlite::{Collecting, Database},
};

const NO_BATCH: StoreError = StoreError::NotFound("batch");

impl Jobs {
    /// Queues a batch with all its jobs, or nothing. Without jobs, it ends at once.
    ///
    /// # Errors
    /// Returns [`StoreError::Full`] at a bound of the owner.
    pub async fn add_batch(&self, owner: &str, new: NewBatch) -> Result<Batch, JobError> {
        let id = new_id("batch-")?;
        let ids = new.jobs.iter().map(|_| new_id("job_"));
        let ids: Vec<String> = ids.collect::<Result<_, _>>()?;
        let jobs = ids.len() as u64;
        let bytes = new.jobs.iter().map(|job| job.request.len()).sum();
        let (owner, now, settings) = (owner.to_owned(), self.now(), self.settings().clone());
        let act = move |database: &mut Database| {
            database.add_batch(&owner, (&id, &new, &ids), (now, &settings))
        };
        let batch = self
            .large_step(bytes, StepKind::Makes, Err(NO_BATCH), act)
            .await?;
        self.counts().add(Count::Queued, jobs);
        self.wake();
        Ok(batch)
    }

    /// Returns a batch.
    ///
    /// # Errors
    /// Returns [`StoreError::NotFound`] if the owner has no such batch.
    pub async fn batch(&self, owner: &str, id: &str) -> Result<Batch, JobError> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        let act = move |database: &mut Database| database.batch(&owner, &id);
        self.step(StepKind::Reads, Err(NO_BATCH), act).await
    }

    /// Returns batches, the newest first.
    ///
    /// # Errors
    /// Returns [`StoreError::NotListed`] if `after` names no batch of the owner.
    pub async fn batches(&self, owner: &str, page: PageQuery) -> Result<Page<Batch>, JobError> {
        let owner = owner.to_owned();
        let unmade = page.of_nothing();
        let act = move |database: &mut Database| database.batches(&owner, &page);
        self.step(StepKind::Reads, unmade, act).await
    }

    /// Cancels the jobs of a batch that have not ended.
    ///
    /// # Errors
    /// As [`Jobs::batch`].
    pub async fn cancel_batch(&self, owner: &str, id: &str) -> Result<Batch, JobError> {
        let (of, batch, now) = (owner.to_owned(), id.to_owned(), self.now());
        let act = move |database: &mut Database| database.cancel_batch(&of, &batch, now);
        let batch = self.step(StepKind::Writes, Err(NO_BATCH), act).await?;
        self.changed(id, None);
        self.wake();
        Ok(batch)
    }

    /// Leases a batch whose jobs have all ended.
    pub(crate) async fn next_ended_batch(
        &self,
        lease: Duration,
    ) -> Result<Option<Collecting>, JobError> {
        let now = self.now();
        let until = now.saturating_add(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX));
        let act = move |database: &mut Database| database.next_ended_batch((now, until));
        self.step(StepKind::Writes, Ok(None), act).await
    }

    /// Returns jobs of a batch with their results, in order, from the first one after a number on.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    pub async fn lines(
        &self,
        batch: &Collecting,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Line>, JobError> {
        let number = batch.number;
        let act = move |database: &mut Database| database.lines(number, after, limit);
        self.step(StepKind::Reads, Ok(Vec::new()), act).await
    }

    /// Ends a batch whose results were collected. Returns `false` if its lease has passed.
    pub(crate) async fn end_batch(
        &self,
        collected: Collecting,
        details: Vec<u8>,
    ) -> Result<bool, JobError> {
        let (now, id) = (self.now(), collected.batch.id.clone());
        let act = move |database: &mut Database| database.end_batch(&collected, &details, now);
        let is_ended = self.step(StepKind::Writes, Ok(false), act).await?;
        self.changed(&id, None);
        Ok(is_ended)
    }

    /// Takes a notice that is due, or returns when the next one is.
    pub(crate) async fn next_delivery(
        &self,
        lease: Duration,
    ) -> Result<(Option<Delivery>, Option<u64>), JobError> {
        let now = self.now();
        let act = move |database: &mut Database| database.next_delivery(now, lease);
        self.step(StepKind::Writes, Ok((None, None)), act).await
    }

    /// Removes a notice, or has it delivered again after a time.
    pub(crate) async fn settle_delivery(
        &self,
        delivery: &Delivery,
        again: Option<Duration>,
    ) -> Result<(), JobError> {
        let (at, now) = ((delivery.number, delivery.fence), self.now());
        let act = move |database: &mut Database| database.settle_delivery(at, again, now);
        self.step(StepKind::Writes, Ok(()), act).await
    }
}

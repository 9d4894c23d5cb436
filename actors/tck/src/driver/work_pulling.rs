//! The driver for work pulling: a desk, producers that are asked, and workers that hold jobs.
//!
//! A worker holds what it is given until the case has it confirm or forget it.

use std::{future::Future, pin::Pin};

use super::Unsupported;
use crate::case::{CaseResult, ensure_eq};

/// A future on the case's thread.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Opens desks.
pub trait Driver: Send + Sync {
    /// Opens a desk.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn open(&self, spec: Spec) -> Result<Box<dyn Desk>, Unsupported>;

    /// Returns an error if the library does not claim this.
    ///
    /// # Errors
    /// Returns what it has no notion of.
    fn claims(&self, claim: Claim) -> Result<(), Unsupported>;
}

impl dyn Driver + '_ {
    /// Ends the case where the library does not claim this.
    ///
    /// # Errors
    /// Fails as not applicable.
    pub fn needs(&self, claim: Claim) -> CaseResult {
        Ok(self.claims(claim)?)
    }
}

/// What a library may or may not claim of work pulling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A worker that ends, and is not to be restarted, is not replaced.
    WorkersLeave,
}

/// A desk to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// Jobs that may be accepted and not done; `None` for the library's default.
    pub buffer: Option<usize>,
    /// How often a job may be delivered; `None` for no limit.
    pub deliveries_max: Option<u32>,
}

/// How far a job is, as its producer hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No worker has it.
    Waiting,
    /// A worker has it.
    Taken,
    /// It is done, after this many deliveries.
    Confirmed(u32),
    /// It was lost too often.
    GivenBack,
    /// The desk is gone.
    Lost,
}

/// How a worker that panics goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It stops, where a worker can leave for good (see [`Claim::WorkersLeave`]).
    Stop,
    /// It is restarted at once.
    Restart,
}

/// A desk in a world of its own.
pub trait Desk {
    /// Offers a job without being asked. Returns `true` if it was accepted.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn offer(&self, job: u32) -> Result<bool, Unsupported>;

    /// Offers a job whose progress is to be heard of.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn submit(&self, job: u32) -> Result<Box<dyn Receipt>, Unsupported>;

    /// Starts the producer, or starts it anew: a later one takes the place of the first.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn start_producer(&self) -> Result<(), Unsupported>;

    /// Returns how many jobs the last producer is asked for and has not sent.
    fn requests(&self) -> usize;

    /// Has the producer send a job that it was asked for; `None` when it was not.
    fn send(&self, job: u32) -> Option<Box<dyn Receipt>>;

    /// Starts a worker and registers it.
    fn worker(&self, name: &'static str, after: After) -> Box<dyn Worker>;

    /// Returns the numbers of workers, and of jobs that wait and that are in work.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn counts(&self) -> Soon<'_, Result<(usize, usize, usize), Unsupported>>;

    /// Stops the desk.
    fn stop(&self);
}

/// A producer's view of a job.
pub trait Receipt {
    /// Returns how far the job is.
    fn progress(&self) -> Progress;
}

/// A worker.
pub trait Worker {
    /// Returns the jobs that it holds.
    fn jobs(&self) -> Vec<u32>;

    /// Has it confirm the job it got first; returns `true` if it held one.
    fn confirm(&self) -> bool;

    /// Has it forget the job it got first.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn forget(&self) -> Result<(), Unsupported>;

    /// Has it panic.
    fn panic(&self);

    /// Stops it; the case keeps what it held, to confirm it late.
    fn stop(&self);

    /// Takes it from the register; it lives on.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn leave(&self) -> Result<(), Unsupported>;
}

impl dyn Worker + '_ {
    /// Compares what it holds once all has happened.
    ///
    /// # Errors
    /// Fails the case when it holds something else.
    pub async fn expect(&self, jobs: &[u32]) -> CaseResult {
        settle().await;
        ensure_eq("jobs in hand", &self.jobs(), &jobs.to_vec())
    }

    /// Confirms a job.
    ///
    /// # Errors
    /// Fails the case when it holds none.
    pub async fn done(&self) -> CaseResult {
        let confirmed = self.confirm();
        settle().await;
        ensure_eq("there was a job to confirm", &confirmed, &true)
    }
}

/// Lets everything happen that can happen at once.
pub async fn settle() {
    tokio::time::sleep(super::actors::MOMENT).await;
}

//! A job delivered to a worker, and its progress as the producer sees it.

use std::{fmt, sync::Arc, time::Duration};

use actix::Message;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Ends a delivery; the argument is `true` if the job is confirmed.
type End = Box<dyn FnOnce(bool) + Send + Sync>;

/// A job for a worker, which confirms it when it is done. If the delivery is dropped without confirmation (because the
/// worker panics, restarts, stops or forgets it), the job goes to another worker.
pub struct Delivery<T: Send + Sync + 'static> {
    job: Arc<T>,
    number: u32,
    withdrawn: CancellationToken,
    /// `None` once the delivery has ended.
    end: Option<End>,
}

impl<T: Send + Sync + 'static> Message for Delivery<T> {
    type Result = ();
}

impl<T: Send + Sync + 'static> Delivery<T> {
    pub(super) fn new(job: Arc<T>, number: u32, withdrawn: CancellationToken, end: End) -> Self {
        Self {
            job,
            number,
            withdrawn,
            end: Some(end),
        }
    }

    /// Returns the job.
    pub fn job(&self) -> &Arc<T> {
        &self.job
    }

    /// Returns the number of this delivery of the job: 1, or more if workers lost it before.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Returns a token that is cancelled when the job is withdrawn from this worker, because its actor stopped or
    /// was deregistered, or because the desk stopped. Further work on the job is useless then.
    pub fn withdrawn(&self) -> &CancellationToken {
        &self.withdrawn
    }

    /// Confirms that the job is done; the worker gets the next one. It has no effect if the job was withdrawn.
    pub fn confirm(mut self) {
        if let Some(end) = self.end.take() {
            end(true);
        }
    }
}

impl<T: Send + Sync + 'static> Drop for Delivery<T> {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end(false);
        }
    }
}

impl<T: Send + Sync + fmt::Debug + 'static> fmt::Debug for Delivery<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Delivery")
            .field("job", &self.job)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// The progress of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It waits for a worker, for the first time or again.
    Waiting,
    /// A worker has it.
    Taken {
        /// The number of this delivery, from 1.
        delivery: u32,
    },
    /// A worker has done it.
    Confirmed {
        /// The number of times it was delivered.
        deliveries: u32,
    },
    /// Workers lost it as often as the limit allows.
    GivenBack {
        /// The number of times it was delivered.
        deliveries: u32,
    },
}

/// The reason why a job is not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// The buffer is full. The job was not accepted, so a retry is safe.
    #[error("the buffer is full")]
    Full,
    /// The desk has stopped. The job is not done, or not confirmed.
    #[error("the desk has stopped")]
    Stopped,
    /// Workers lost the job as often as the limit allows.
    #[error("the job was lost by {deliveries} workers")]
    GivenBack {
        /// The number of times it was delivered.
        deliveries: u32,
    },
    /// The job was not confirmed in time; it stays in the buffer and may still be done.
    #[error("the job was not confirmed in time")]
    TimedOut,
}

/// A producer's view of one job. Dropping it changes nothing for the job.
#[derive(Clone, Debug)]
pub struct Receipt {
    progress: watch::Receiver<Progress>,
}

impl Receipt {
    pub(super) fn new() -> (watch::Sender<Progress>, Self) {
        let (sender, progress) = watch::channel(Progress::Waiting);
        (sender, Self { progress })
    }

    /// Returns the progress of the job.
    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Returns `true` if the desk stopped before the job was confirmed; its progress does not change any more.
    pub fn is_lost(&self) -> bool {
        let ended = matches!(
            self.progress(),
            Progress::Confirmed { .. } | Progress::GivenBack { .. }
        );
        !ended && self.progress.has_changed().is_err()
    }

    /// Waits until a worker has the job, or has had it. Returns the number of that delivery.
    ///
    /// # Errors
    /// Returns an error if the desk stops first.
    pub async fn taken(&mut self) -> Result<u32, WorkError> {
        let left = |progress: &Progress| *progress != Progress::Waiting;
        let progress = self.progress.wait_for(left).await;
        match progress.map_err(|_| WorkError::Stopped).as_deref() {
            Ok(
                Progress::Taken { delivery: number }
                | Progress::Confirmed { deliveries: number }
                | Progress::GivenBack { deliveries: number },
            ) => Ok(*number),
            Ok(Progress::Waiting) | Err(_) => Err(WorkError::Stopped),
        }
    }

    /// Waits until the job is done. Returns the number of times it was delivered.
    ///
    /// # Errors
    /// Returns an error if the job is given back or the desk stops first.
    pub async fn confirmed(&mut self) -> Result<u32, WorkError> {
        let over = |progress: &Progress| {
            matches!(
                progress,
                Progress::Confirmed { .. } | Progress::GivenBack { .. }
            )
        };
        let progress = self.progress.wait_for(over).await;
        match progress.map_err(|_| WorkError::Stopped).as_deref() {
            Ok(Progress::Confirmed { deliveries }) => Ok(*deliveries),
            Ok(Progress::GivenBack { deliveries }) => Err(WorkError::GivenBack {
                deliveries: *deliveries,
            }),
            Ok(_) | Err(_) => Err(WorkError::Stopped),
        }
    }

    /// Waits as [`Receipt::confirmed`] does, at most for `timeout`.
    ///
    /// # Errors
    /// See [`WorkError`].
    pub async fn confirmed_within(&mut self, timeout: Duration) -> Result<u32, WorkError> {
        let confirmed = tokio::time::timeout(timeout, self.confirmed()).await;
        confirmed.unwrap_or(Err(WorkError::TimedOut))
    }
}

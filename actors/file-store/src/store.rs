//! What a store says of its file.

use std::fmt::Display;

use kebne_file::{FileError, OpenFile, OwnedFile};

use crate::Claim;

/// A store in a file, before it is open; clones share the identity of the file.
pub trait FileStore: Clone + Send + Sync + Unpin + 'static {
    /// The open store.
    type Open: Unpin + 'static;
    /// The reason why a step is not done.
    type Error: From<FileError> + Display + Send + 'static;

    /// Returns the file.
    fn file(&self) -> &OwnedFile;

    /// Opens the file, or creates it if there was none since the start.
    ///
    /// # Errors
    /// Fails if the file cannot be opened, holds something else, has another key, or has disappeared.
    fn open(&self) -> Result<Self::Open, Self::Error>;

    /// Returns the file of the open store.
    fn open_file(open: &mut Self::Open) -> &mut OpenFile;

    /// Returns `true` if the store fails, and must be opened again, with this error.
    fn is_failure(error: &Self::Error) -> bool;

    /// Returns `true` if the last step has removed data, although it was not one of [`StepKind::Removes`](crate::StepKind::Removes).
    fn takes_removed(_: &mut Self::Open) -> bool {
        false
    }

    /// Runs a step as one transaction. It is committed only if `claim` was not abandoned meanwhile.
    ///
    /// # Errors
    /// Returns the error of the step or of the file; then nothing has changed.
    fn transaction<T>(
        open: &mut Self::Open,
        claim: &Claim,
        step: impl FnOnce(&mut Self::Open) -> Result<T, Self::Error>,
    ) -> Result<T, Self::Error> {
        Self::open_file(open).begin()?;
        let done = step(open).and_then(|value| {
            if !claim.commit() {
                let why = "the step took longer than its caller waited".to_owned();
                return Err(FileError::Failed(why).into());
            }
            Self::open_file(open).commit()?;
            Ok(value)
        });
        if done.is_err() {
            Self::open_file(open).roll_back();
        }
        done
    }
}

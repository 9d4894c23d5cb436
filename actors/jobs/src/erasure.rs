//! What the store holds of an owner, and its erasure.

use std::path::{Path, PathBuf};

use kebne_file_store::StepKind;

use crate::{handle::Jobs, model::JobError, sqlite::Database};

pub use crate::model::held::{Erased, Holdings};

/// The most steps of an erasure, so that an owner who goes on queueing does not make it endless. A step erases up to 500 rows of each table.
const STEPS_MAX: usize = 100_000;

impl Jobs {
    /// Returns what is held of an owner.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    pub async fn held(&self, owner: &str) -> Result<Holdings, JobError> {
        let owner = owner.to_owned();
        let act = move |database: &mut Database| database.held(&owner);
        self.step(StepKind::Reads, Ok(Holdings::default()), act)
            .await
    }

    /// Erases all jobs, batches and notices of an owner, and its key. Jobs that run are ended, and their results are not kept.
    ///
    /// # Errors
    /// Returns an error if the store fails; a second call erases the rest.
    pub async fn erase(&self, owner: &str) -> Result<Erased, JobError> {
        let held = self.held(owner).await?;
        let mut erased = Erased {
            removed: held,
            ..Erased::default()
        };
        let bytes_max = self.settings().result_size_max.0;
        for _ in 0..=STEPS_MAX {
            let of = owner.to_owned();
            let act = move |database: &mut Database| database.erase_part(&of, bytes_max);
            let left = self
                .step(StepKind::Removes, Ok(Holdings::default()), act)
                .await?;
            if left.is_empty() {
                erased.key_erased = held.has_key && !left.has_key;
                break;
            }
        }
        self.changed("", None);
        // Jobs that run are ended.
        self.wake();
        erased.log_emptied = is_log_empty(&self.settings().path);
        Ok(erased)
    }
}

/// Returns `true` if the log of a file is empty or absent.
fn is_log_empty(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(PathBuf::from(log)).map_or(true, |log| log.len() == 0)
}

//! What the store holds of an owner, and its erasure.
//!
//! The first step makes all of it invisible; the following ones erase it, a part at a time, and the last one erases the owner's key.

use std::path::{Path, PathBuf};

use kebne_file_store::StepKind;

use crate::{
    handle::Collections,
    model::{CollectionError, held::Step},
    sqlite::Database,
};

pub use crate::model::held::{Erased, Holdings};

/// The number of times that an erasure begins again because something was created meanwhile.
const ROUNDS_MAX: usize = 3;

impl Collections {
    /// Returns what is held of an owner, also what has expired and is not removed yet.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    pub async fn held(&self, owner: &str) -> Result<Holdings, CollectionError> {
        let owner = owner.to_owned();
        let act = move |database: &mut Database| database.held(&owner);
        self.step(StepKind::Reads, Ok(Holdings::default()), act)
            .await
    }

    /// Erases all files and collections of an owner, and its key. What calls that run meanwhile create may stay, and keeps the key.
    ///
    /// # Errors
    /// Returns an error if the store fails. All may be invisible then, and is erased by a second call.
    pub async fn erase(&self, owner: &str) -> Result<Erased, CollectionError> {
        let mut erased = Erased::default();
        for _ in 0..ROUNDS_MAX {
            let of = owner.to_owned();
            let hide = move |database: &mut Database| database.hide(&of);
            let nothing = Ok(Holdings::default());
            let hidden = self.step(StepKind::Removes, nothing, hide).await?;
            if hidden.is_empty() && !hidden.has_key {
                break;
            }
            erased.removed = erased.removed.and(&hidden);
            loop {
                let of = owner.to_owned();
                let erase = move |database: &mut Database| database.erase_hidden(&of);
                let step = self.step(StepKind::Removes, Ok(Step::default()), erase);
                let step = step.await?;
                if let Some(collection) = step.collection {
                    self.forget_index(collection);
                }
                erased.key_erased |= step.key_erased;
                if !step.has_more {
                    break;
                }
            }
        }
        erased.log_emptied = is_log_empty(&self.settings().path);
        Ok(erased)
    }
}

/// Returns `true` if the log of a file is empty or absent. Each step that removes data empties it, unless a search reads it.
fn is_log_empty(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(PathBuf::from(log)).map_or(true, |log| log.len() == 0)
}

//! What an owner has.

use super::{Database, Result, number};

impl Database {
    /// Returns the bytes of an owner: its files, chunks and vectors.
    pub(super) fn bytes_of(&self, owner: i64) -> Result<u64> {
        let sum = "SELECT coalesce((SELECT sum(bytes) FROM files WHERE owner = ?1), 0)
            + coalesce((SELECT sum(members.bytes) FROM members JOIN collections ON collections.number = members.collection
                WHERE collections.owner = ?1), 0)";
        let mut sum = self.file.connection.prepare_cached(sum)?;
        Ok(sum.query_row([owner], |row| number(row, 0))?)
    }

    /// Removes an owner's key if nothing of it is left.
    pub(super) fn forget_owner(&mut self, owner: i64) -> Result<()> {
        let tables = ["files", "collections"];
        self.file.remove_owner_unless_in(owner, &tables)?;
        Ok(())
    }
}

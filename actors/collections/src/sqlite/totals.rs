//! What the store holds, of all owners together.

use super::{Database, Result, number};
use crate::model::{Status, Totals};

impl Database {
    /// Counts what the store holds.
    pub(crate) fn totals(&mut self) -> Result<Totals> {
        let mut totals = Totals::default();
        let collections = "SELECT count(*) FROM collections";
        totals.collections = self
            .file
            .connection
            .query_row(collections, [], |row| number(row, 0))?;
        let select = "SELECT status, count(*), coalesce(sum(chunks), 0), coalesce(sum(bytes), 0) FROM members GROUP BY status";
        let mut select = self.file.connection.prepare_cached(select)?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let status: String = row.get(0)?;
            let status = Status::named(&status).unwrap_or(Status::Failed);
            totals.files.add(status, number(row, 1)?);
            totals.chunks += number(row, 2)?;
            totals.bytes += number(row, 3)?;
        }
        Ok(totals)
    }
}

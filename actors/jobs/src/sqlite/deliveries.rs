//! Notices that are to be delivered.

use std::time::Duration;

use rusqlite::{OptionalExtension as _, params};

use super::{Database, Result, about, later, optional, stored};
use crate::{
    id::new_id,
    model::{Delivery, Notice},
};

/// A row: the number, the id, the attempts and the fencing number; the owner; the sealed notice.
type Raw = ((i64, String, u32, i64), i64, Vec<u8>);

impl Database {
    pub(super) fn add_delivery(&mut self, owner: i64, notice: &Notice, now: u64) -> Result<()> {
        let id = new_id("msg_")?;
        let notice = self.file.seal_value(owner, notice, &about("notice", &id))?;
        let insert = "INSERT INTO deliveries (id, owner, due, notice) VALUES (?1, ?2, ?3, ?4)";
        let row = params![id, owner, stored(now), notice];
        self.file.connection.execute(insert, row)?;
        Ok(())
    }

    /// Takes a notice that is due. Until it is settled it is due again after `lease`. Without one, returns when the next is due.
    pub(crate) fn next_delivery(
        &mut self,
        now: u64,
        lease: Duration,
    ) -> Result<(Option<Delivery>, Option<u64>)> {
        let find = "UPDATE deliveries SET due = ?2, attempts = attempts + 1, fence = fence + 1
            WHERE number = (SELECT number FROM deliveries WHERE due <= ?1 ORDER BY due LIMIT 1)
            RETURNING number, id, owner, attempts, fence, notice";
        let times = params![stored(now), stored(later(now, lease))];
        let found = self.file.connection.query_row(find, times, |row| {
            let delivery = (row.get(0)?, row.get(1)?, row.get(3)?, row.get(4)?);
            Ok((delivery, row.get(2)?, row.get(5)?))
        });
        let found: Option<Raw> = found.optional()?;
        let Some(((number, id, attempt, fence), owner, notice)) = found else {
            let next = "SELECT min(due) FROM deliveries";
            let next = self
                .file
                .connection
                .query_row(next, [], |row| optional(row, 0))?;
            return Ok((None, next));
        };
        let notice = self.open_or_empty(owner, &notice, &about("notice", &id))?;
        let Ok(notice) = serde_json::from_slice(&notice) else {
            let remove = "DELETE FROM deliveries WHERE number = ?1";
            self.file.connection.execute(remove, [number])?;
            return Ok((None, Some(now)));
        };
        let delivery = Delivery {
            notice,
            owner: self.file.owner_name(owner)?,
            number,
            fence,
            id,
            attempt,
        };
        Ok((Some(delivery), None))
    }

    /// Removes a notice, or has it delivered again after a time.
    pub(crate) fn settle_delivery(
        &mut self,
        (number, fence): (i64, i64),
        again: Option<Duration>,
        now: u64,
    ) -> Result<()> {
        match again {
            None => {
                let remove = "DELETE FROM deliveries WHERE number = ?1 AND fence = ?2";
                self.file.connection.execute(remove, [number, fence])?;
            }
            Some(after) => {
                let update = "UPDATE deliveries SET due = ?3 WHERE number = ?1 AND fence = ?2";
                let due = stored(later(now, after));
                self.file.connection.execute(update, [number, fence, due])?;
            }
        }
        Ok(())
    }
}

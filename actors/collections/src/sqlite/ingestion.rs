//! Files of collections that wait to be cut, and the chunks that they are cut into.

use rusqlite::{OptionalExtension as _, params};

use super::{Database, Result, files, members, number, stored};
use crate::model::{ChunkText, Failure, MemberDetails, Rules};

/// The bytes of a vector for the quota, as long as there is none: those of 384 components.
const VECTOR_BYTES: usize = 768;

/// A file that is to be read for a collection.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) owner: i64,
    pub(super) collection: i64,
    pub(super) member: i64,
    /// How often it was begun, this time included.
    pub(crate) attempts: u32,
    /// The name of the file.
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
    pub(crate) rules: Rules,
}

/// The files that one reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Those that were not begun yet.
    First,
    /// Those whose first reading took too long, panicked or ended the process.
    Again,
}

impl Database {
    /// Returns the next file of a lane, and notes that it is begun. Owners take turns: the one behind the last one comes first.
    pub(crate) fn next_job(&mut self, lane: Lane, last_owner: i64) -> Result<Option<Job>> {
        type Sealed = (String, Vec<u8>, Vec<u8>, Vec<u8>);
        let attempts = match lane {
            Lane::First => {
                // One that the first lane has begun and does not read any more is for the other lane.
                let left = "UPDATE members SET attempts = 2 WHERE status = 'in_progress' AND cut = 0 AND attempts = 1";
                self.file.connection.execute(left, [])?;
                0..=0
            }
            Lane::Again => 2..=i64::MAX,
        };
        let next = "SELECT members.number
            FROM members JOIN collections ON collections.number = members.collection
                JOIN files ON files.number = members.file
            WHERE members.status = 'in_progress' AND members.cut = 0 AND members.attempts BETWEEN ?1 AND ?2
            ORDER BY collections.owner <= ?3, collections.owner, members.attempts, members.number LIMIT 1";
        let find = "SELECT members.number, members.collection, members.attempts, members.details,
                collections.owner, files.id, files.details, files.content
            FROM members JOIN collections ON collections.number = members.collection
                JOIN files ON files.number = members.file
            WHERE members.number = ?1";
        let next: Option<i64> = {
            let mut next = self.file.connection.prepare_cached(next)?;
            let row = params![attempts.start(), attempts.end(), last_owner];
            next.query_row(row, |row| row.get(0)).optional()?
        };
        let Some(next) = next else {
            return Ok(None);
        };
        let found: Option<(Job, Sealed)> = {
            let mut find = self.file.connection.prepare_cached(find)?;
            let row = find.query_row([next], |row| {
                let attempts = number(row, 2)?;
                let job = Job {
                    member: row.get(0)?,
                    collection: row.get(1)?,
                    owner: row.get(4)?,
                    attempts: u32::try_from(attempts)
                        .unwrap_or(u32::MAX)
                        .saturating_add(1),
                    name: String::new(),
                    content: Vec::new(),
                    rules: Rules::default(),
                };
                Ok((job, (row.get(5)?, row.get(3)?, row.get(6)?, row.get(7)?)))
            });
            row.optional()?
        };
        let Some((mut job, (file, details, of_file, content))) = found else {
            return Ok(None);
        };
        let begun = "UPDATE members SET attempts = attempts + 1 WHERE number = ?1";
        self.file.connection.execute(begun, [job.member])?;
        let details: MemberDetails =
            self.file
                .open_value(job.owner, &details, &members::about(job.member))?;
        let of_file: crate::model::FileDetails =
            self.file
                .open_value(job.owner, &of_file, &files::about_details(&file))?;
        job.rules = details.rules;
        job.name = of_file.name;
        job.content = self
            .file
            .open(job.owner, &content, &files::about_content(&file))?;
        Ok(Some(job))
    }

    /// Returns `true` if the chunks of a file are still awaited.
    pub(crate) fn awaits(&mut self, job: &Job) -> Result<bool> {
        let awaited =
            "SELECT 1 FROM members WHERE number = ?1 AND status = 'in_progress' AND cut = 0";
        let mut awaited = self.file.connection.prepare_cached(awaited)?;
        Ok(awaited.exists([job.member])?)
    }

    /// Stores the chunks of a file, which wait for their vectors from then on, or why there are none. Nothing is stored for a file that is
    /// not awaited any more. Returns the number of chunks.
    pub(crate) fn finish_cut(
        &mut self,
        job: &Job,
        cut: std::result::Result<Vec<ChunkText>, Failure>,
        chunks_max: u64,
        owner_bytes_max: u64,
    ) -> Result<u64> {
        let awaited =
            "SELECT details FROM members WHERE number = ?1 AND status = 'in_progress' AND cut = 0";
        let awaited: Option<Vec<u8>> = self
            .file
            .connection
            .query_row(awaited, [job.member], |row| row.get(0))
            .optional()?;
        let Some(details) = awaited else {
            return Ok(0);
        };
        let details: MemberDetails =
            self.file
                .open_value(job.owner, &details, &members::about(job.member))?;
        if details.rules != job.rules {
            // It is to be cut otherwise by now.
            return Ok(0);
        }
        let cut =
            cut.and_then(
                |chunks| match self.room(job, &chunks, chunks_max, owner_bytes_max) {
                    Ok(None) => Ok(chunks),
                    Ok(Some(why)) => Err(failure("invalid_file", why)),
                    Err(error) => Err(failure(SERVER_ERROR, error.to_string())),
                },
            );
        match cut {
            Err(failure) => {
                self.fail_member(job.owner, job.collection, job.member, failure)?;
                Ok(0)
            }
            Ok(chunks) => {
                self.write_chunks(job, &chunks)?;
                Ok(chunks.len() as u64)
            }
        }
    }

    /// Notes why a file has failed, and removes all its chunks. An older version that it was to replace stays.
    pub(super) fn fail_member(
        &mut self,
        owner: i64,
        collection: i64,
        member: i64,
        failure: Failure,
    ) -> Result<()> {
        self.remove_chunks(collection, member)?;
        let mut details = self.details_of(owner, member)?;
        details.failure = Some(failure);
        let update = "UPDATE members SET status = 'failed', cut = 0, chunks = 0, bytes = 0 WHERE number = ?1";
        self.file.connection.execute(update, [member])?;
        self.write_member(owner, collection, member, &details)
    }

    /// Removes all chunks of a file of a collection.
    pub(super) fn remove_chunks(&mut self, collection: i64, member: i64) -> Result<()> {
        self.has_removed = true;
        self.file
            .connection
            .execute("DELETE FROM chunks WHERE member = ?1", [member])?;
        let update = "UPDATE collections SET removals = removals + 1 WHERE number = ?1";
        self.file.connection.execute(update, [collection])?;
        Ok(())
    }

    /// Returns why the chunks have no room; `None` if they have. Chunks that they replace do not count.
    fn room(
        &self,
        job: &Job,
        chunks: &[ChunkText],
        chunks_max: u64,
        owner_bytes_max: u64,
    ) -> Result<Option<String>> {
        let replaced = "number = ?2 OR number = (SELECT replaces FROM members WHERE number = ?2)";
        let count = format!(
            "SELECT coalesce(sum(chunks), 0) FROM members WHERE collection = ?1 AND NOT ({replaced})"
        );
        let row = params![job.collection, job.member];
        let count = self
            .file
            .connection
            .query_row(&count, row, |row| number(row, 0))?;
        if count.saturating_add(chunks.len() as u64) > chunks_max {
            let why = format!(
                "the vector store would have more than {chunks_max} chunks (`collections.chunks_max`)"
            );
            return Ok(Some(why));
        }
        let freed = "SELECT coalesce(sum(members.bytes), 0) + coalesce((SELECT sum(files.bytes) FROM files JOIN members
                ON members.file = files.number WHERE members.number = (SELECT replaces FROM members WHERE number = ?1)), 0)
            FROM members WHERE number = ?1 OR number = (SELECT replaces FROM members WHERE number = ?1)";
        let freed = self
            .file
            .connection
            .query_row(freed, [job.member], |row| number(row, 0))?;
        let bytes: usize = chunks
            .iter()
            .map(|chunk| {
                let headings: usize = chunk.headings.iter().map(String::len).sum();
                VECTOR_BYTES + headings + chunk.text.len()
            })
            .sum();
        let taken = self.bytes_of(job.owner)?.saturating_sub(freed);
        if taken.saturating_add(bytes as u64) > owner_bytes_max {
            let why = format!(
                "its chunks would exceed the {owner_bytes_max} bytes of this tenant (`collections.owner_bytes_max`)"
            );
            return Ok(Some(why));
        }
        Ok(None)
    }

    /// Stores chunks beside those of the last reading, which are found until the new ones are complete.
    fn write_chunks(&mut self, job: &Job, chunks: &[ChunkText]) -> Result<()> {
        let left = "DELETE FROM chunks WHERE member = ?1 AND changed = 0";
        self.file.connection.execute(left, [job.member])?;
        let mut bytes = 0;
        for (place, chunk) in (0_i64..).zip(chunks) {
            let text = self
                .file
                .seal_value(job.owner, chunk, &about_text(job.member, place))?;
            bytes += text.len() as u64;
            let insert =
                "INSERT INTO chunks (collection, member, place, text, vector, space, changed)
                VALUES (?1, ?2, ?3, ?4, x'', 0, 0)";
            let mut insert = self.file.connection.prepare_cached(insert)?;
            insert.execute(params![job.collection, job.member, place, text])?;
        }
        let update =
            "UPDATE members SET cut = 1, attempts = 0, bytes = bytes + ?2 WHERE number = ?1";
        let row = params![job.member, stored(bytes)];
        self.file.connection.execute(update, row)?;
        Ok(())
    }
}

/// The code of a failure that is not the file's.
pub(crate) const SERVER_ERROR: &str = "server_error";

/// Creates the reason why a file cannot be read.
pub(crate) fn failure(code: &str, message: impl Into<String>) -> Failure {
    Failure {
        code: code.to_owned(),
        message: message.into(),
    }
}

pub(super) fn about_text(member: i64, place: i64) -> String {
    format!("text/{member}/{place}")
}

pub(super) fn about_vector(member: i64, place: i64) -> String {
    format!("vector/{member}/{place}")
}

//! Files of collections that wait to be read, and what is made of them.

use rusqlite::{OptionalExtension as _, params};

use super::{Database, Result, files, members, number, stored};
use crate::model::{ChunkText, Failure, MemberDetails, Rules};
use kebne_retrieval::Vector;

/// A file that is to be read for a collection.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) owner: i64,
    collection: i64,
    member: i64,
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

/// A chunk to be stored.
#[derive(Debug)]
pub(crate) struct NewChunk {
    pub(crate) text: ChunkText,
    pub(crate) vector: Vector,
}

impl Database {
    /// Returns the next file of a lane, and notes that it is begun. Owners take turns: the one behind the last one comes first.
    pub(crate) fn next_job(&mut self, lane: Lane, last_owner: i64) -> Result<Option<Job>> {
        type Sealed = (String, Vec<u8>, Vec<u8>, Vec<u8>);
        let attempts = match lane {
            Lane::First => {
                // One that the first lane has begun and does not read any more is for the other lane.
                let left =
                    "UPDATE members SET attempts = 2 WHERE status = 'in_progress' AND attempts = 1";
                self.connection.execute(left, [])?;
                0..=0
            }
            Lane::Again => 2..=i64::MAX,
        };
        let next = "SELECT members.number
            FROM members JOIN collections ON collections.number = members.collection
                JOIN files ON files.number = members.file
            WHERE members.status = 'in_progress' AND members.attempts BETWEEN ?1 AND ?2
            ORDER BY collections.owner <= ?3, collections.owner, members.attempts, members.number LIMIT 1";
        let find = "SELECT members.number, members.collection, members.attempts, members.details,
                collections.owner, files.id, files.details, files.content
            FROM members JOIN collections ON collections.number = members.collection
                JOIN files ON files.number = members.file
            WHERE members.number = ?1";
        let next: Option<i64> = {
            let mut next = self.connection.prepare_cached(next)?;
            let row = params![attempts.start(), attempts.end(), last_owner];
            next.query_row(row, |row| row.get(0)).optional()?
        };
        let Some(next) = next else {
            return Ok(None);
        };
        let found: Option<(Job, Sealed)> = {
            let mut find = self.connection.prepare_cached(find)?;
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
        self.connection.execute(begun, [job.member])?;
        let details: MemberDetails =
            self.open_piece(job.owner, &details, &members::about(job.member))?;
        let of_file: crate::model::FileDetails =
            self.open_piece(job.owner, &of_file, &files::about_details(&file))?;
        job.rules = details.rules;
        job.name = of_file.name;
        job.content = self.open_bytes(job.owner, &content, &files::about_content(&file))?;
        Ok(Some(job))
    }

    /// Returns `true` if what is made of a file is still awaited.
    pub(crate) fn awaits(&mut self, job: &Job) -> Result<bool> {
        let awaited = "SELECT 1 FROM members WHERE number = ?1 AND status = 'in_progress'";
        let mut awaited = self.connection.prepare_cached(awaited)?;
        Ok(awaited.exists([job.member])?)
    }

    /// Stores what was made of a file: its chunks, or why there are none. Nothing is stored for a file that is not awaited any more.
    pub(crate) fn finish_job(
        &mut self,
        job: &Job,
        made: std::result::Result<Vec<NewChunk>, Failure>,
        chunks_max: u64,
        owner_bytes_max: u64,
    ) -> Result<()> {
        let awaited = "SELECT details FROM members WHERE number = ?1 AND status = 'in_progress'";
        let awaited: Option<Vec<u8>> = self
            .connection
            .query_row(awaited, [job.member], |row| row.get(0))
            .optional()?;
        let Some(details) = awaited else {
            return Ok(());
        };
        let mut details: MemberDetails =
            self.open_piece(job.owner, &details, &members::about(job.member))?;
        if details.rules != job.rules {
            // It is to be cut otherwise by now.
            return Ok(());
        }
        let made =
            made.and_then(
                |chunks| match self.room(job, &chunks, chunks_max, owner_bytes_max) {
                    Ok(None) => Ok(chunks),
                    Ok(Some(why)) => Err(failure("invalid_file", why)),
                    Err(error) => Err(failure("server_error", error.to_string())),
                },
            );
        let (status, count, bytes) = match made {
            Ok(chunks) => {
                let bytes = self.write_chunks(job, &chunks)?;
                details.failure = None;
                ("completed", chunks.len() as u64, bytes)
            }
            Err(failure) => {
                details.failure = Some(failure);
                ("failed", 0, 0)
            }
        };
        let update = "UPDATE members SET status = ?2, chunks = ?3, bytes = ?4 WHERE number = ?1";
        let row = params![job.member, status, stored(count), stored(bytes)];
        self.connection.execute(update, row)?;
        self.write_member(job.owner, job.collection, job.member, &details)
    }

    /// Returns why the chunks have no room; `None` if they have.
    fn room(
        &self,
        job: &Job,
        chunks: &[NewChunk],
        chunks_max: u64,
        owner_bytes_max: u64,
    ) -> Result<Option<String>> {
        let count = "SELECT coalesce(sum(chunks), 0) FROM members WHERE collection = ?1";
        let count = self
            .connection
            .query_row(count, [job.collection], |row| number(row, 0))?;
        if count.saturating_add(chunks.len() as u64) > chunks_max {
            let why = format!(
                "the vector store would have more than {chunks_max} chunks (`collections.chunks_max`)"
            );
            return Ok(Some(why));
        }
        let bytes: usize = chunks
            .iter()
            .map(|chunk| {
                let headings: usize = chunk.text.headings.iter().map(String::len).sum();
                2 * chunk.vector.dimensions() + headings + chunk.text.text.len()
            })
            .sum();
        if self.bytes_of(job.owner)?.saturating_add(bytes as u64) > owner_bytes_max {
            let why = format!(
                "its chunks would exceed the {owner_bytes_max} bytes of this tenant (`collections.owner_bytes_max`)"
            );
            return Ok(Some(why));
        }
        Ok(None)
    }

    fn write_chunks(&mut self, job: &Job, chunks: &[NewChunk]) -> Result<u64> {
        let mut bytes = 0;
        for (place, chunk) in (0_i64..).zip(chunks) {
            let about = about_text(job.member, place);
            let text = self.seal(job.owner, &chunk.text, &about)?;
            let about = about_vector(job.member, place);
            let vector = self.seal_bytes(job.owner, chunk.vector.to_bytes(), &about)?;
            bytes += text.len() + vector.len();
            let insert = "INSERT INTO chunks (collection, member, place, text, vector) VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut insert = self.connection.prepare_cached(insert)?;
            insert.execute(params![job.collection, job.member, place, text, vector])?;
        }
        Ok(bytes as u64)
    }
}

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

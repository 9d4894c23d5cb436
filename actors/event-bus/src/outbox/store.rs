//! The file of the outbox.
//!
//! A row is one message, sealed as a whole, so that the file shows neither topics nor keys. A message is in the operating system's memory when its
//! transaction has ended: it survives the end of the process at any moment, but the last ones may be lost if the machine loses power.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use kebne_events::token;
use kebne_file::{FileError, Found, Kind, PrivateFile};
use kebne_seal::Keyring;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::{bus::Message, outbox::OutboxParts, settings::WhenFull};

const KIND: Kind = Kind {
    name: "events",
    // `KebE`
    application: 0x4b65_6245,
    format: 1,
    key_check: "kebne outbox",
    busy: Duration::from_millis(500),
};

/// The bytes that one removal takes out: a batch of the relay, whose events have about a thousand each.
const REMOVED_MAX: u64 = 1 << 20;

const TABLES: &str = "
CREATE TABLE waiting (number INTEGER PRIMARY KEY AUTOINCREMENT, message BLOB NOT NULL) STRICT;
";

/// What a sealed row is about. The number is not part of it, because it is given by the insertion.
const ABOUT: &str = "kebne outbox message";

/// A message as it is written.
#[derive(Serialize, Deserialize)]
struct Row<'a> {
    id: Cow<'a, str>,
    topic: Cow<'a, str>,
    key: Cow<'a, str>,
    payload: Cow<'a, str>,
}

/// The result of putting messages in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Put {
    /// Messages that were dropped to stay within the bounds, old or new ones.
    pub(super) dropped: u64,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    keyring: Option<Keyring>,
    events_max: u64,
    bytes_max: u64,
    when_full: WhenFull,
    events: u64,
    bytes: u64,
}

impl Store {
    pub(super) fn file(parts: &OutboxParts) -> PrivateFile {
        PrivateFile::new(parts.settings.path.clone(), KIND, REMOVED_MAX)
    }

    pub(super) fn open(file: &PrivateFile, parts: &OutboxParts) -> Result<Self, FileError> {
        let keyring = parts.keyring.clone();
        let connection = file.open(|connection, found| prepare(file, connection, found, parts))?;
        let sums = "SELECT count(*), coalesce(sum(length(message)), 0) FROM waiting";
        let sums = connection.query_row(sums, [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        });
        let (events, bytes) = sums?;
        let settings = &parts.settings;
        Ok(Self {
            connection,
            keyring,
            events_max: settings.events_max,
            bytes_max: u64::try_from(settings.bytes_max.as_usize()).unwrap_or(u64::MAX),
            when_full: settings.when_full,
            events: events.unsigned_abs(),
            bytes: bytes.unsigned_abs(),
        })
    }

    /// Returns the number of messages that wait, and their bytes.
    pub(super) fn waiting(&self) -> (u64, u64) {
        (self.events, self.bytes)
    }

    /// Puts messages in, within the bounds, in one transaction.
    pub(super) fn put(&mut self, messages: &[Message]) -> Result<Put, FileError> {
        let (mut events, mut bytes) = (self.events, self.bytes);
        let mut dropped = 0;
        let transaction = self.connection.unchecked_transaction()?;
        for message in messages {
            let row = self.seal(message)?;
            let size = u64::try_from(row.len()).unwrap_or(u64::MAX);
            if size > self.bytes_max {
                dropped += 1;
                continue;
            }
            let is_full = |events: u64, bytes: u64| {
                events >= self.events_max || bytes.saturating_add(size) > self.bytes_max
            };
            if is_full(events, bytes) && self.when_full == WhenFull::DropNewest {
                dropped += 1;
                continue;
            }
            while events > 0 && is_full(events, bytes) {
                let freed = drop_oldest(&transaction)?;
                events -= 1;
                bytes = bytes.saturating_sub(freed);
                dropped += 1;
            }
            let mut insert =
                transaction.prepare_cached("INSERT INTO waiting (message) VALUES (?1)")?;
            insert.execute(params![row])?;
            events += 1;
            bytes += size;
        }
        transaction.commit()?;
        (self.events, self.bytes) = (events, bytes);
        Ok(Put { dropped })
    }

    /// Returns the oldest messages, with their numbers. Those that no key opens are returned as `None`.
    pub(super) fn read(&self, max: usize) -> Result<Vec<(i64, Option<Message>)>, FileError> {
        let select = "SELECT number, message FROM waiting ORDER BY number LIMIT ?1";
        let mut rows = self.connection.prepare_cached(select)?;
        let limit = i64::try_from(max).unwrap_or(i64::MAX);
        let rows = rows.query_map([limit], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
        })?;
        let mut found = Vec::new();
        for row in rows {
            let (number, sealed) = row?;
            found.push((number, self.unseal(&sealed)));
        }
        Ok(found)
    }

    /// Removes messages.
    pub(super) fn remove(&mut self, numbers: &[i64]) -> Result<(), FileError> {
        let (mut events, mut bytes) = (self.events, self.bytes);
        let transaction = self.connection.unchecked_transaction()?;
        for number in numbers {
            let delete = "DELETE FROM waiting WHERE number = ?1 RETURNING length(message)";
            let mut delete = transaction.prepare_cached(delete)?;
            let mut sizes = delete.query([number])?;
            // It may have left already, because the outbox was full.
            if let Some(row) = sizes.next()? {
                events = events.saturating_sub(1);
                bytes = bytes.saturating_sub(row.get::<_, i64>(0)?.unsigned_abs());
            }
        }
        transaction.commit()?;
        (self.events, self.bytes) = (events, bytes);
        Ok(())
    }

    /// Returns the numbers of the messages of a tenant and of those that it has named below itself.
    pub(super) fn of_tenant(&self, tenant: &str) -> Result<Vec<i64>, FileError> {
        let select = "SELECT number, message FROM waiting ORDER BY number";
        let mut rows = self.connection.prepare(select)?;
        let mut rows = rows.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let sealed: Vec<u8> = row.get(1)?;
            let message = self.unseal(&sealed);
            let of_tenant = message.is_some_and(|message| belongs(&message.key, tenant));
            if of_tenant {
                found.push(row.get(0)?);
            }
        }
        Ok(found)
    }

    fn seal(&self, message: &Message) -> Result<Vec<u8>, FileError> {
        let row = Row {
            id: message.id.as_str().into(),
            topic: message.topic.as_str().into(),
            key: message.key.as_str().into(),
            payload: String::from_utf8_lossy(&message.payload),
        };
        let row = serde_json::to_vec(&row).map_err(|error| FileError::Failed(error.to_string()))?;
        match &self.keyring {
            Some(keyring) => Ok(keyring.seal(&row, ABOUT)?),
            None => Ok(row),
        }
    }

    fn unseal(&self, sealed: &[u8]) -> Option<Message> {
        let opened;
        let row = match &self.keyring {
            Some(keyring) => {
                opened = keyring.open(sealed, ABOUT)?.0;
                opened.as_slice()
            }
            None => sealed,
        };
        let row: Row<'_> = serde_json::from_slice(row).ok()?;
        Some(Message {
            id: row.id.into_owned(),
            topic: row.topic.into_owned(),
            key: row.key.into_owned(),
            payload: Bytes::from(row.payload.into_owned()),
        })
    }
}

/// Returns `true` if a key is that of a tenant, of a tenant that it has named below itself, or of a session of theirs.
fn belongs(key: &str, tenant: &str) -> bool {
    let rest = key.strip_prefix(&token(tenant));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with("%2F"))
}

fn prepare(
    file: &PrivateFile,
    connection: &Connection,
    found: Found,
    parts: &OutboxParts,
) -> Result<(), FileError> {
    let keyring = parts.keyring.as_ref();
    match found {
        Found::Nothing => return file.create(connection, &[TABLES], keyring),
        Found::Present => {}
        Found::Other(_) => return Err(file.is_not_ours()),
    }
    let is_old = file.has_old_key(connection, keyring)?;
    match keyring.filter(|_| is_old) {
        Some(keyring) => file.rotate(connection, keyring, |connection| {
            seal_again(connection, keyring)
        }),
        None => Ok(()),
    }
}

/// Seals all messages with the first key.
fn seal_again(connection: &Connection, keyring: &Keyring) -> Result<(), FileError> {
    let mut rows = connection.prepare("SELECT number, message FROM waiting")?;
    let rows = rows.query_map([], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
    })?;
    let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
    for (number, sealed) in rows {
        if let Some((plain, _)) = keyring.open(&sealed, ABOUT) {
            let sealed = keyring.seal(&plain, ABOUT)?;
            let update = "UPDATE waiting SET message = ?2 WHERE number = ?1";
            connection.execute(update, params![number, sealed])?;
        }
    }
    Ok(())
}

/// Removes the oldest message and returns its size.
fn drop_oldest(connection: &Connection) -> Result<u64, FileError> {
    let delete = "DELETE FROM waiting WHERE number = (SELECT min(number) FROM waiting) RETURNING length(message)";
    let mut delete = connection.prepare_cached(delete)?;
    let size: i64 = delete.query_row([], |row| row.get(0))?;
    Ok(size.unsigned_abs())
}

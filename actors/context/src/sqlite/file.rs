//! The file: creation, identification, upgrade and decryption.
//!
//! A file that is not a store, is damaged, or was written with another key is an error; it is never treated as an empty
//! store.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
    },
    path::Path,
    time::Duration,
};

use kebne_seal::{Keyring, OwnerKeys, compare_check, new_check};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::{
    problem::Problem,
    schema::{BOOKS, COUNT, KEYS, NOTES, SCHEMA},
};
use crate::store::StoreError;

/// The application id of the file (`Kebn`).
const APPLICATION: i32 = 0x4b65_626e;
/// The version of the schema.
const FORMAT: i32 = 3;
/// The first version. Its pieces do not name their owner, and its bytes are not counted. Those of the second are sealed with the master key, and it has no notes.
const FORMAT_WITHOUT_OWNER: i32 = 1;
/// A known text that is stored sealed, to distinguish a wrong key from a damaged piece.
const KEY_CHECK: &str = "kebne session store";
/// Marks a file in which pieces may be left that do not name their owner.
const UNOWNED: &str = "pieces without an owner";
/// Marks a file in which pieces may be left that are sealed with the master key in place of their owner's.
const UNKEYED: &str = "pieces without a key of their owner";
/// Marks a file in which turns may be left that are sealed with the key of a former owner.
pub(super) const FORMER: &str = "pieces of a former owner";
/// The prefix of the key checks of old keys under which pieces may be left.
const OLD: &str = "old/";

/// The age at which a draft is considered abandoned. Creating a store takes far less time.
const DRAFT_AGE: Duration = Duration::from_mins(1);

/// An entry of the table `lock`: its name and its value.
pub(super) type Mark = (String, Vec<u8>);

/// The pieces that are still to be sealed again.
#[derive(Debug, Default)]
pub(super) struct Stale {
    /// Entries of the table `lock` to remove once none are left.
    pub(super) marks: Vec<Mark>,
    /// `true` if pieces that do not name their owner are accepted.
    pub(super) unowned: bool,
    /// `true` if pieces are accepted that are sealed with the master key.
    pub(super) unkeyed: bool,
}

/// Returns the identity of the file at `path`, or `None` if there is no file.
///
/// # Errors
/// Returns the error of the file system.
pub(super) fn identity(path: &Path) -> Result<Option<(u64, u64)>, Problem> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let message = format!("cannot look at `{}`: {error}", path.display());
            Err(StoreError::Failed(message).into())
        }
    }
}

/// Opens the file at `path`, or creates it if there is none. Waits at most `busy` for each lock.
pub(super) fn open(
    path: &Path,
    keys: Option<&OwnerKeys>,
    busy: Duration,
) -> Result<(Connection, Stale), Problem> {
    let keyring = keys.map(OwnerKeys::master);
    if !path.exists() {
        create(path, keyring)?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(busy)?;
    // Checked before anything is set, so that a file of another program is not changed.
    let damaged = |what: &str| damaged(path, what);
    let application: i32 = pragma(&connection, "application_id")?;
    if application != APPLICATION {
        return Err(damaged("the file is not a store of sessions"));
    }
    narrow(path);
    let format = pragma(&connection, "user_version")?;
    if !(FORMAT_WITHOUT_OWNER..=FORMAT).contains(&format) {
        return Err(damaged("the file was written by another version"));
    }
    let check = entry(&connection, "check")?;
    let compared = compare_check(keyring, check.as_deref(), KEY_CHECK);
    compared.map_err(|wrong| damaged(&wrong.to_string()))?;
    configure(&connection)?;
    upgrade(&connection, keyring)?;
    let Some(keys) = keys else {
        return Ok((connection, Stale::default()));
    };
    rotate(&connection, keys)?;
    let stale = stale_marks(&connection, keys.master(), path)?;
    Ok((connection, stale))
}

fn pragma(connection: &Connection, name: &str) -> Result<i32, Problem> {
    Ok(connection.pragma_query_value(None, name, |row| row.get(0))?)
}

fn damaged(path: &Path, what: &str) -> Problem {
    let message = format!("`{}`: {what}", path.display());
    StoreError::Damaged(message).into()
}

fn entry(connection: &Connection, name: &str) -> Result<Option<Vec<u8>>, Problem> {
    let find = "SELECT value FROM lock WHERE name = ?1";
    Ok(connection
        .query_row(find, [name], |row| row.get(0))
        .optional()?)
}

/// Runs `act` as one transaction.
fn transact(
    connection: &Connection,
    act: impl FnOnce() -> Result<(), Problem>,
) -> Result<(), Problem> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let done = act().and_then(|()| Ok(connection.execute_batch("COMMIT")?));
    if done.is_err() {
        // A failed commit may have closed the transaction already.
        connection.execute_batch("ROLLBACK").ok();
    }
    done
}

/// Upgrades a file of an earlier version. Its pieces are sealed again later, step by step.
fn upgrade(connection: &Connection, keyring: Option<&Keyring>) -> Result<(), Problem> {
    if pragma(connection, "user_version")? == FORMAT {
        return Ok(());
    }
    let mark = |name: &str| -> Result<(), Problem> {
        if let Some(keyring) = keyring {
            let mark = keyring.seal(b"", name)?;
            let insert = "INSERT OR REPLACE INTO lock VALUES (?1, ?2)";
            connection.execute(insert, rusqlite::params![name, mark])?;
        }
        Ok(())
    };
    transact(connection, || {
        // Another process may have upgraded it meanwhile.
        let format: i32 = pragma(connection, "user_version")?;
        if format == FORMAT {
            return Ok(());
        }
        if format <= FORMAT_WITHOUT_OWNER {
            connection.execute_batch(COUNT)?;
            connection.execute_batch(BOOKS)?;
            let sum = "INSERT INTO owners SELECT owner, sum(bytes) FROM sessions GROUP BY owner";
            connection.execute(sum, [])?;
            mark(UNOWNED)?;
        }
        connection.execute_batch(KEYS)?;
        connection.execute_batch(NOTES)?;
        mark(UNKEYED)?;
        connection.pragma_update(None, "user_version", FORMAT)?;
        tracing::info!("the file of sessions was brought to format {FORMAT}");
        Ok(())
    })
}

/// Makes the first key the key of the file if another key of the list was, and wraps the keys of tenants again. If pieces of earlier
/// formats may be left, it records that they are under the old key.
fn rotate(connection: &Connection, keys: &OwnerKeys) -> Result<(), Problem> {
    let is_old = |check: &[u8]| {
        let compared = compare_check(Some(keys.master()), Some(check), KEY_CHECK);
        compared.unwrap_or(true)
    };
    if !is_old(&entry(connection, "check")?.unwrap_or_default()) {
        return Ok(());
    }
    transact(connection, || {
        let check = entry(connection, "check")?.unwrap_or_default();
        if !is_old(&check) {
            return Ok(());
        }
        let rows = {
            let mut rows = connection.prepare("SELECT number, key FROM keys")?;
            let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<(i64, Vec<u8>)>>>()?
        };
        for (number, row) in rows {
            if let Some(row) = keys.wrap_again(number, &row)? {
                let update = "UPDATE keys SET key = ?2 WHERE number = ?1";
                connection.execute(update, rusqlite::params![number, row])?;
            }
        }
        if entry(connection, UNKEYED)?.is_some() {
            // The old check is kept to identify the key that is needed. Its nonce makes the name unique.
            let nonce = check.get(..8).unwrap_or_default();
            let name = format!("{OLD}{}", hex::encode(nonce));
            let insert = "INSERT OR REPLACE INTO lock VALUES (?1, ?2)";
            connection.execute(insert, rusqlite::params![name, check])?;
        }
        let check = new_check(keys.master(), KEY_CHECK)?;
        connection.execute("UPDATE lock SET value = ?1 WHERE name = 'check'", [check])?;
        tracing::info!("the encryption key of sessions was changed");
        Ok(())
    })
}

/// Returns the pieces that may be left to seal again.
///
/// # Errors
/// Returns an error if a key is missing under which pieces may be left.
fn stale_marks(connection: &Connection, keyring: &Keyring, path: &Path) -> Result<Stale, Problem> {
    let mut stale = Stale::default();
    let mut find = connection.prepare("SELECT name, value FROM lock WHERE name <> 'check'")?;
    let mut rows = find.query([])?;
    while let Some(row) = rows.next()? {
        let (name, value): Mark = (row.get(0)?, row.get(1)?);
        let is_ours = |name: &str| keyring.open(&value, name).is_some();
        match name.as_str() {
            UNOWNED if is_ours(UNOWNED) => stale.unowned = true,
            UNKEYED if is_ours(UNKEYED) => stale.unkeyed = true,
            FORMER => {}
            old if old.starts_with(OLD) => {
                if keyring.open(&value, KEY_CHECK).is_none() {
                    return Err(damaged(
                        path,
                        "some of the file is still encrypted with an old key, which is not in \
                        `context.old_keys_env`",
                    ));
                }
            }
            _ => continue,
        }
        stale.marks.push((name, value));
    }
    Ok(stale)
}

/// Creates an empty store as a draft and then moves it to its place in one step. A process that ends in between leaves
/// no incomplete store, and of two processes that do it at once one succeeds.
pub(super) fn create(path: &Path, keyring: Option<&Keyring>) -> Result<(), Problem> {
    let failed =
        |error: io::Error| StoreError::Failed(format!("cannot make `{}`: {error}", path.display()));
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(folder).map_err(failed)?;
    }
    let mut chance = [0; 8];
    getrandom::fill(&mut chance)
        .map_err(|error| StoreError::Failed(format!("cannot make a store: {error}")))?;
    let draft = path.with_extension(format!("{}.draft", hex::encode(chance)));
    let made = (|| -> Result<(), Problem> {
        only_ours(&draft).map_err(failed)?;
        let connection = Connection::open(&draft)?;
        // Nobody else reads a draft. Without a log there are no files beside it, which a failure would leave behind.
        connection.pragma_update(None, "journal_mode", "MEMORY")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(SCHEMA)?;
        connection.execute_batch(BOOKS)?;
        connection.execute_batch(KEYS)?;
        connection.execute_batch(NOTES)?;
        if let Some(keyring) = keyring {
            let check = new_check(keyring, KEY_CHECK)?;
            connection.execute("INSERT INTO lock VALUES ('check', ?1)", [check])?;
        }
        connection.pragma_update(None, "user_version", FORMAT)?;
        connection.pragma_update(None, "application_id", APPLICATION)?;
        connection.close().map_err(|(_, error)| error)?;
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => Ok(linked.map_err(failed)?),
        }
    })();
    // A remaining draft does no harm.
    fs::remove_file(&draft).ok();
    made
}

/// Removes drafts that processes left which ended while they created the store at `path`. Younger ones may be in use.
pub(super) fn remove_drafts(path: &Path) {
    let (Some(stem), Some(folder)) = (path.file_stem(), path.parent()) else {
        return;
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    for file in files {
        let is_left = || {
            let age = file.metadata().and_then(|file| file.modified()).ok()?;
            age.elapsed().ok().filter(|age| *age >= DRAFT_AGE)
        };
        if is_draft(&file.file_name(), stem) && is_left().is_some() {
            // One that stays does no harm.
            fs::remove_file(file.path()).ok();
        }
    }
}

/// Returns `true` for the name of a draft of the store with this stem, and of a file that belongs to a draft.
fn is_draft(name: &OsStr, stem: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let rest = name.strip_prefix(stem.as_encoded_bytes());
    let Some((chance, end)) = rest.and_then(|rest| rest.split_at_checked(17)) else {
        return false;
    };
    let is_hex = chance[0] == b'.' && chance[1..].iter().all(u8::is_ascii_hexdigit);
    let ends: [&[u8]; 4] = [b".draft", b".draft-wal", b".draft-shm", b".draft-journal"];
    is_hex && ends.contains(&end)
}

/// Creates an empty file that only its owner may read. `SQLite` gives its log the same permissions.
fn only_ours(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).map(drop)
}

/// Takes from others the permission to read the file and its log, which a restored copy may have.
fn narrow(path: &Path) {
    for end in ["", "-wal", "-shm"] {
        let mut file = path.to_owned().into_os_string();
        file.push(end);
        let Ok(found) = fs::metadata(&file) else {
            continue;
        };
        let of_others = found.mode() & 0o077;
        if of_others == 0 {
            continue;
        }
        let narrowed = fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).is_ok();
        let file = Path::new(&file).display();
        tracing::warn!(%file, narrowed, "others had access to a file of the session store");
    }
}

fn configure(connection: &Connection) -> Result<(), Problem> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Each commit is on the disk before it is acknowledged, so it survives a power failure.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The turns of a removed session are erased in small steps instead of by a cascade, which would delay other steps.
    connection.pragma_update(None, "foreign_keys", false)?;
    // Removed data is overwritten.
    connection.pragma_update(None, "secure_delete", true)?;
    Ok(())
}

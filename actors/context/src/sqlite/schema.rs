//! The tables of the file, and the changes that bring a file of an earlier version to the present one.

/// The tables of sessions and turns.
pub(super) const SCHEMA: &str = "
CREATE TABLE lock (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL,
    turns INTEGER NOT NULL, tokens INTEGER NOT NULL, bytes INTEGER NOT NULL, details BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_owner ON sessions (owner, created, id);
CREATE INDEX sessions_by_use ON sessions (used);
CREATE INDEX sessions_by_age ON sessions (created);
CREATE TABLE turns (
    session TEXT NOT NULL, number INTEGER NOT NULL,
    tokens INTEGER NOT NULL, leads INTEGER NOT NULL, messages BLOB NOT NULL,
    PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;
";

/// The bytes that each owner holds, and the sessions whose turns are still to be erased.
pub(super) const BOOKS: &str = "
CREATE TABLE owners (owner TEXT PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE removed (session TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TRIGGER session_inserted AFTER INSERT ON sessions BEGIN
    INSERT INTO owners VALUES (new.owner, new.bytes)
        ON CONFLICT (owner) DO UPDATE SET bytes = owners.bytes + excluded.bytes;
END;
CREATE TRIGGER session_changed AFTER UPDATE OF owner, bytes ON sessions BEGIN
    UPDATE owners SET bytes = bytes - old.bytes WHERE owner = old.owner;
    INSERT INTO owners VALUES (new.owner, new.bytes)
        ON CONFLICT (owner) DO UPDATE SET bytes = owners.bytes + excluded.bytes;
    DELETE FROM owners WHERE owner = old.owner AND bytes <= 0;
END;
CREATE TRIGGER session_deleted AFTER DELETE ON sessions BEGIN
    UPDATE owners SET bytes = bytes - old.bytes WHERE owner = old.owner;
    DELETE FROM owners WHERE owner = old.owner AND bytes <= 0;
END;
";

/// The keys of tenants. A number is never given again.
pub(super) const KEYS: &str = "
CREATE TABLE keys (
    number INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL UNIQUE, key BLOB NOT NULL
) STRICT;
";

/// The notes beside the turns, and what the store knows of the history of a session.
pub(super) const NOTES: &str = "
ALTER TABLE sessions ADD COLUMN cuts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN facts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN facts_through INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN partial INTEGER NOT NULL DEFAULT 0;
CREATE TABLE notes (
    session TEXT NOT NULL, kind INTEGER NOT NULL, number INTEGER NOT NULL, owners INTEGER NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY (session, kind, number)
) STRICT, WITHOUT ROWID;
";

/// Counts what a file of the first version holds.
pub(super) const COUNT: &str = "
ALTER TABLE sessions ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET bytes = length(details)
    + coalesce((SELECT sum(length(messages)) FROM turns WHERE turns.session = sessions.id), 0);
";

//! Settings of sessions: store, expiry and bounds.

use std::{path::PathBuf, time::Duration};

use kebne_settings::{ByteCount, HumanDuration, SettingsError, Validate, is_variable_name, join};
use serde::{Deserialize, Serialize};

use crate::tokens::Tokenizer;

mod memory;

pub use memory::MemorySettings;

/// The store of sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// An `SQLite` file, created by the first session.
    #[default]
    Sqlite,
    /// Memory; sessions are lost when the process ends.
    Memory,
}

/// Settings of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContextSettings {
    /// `sqlite` or `memory`. Default `sqlite`.
    pub store: StoreKind,
    /// The file of the `sqlite` store. Default `kebne-data/sessions.sqlite`, relative to the working directory.
    pub path: PathBuf,
    /// The environment variable with the key that encrypts the file, 64 hexadecimal digits. If the variable is not set,
    /// the file is not encrypted. Default `KEBNE_CONTEXT_KEY`.
    pub key_env: String,
    /// The file with this key, in place of `key_env`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The environment variable with old keys of the file, separated by white space or commas; at most 8. They are only
    /// used to decrypt: data under an old key is encrypted again with the key of `key_env` while the service runs.
    /// Default `KEBNE_CONTEXT_OLD_KEYS`.
    pub old_keys_env: String,
    /// The file with old keys, in place of `old_keys_env`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_keys_file: Option<PathBuf>,
    /// The tokenizer that counts: `o200k_base` or `cl100k_base`. Default `o200k_base`.
    pub tokenizer: Tokenizer,
    /// The maximum number of tokens of a session's call: system prompt, history and new messages; at least 1. To keep
    /// within it, the oldest history is left out, and nothing else. Default 4096.
    pub tokens_max: u64,
    /// The largest turn that is stored, and so the largest new messages of a session's call; 1KiB to 16MiB. Default
    /// 1MiB.
    pub turn_size_max: ByteCount,
    /// The maximum number of sessions of each tenant; at least 1. Default 10000.
    pub sessions_max: u64,
    /// The maximum number of bytes in the store for each tenant; at least 64KiB. Default 256MiB.
    pub owner_bytes_max: ByteCount,
    /// The maximum number of turns of a session; at least 1. Default 1000.
    pub turns_max: u64,
    /// Bytes of one page of turns or of sessions; a page holds at least one item, however large it is. 64KiB to 64MiB.
    /// Default 4MiB.
    pub page_bytes_max: ByteCount,
    /// The time within which the store must answer; after it, calls of sessions are refused with 503. It includes the
    /// wait for the lock of the file; 100ms to 1m. Default 5s.
    pub answer_timeout: HumanDuration,
    /// The idle time after which a session is removed. Default 30 days.
    pub idle_expiry: HumanDuration,
    /// The age at which a session is removed. Default 1 year.
    pub age_max: HumanDuration,
    /// What is kept beside the turns: summaries, facts, and the search over them.
    pub memory: MemorySettings,
}

impl Default for ContextSettings {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        // A year of the duration syntax: 365.25 days.
        const YEAR: u64 = 365 * DAY + DAY / 4;
        Self {
            store: StoreKind::Sqlite,
            path: PathBuf::from("kebne-data/sessions.sqlite"),
            key_env: "KEBNE_CONTEXT_KEY".to_owned(),
            key_file: None,
            old_keys_env: "KEBNE_CONTEXT_OLD_KEYS".to_owned(),
            old_keys_file: None,
            tokenizer: Tokenizer::O200kBase,
            tokens_max: 4096,
            turn_size_max: ByteCount::from_mib(1),
            sessions_max: 10_000,
            owner_bytes_max: ByteCount::from_mib(256),
            turns_max: 1000,
            page_bytes_max: ByteCount::from_mib(4),
            answer_timeout: HumanDuration::from_secs(5),
            idle_expiry: HumanDuration::from_secs(30 * DAY),
            age_max: HumanDuration::from_secs(YEAR),
            memory: MemorySettings::default(),
        }
    }
}

impl Validate for ContextSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let is_file = self.path.file_name().is_some();
        require(is_file, "path", "must name a file");
        for (key, name) in [
            ("key_env", &self.key_env),
            ("old_keys_env", &self.old_keys_env),
        ] {
            // The value is not quoted, because it may be the key.
            let message = "must be the name of an environment variable such as `KEBNE_CONTEXT_KEY`, not a key";
            require(is_variable_name(name), key, message);
        }
        for (key, value) in [
            ("tokens_max", self.tokens_max),
            ("sessions_max", self.sessions_max),
            ("turns_max", self.turns_max),
        ] {
            require(value >= 1, key, "must be at least 1");
        }
        let size = ByteCount::from_kib(1)..=ByteCount::from_mib(16);
        require(
            size.contains(&self.turn_size_max),
            "turn_size_max",
            "must be 1KiB to 16MiB",
        );
        require(
            self.owner_bytes_max >= ByteCount::from_kib(64),
            "owner_bytes_max",
            "must be at least 64KiB",
        );
        let page = ByteCount::from_kib(64)..=ByteCount::from_mib(64);
        require(
            page.contains(&self.page_bytes_max),
            "page_bytes_max",
            "must be 64KiB to 64MiB",
        );
        let timeout = Duration::from_millis(100)..=Duration::from_mins(1);
        require(
            timeout.contains(&self.answer_timeout.0),
            "answer_timeout",
            "must be 100ms to 1m",
        );
        let second = Duration::from_secs(1);
        for (key, value) in [("idle_expiry", self.idle_expiry), ("age_max", self.age_max)] {
            require(value.0 >= second, key, "must be at least 1s");
        }
        if self.idle_expiry > self.age_max {
            let error = SettingsError::new(join(path, "idle_expiry"), "must be at most `age_max`");
            errors.push(error.against(join(path, "age_max")));
        }
        errors.extend(self.memory.validate(&join(path, "memory")));
        errors
    }
}

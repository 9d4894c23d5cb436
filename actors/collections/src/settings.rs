//! Settings of collections: the file, its keys, and bounds.

use std::path::PathBuf;

use kebne_settings::{ByteCount, SettingsError, Validate, join};
use serde::{Deserialize, Serialize};

/// Settings of collections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CollectionsSettings {
    /// The file, created with the first file or collection. Default `kebne-data/collections.sqlite`, relative to the working
    /// directory.
    pub path: PathBuf,
    /// The environment variable with the key that encrypts the file, 64 hexadecimal digits. If the variable is not set,
    /// the file is not encrypted. Default `KEBNE_CONTEXT_KEY`, the key of sessions.
    pub key_env: String,
    /// The file with this key, in place of `key_env`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The environment variable with old keys of the file, separated by white space or commas; at most 8. The keys of owners that
    /// they encrypt are encrypted again with the key of `key_env` when the file is opened. Default `KEBNE_CONTEXT_OLD_KEYS`.
    pub old_keys_env: String,
    /// The file with old keys, in place of `old_keys_env`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_keys_file: Option<PathBuf>,
    /// The largest file; 1KiB to 64MiB. `server.body_size_max` bounds it too. Default 16MiB.
    pub file_size_max: ByteCount,
    /// The maximum number of bytes of each tenant: its files, and the chunks and vectors that are made of them; at least 1MiB. Default
    /// 1GiB.
    pub owner_bytes_max: ByteCount,
    /// The maximum number of collections of each tenant; 1 to 100000. Default 1000.
    pub collections_max: u64,
    /// The maximum number of files of each tenant, and of files of a collection; 1 to 1000000. Default 10000.
    pub files_max: u64,
    /// The maximum number of chunks of a collection; 1 to 1000000. A search takes about 0.1 ms for each thousand. Default 200000.
    pub chunks_max: u64,
    /// The memory for the indexes of collections that were searched last; at least 1MiB. The index of a chunk takes about 1 KiB; a
    /// collection that needs more than this is indexed anew for each search. Default 512MiB.
    pub index_size_max: ByteCount,
    /// The maximum number of tokens of the sources that are put into a prompt; 50 to 1000000. Default 2000.
    pub prompt_tokens_max: u64,
    /// The maximum number of sources that are put into a prompt; 1 to 50. Default 8.
    pub prompt_sources_max: usize,
}

impl Default for CollectionsSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::from("kebne-data/collections.sqlite"),
            key_env: "KEBNE_CONTEXT_KEY".to_owned(),
            key_file: None,
            old_keys_env: "KEBNE_CONTEXT_OLD_KEYS".to_owned(),
            old_keys_file: None,
            file_size_max: ByteCount::from_mib(16),
            owner_bytes_max: ByteCount::from_mib(1024),
            collections_max: 1000,
            files_max: 10_000,
            chunks_max: 200_000,
            index_size_max: ByteCount::from_mib(512),
            prompt_tokens_max: 2000,
            prompt_sources_max: 8,
        }
    }
}

/// The number of hexadecimal digits from which a text is taken for a key and not for a name.
const KEY_DIGITS: usize = 32;

impl Validate for CollectionsSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        require(self.path.file_name().is_some(), "path", "must name a file");
        for (key, name) in [
            ("key_env", &self.key_env),
            ("old_keys_env", &self.old_keys_env),
        ] {
            let looks_like_key =
                name.len() >= KEY_DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            // The value is not quoted, because it may be the key.
            let message = "must be the name of an environment variable such as `KEBNE_CONTEXT_KEY`, not a key";
            require(!name.is_empty() && !looks_like_key, key, message);
        }
        let sizes = ByteCount::from_kib(1)..=ByteCount::from_mib(64);
        let fits = sizes.contains(&self.file_size_max);
        require(fits, "file_size_max", "must be 1KiB to 64MiB");
        for (key, size) in [
            ("owner_bytes_max", self.owner_bytes_max),
            ("index_size_max", self.index_size_max),
        ] {
            require(size >= ByteCount::from_mib(1), key, "must be at least 1MiB");
        }
        let counts = [
            ("collections_max", self.collections_max, 1, 100_000),
            ("files_max", self.files_max, 1, 1_000_000),
            ("chunks_max", self.chunks_max, 1, 1_000_000),
            ("prompt_tokens_max", self.prompt_tokens_max, 50, 1_000_000),
            ("prompt_sources_max", self.prompt_sources_max as u64, 1, 50),
        ];
        for (key, count, least, most) in counts {
            let message = format!("must be {least} to {most}");
            require((least..=most).contains(&count), key, &message);
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_each_bound_is_named() {
        assert!(CollectionsSettings::default().validate("c").is_empty());
        let wrong = CollectionsSettings {
            path: PathBuf::new(),
            key_env: "a".repeat(64),
            old_keys_env: String::new(),
            file_size_max: ByteCount::from_mib(65),
            owner_bytes_max: ByteCount::from_kib(1),
            index_size_max: ByteCount::from_kib(1),
            collections_max: 0,
            files_max: 0,
            chunks_max: 0,
            prompt_tokens_max: 49,
            prompt_sources_max: 51,
            ..CollectionsSettings::default()
        };
        let errors = wrong.validate("c");
        let keys: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(keys.len(), 11, "{keys:?}");
        assert!(
            !errors
                .iter()
                .any(|error| format!("{error:?}").contains("aaaa"))
        );
    }
}

//! Settings of collections: the file, its keys, and bounds.

use std::{path::PathBuf, time::Duration};

use kebne_settings::{ByteCount, Checks, HumanDuration, SettingsError, Validate};
use serde::{Deserialize, Serialize};

use crate::query::Floor;

/// Settings of collections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// The age at which files are removed, also from vector stores, whatever else they may say; at least 1h. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_age_max: Option<HumanDuration>,
    /// The age at which files of vector stores are removed that have no `file_expires_after` of their own, counted from their addition; at
    /// least 1h. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member_age_max: Option<HumanDuration>,
    /// The memory for the indexes of collections that were searched last; at least 1MiB. The index of a chunk takes about 1 KiB; a
    /// collection that needs more than this is indexed anew for each search. Default 512MiB.
    pub index_size_max: ByteCount,
    /// The number of chunks of a collection from which on their vectors are searched by a graph, which is faster and misses a few; 1000 to
    /// 1000000. Default 100000.
    pub graph_chunks_min: u64,
    /// The share of the words in the scores of a search, 0 (vectors only) to 1 (words only), unless the search says otherwise. Default none,
    /// which is 0.6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_words_share: Option<f64>,
    /// What a chunk must have to be put into a prompt, if it is not near enough: this share of the question's words, weighed by their
    /// rarity; 0 to 1. It does not count with the embedder that is built in. Default 0.3.
    pub prompt_words_min: f64,
    /// What a chunk must have to be put into a prompt, if it has too few of the words: this cosine between its vector and that of the
    /// question; -1 to 1. It does not count with the embedder that is built in. Default 0.2.
    pub prompt_cosine_min: f64,
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
            document_age_max: None,
            member_age_max: None,
            search_words_share: None,
            index_size_max: ByteCount::from_mib(512),
            graph_chunks_min: 100_000,
            prompt_words_min: 0.3,
            prompt_cosine_min: 0.2,
            prompt_tokens_max: 2000,
            prompt_sources_max: 8,
        }
    }
}

impl CollectionsSettings {
    /// Returns the share of the words in scores, if it is set.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "scores have the precision of f32"
    )]
    pub fn words_share(&self) -> Option<f32> {
        self.search_words_share.map(|share| share as f32)
    }

    /// Returns what a chunk must have to be put into a prompt.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "scores have the precision of f32"
    )]
    pub fn prompt_floor(&self) -> Floor {
        Floor {
            words: self.prompt_words_min as f32,
            cosine: self.prompt_cosine_min as f32,
        }
    }
}

impl Validate for CollectionsSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut checks = Checks::new(path);
        checks.store_file(&self.path, &self.key_env, &self.old_keys_env);
        let sizes = ByteCount::from_kib(1)..=ByteCount::from_mib(64);
        let fits = sizes.contains(&self.file_size_max);
        checks.require(fits, "file_size_max", "must be 1KiB to 64MiB");
        for (key, size) in [
            ("owner_bytes_max", self.owner_bytes_max),
            ("index_size_max", self.index_size_max),
        ] {
            checks.require(size >= ByteCount::from_mib(1), key, "must be at least 1MiB");
        }
        let is_long = |age: HumanDuration| age.0 >= Duration::from_hours(1);
        for (key, age) in [
            ("document_age_max", self.document_age_max),
            ("member_age_max", self.member_age_max),
        ] {
            checks.require(age.is_none_or(is_long), key, "must be at least 1h");
        }
        let share = self.search_words_share;
        let fits = share.is_none_or(|share| (0.0..=1.0).contains(&share));
        checks.require(fits, "search_words_share", "must be 0 to 1");
        let counts = [
            ("collections_max", self.collections_max, 1, 100_000),
            ("files_max", self.files_max, 1, 1_000_000),
            ("chunks_max", self.chunks_max, 1, 1_000_000),
            ("graph_chunks_min", self.graph_chunks_min, 1000, 1_000_000),
            ("prompt_tokens_max", self.prompt_tokens_max, 50, 1_000_000),
            ("prompt_sources_max", self.prompt_sources_max as u64, 1, 50),
        ];
        for (key, count, least, most) in counts {
            checks.within(key, count, least..=most);
        }
        let fits = (0.0..=1.0).contains(&self.prompt_words_min);
        checks.require(fits, "prompt_words_min", "must be 0 to 1");
        let fits = (-1.0..=1.0).contains(&self.prompt_cosine_min);
        checks.require(fits, "prompt_cosine_min", "must be -1 to 1");
        checks.into_errors()
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
            document_age_max: Some(HumanDuration::from_secs(3599)),
            member_age_max: Some(HumanDuration::from_secs(1)),
            search_words_share: Some(f64::NAN),
            collections_max: 0,
            files_max: 0,
            chunks_max: 0,
            graph_chunks_min: 0,
            prompt_words_min: 1.1,
            prompt_cosine_min: f64::NAN,
            prompt_tokens_max: 49,
            prompt_sources_max: 51,
            ..CollectionsSettings::default()
        };
        let errors = wrong.validate("c");
        let keys: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(keys.len(), 17, "{keys:?}");
        assert!(
            !errors
                .iter()
                .any(|error| format!("{error:?}").contains("aaaa"))
        );
    }
}

//! Names, versions, labels and shares of prompts, and the choice of a version.
//!
//! This module is pure: the caller passes what a call sticks to.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::settings::PromptSettings;

/// The label of the version that a call gets if it names none.
pub const LIVE: &str = "live";
/// The label of a version in preparation.
pub const DRAFT: &str = "draft";
/// The number of hexadecimal digits of a version of the settings.
const DIGITS: usize = 12;

/// A prompt that was created by the API.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredPrompt {
    /// The name.
    pub name: String,
    /// The templates by their versions.
    pub versions: BTreeMap<u64, StoredVersion>,
    /// The versions by their labels.
    pub labels: BTreeMap<String, u64>,
    /// The shares of versions; empty if all calls get the one with the label `live`.
    pub split: BTreeMap<u64, f64>,
}

/// A version of a prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredVersion {
    /// The template.
    pub template: String,
    /// When it was created, in milliseconds of Unix time.
    pub created: u64,
    /// The name of the key that created it.
    pub author: String,
}

/// Where a prompt comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The settings. Its versions are named by their content.
    Settings,
    /// The API. Its versions are numbered.
    Stored,
}

/// The version that was chosen for a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chosen {
    /// The prompt.
    pub name: String,
    /// The version: a number, or the beginning of the digest of a template of the settings.
    pub version: String,
}

impl Chosen {
    /// Returns the name of the compiled template, and the reference that names exactly this version.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

/// What is known of a prompt, without its templates.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// The versions, the oldest first.
    pub versions: Vec<String>,
    /// The versions by their labels.
    pub labels: BTreeMap<String, String>,
    /// The shares of versions, which are together 1; empty if all calls get the version with the label `live`.
    pub split: Vec<(String, f64)>,
}

impl Entry {
    /// Returns the entry of a prompt of the settings, and its templates.
    pub(super) fn of_settings(settings: &PromptSettings) -> (Self, Vec<(String, String)>) {
        let own = version_of(&settings.template);
        let variants = settings.variants.iter();
        let mut split: Vec<(String, f64)> = variants
            .map(|variant| (version_of(&variant.template), variant.share))
            .collect();
        let rest = 1.0 - split.iter().map(|(_, share)| share).sum::<f64>();
        if !split.is_empty() {
            split.insert(0, (own.clone(), rest.max(0.0)));
        }
        let others = settings.variants.iter().map(|variant| &variant.template);
        let templates = std::iter::once(&settings.template).chain(others);
        let templates: Vec<(String, String)> = templates
            .map(|template| (version_of(template), template.clone()))
            .collect();
        let entry = Self {
            name: settings.name.clone(),
            origin: Origin::Settings,
            versions: templates
                .iter()
                .map(|(version, _)| version.clone())
                .collect(),
            labels: BTreeMap::from([(LIVE.to_owned(), own)]),
            split,
        };
        (entry, templates)
    }

    /// Returns the entry of a stored prompt, and its templates.
    pub(super) fn of_stored(stored: &StoredPrompt) -> (Self, Vec<(String, String)>) {
        let templates = stored.versions.iter();
        let templates: Vec<(String, String)> = templates
            .map(|(number, version)| (number.to_string(), version.template.clone()))
            .collect();
        let labels = stored.labels.iter();
        let split = stored.split.iter();
        let entry = Self {
            name: stored.name.clone(),
            origin: Origin::Stored,
            versions: templates
                .iter()
                .map(|(version, _)| version.clone())
                .collect(),
            labels: labels
                .map(|(label, number)| (label.clone(), number.to_string()))
                .collect(),
            split: split
                .map(|(number, share)| (number.to_string(), *share))
                .collect(),
        };
        (entry, templates)
    }

    /// Returns the version that a reference means: a version, a label, or without either the one whose share the call falls into. Calls
    /// that stick to the same text get the same version while the shares stay.
    pub(super) fn choose(&self, wanted: Option<&str>, sticks_to: &str) -> Option<&str> {
        if let Some(wanted) = wanted {
            let known = self.versions.iter().find(|version| *version == wanted);
            return known
                .or_else(|| self.labels.get(wanted))
                .map(String::as_str);
        }
        if self.split.is_empty() {
            return self.labels.get(LIVE).map(String::as_str);
        }
        let mut place = place_of(&self.name, sticks_to);
        for (version, share) in &self.split {
            if place < *share {
                return Some(version);
            }
            place -= share;
        }
        // Shares that are together a little less than 1 by rounding.
        let last = self.split.iter().rfind(|(_, share)| *share > 0.0);
        last.map(|(version, _)| version.as_str())
    }
}

/// Splits a reference into the name and what follows its `@`.
pub fn parts(reference: &str) -> (&str, Option<&str>) {
    match reference.split_once('@') {
        Some((name, wanted)) => (name, Some(wanted)),
        None => (reference, None),
    }
}

/// Returns the version of a template of the settings.
pub fn version_of(template: &str) -> String {
    let digest = Sha256::digest(template);
    let mut version = hex::encode(digest);
    version.truncate(DIGITS);
    version
}

/// Returns the place of a text among the shares of a prompt, from 0 to below 1. Another prompt has other places for the same texts.
fn place_of(name: &str, text: &str) -> f64 {
    let digest = Sha256::new()
        .chain_update(name)
        .chain_update([0])
        .chain_update(text)
        .finalize();
    let first: [u8; 4] = digest.first_chunk().copied().unwrap_or_default();
    f64::from(u32::from_le_bytes(first)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(split: &[(u64, f64)]) -> Entry {
        let version = |number: u64| {
            let version = StoredVersion {
                template: format!("v{number}"),
                ..StoredVersion::default()
            };
            (number, version)
        };
        Entry::of_stored(&StoredPrompt {
            name: "guide".to_owned(),
            versions: [1, 2, 3].map(version).into(),
            labels: BTreeMap::from([(LIVE.to_owned(), 2), ("old".to_owned(), 1)]),
            split: split.iter().copied().collect(),
        })
        .0
    }

    #[test]
    fn a_reference_names_a_version_a_label_or_the_live_one() {
        let entry = stored(&[]);
        let choose = |reference: &str| {
            let (name, wanted) = parts(reference);
            assert_eq!(name, "guide");
            entry.choose(wanted, "x").map(str::to_owned)
        };
        assert_eq!(choose("guide").as_deref(), Some("2"));
        assert_eq!(choose("guide@old").as_deref(), Some("1"));
        assert_eq!(choose("guide@3").as_deref(), Some("3"));
        for unknown in ["guide@4", "guide@draft", "guide@"] {
            assert_eq!(choose(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn shares_are_kept_and_a_call_sticks_to_its_version() {
        let entry = stored(&[(1, 0.2), (3, 0.8)]);
        let mut first = 0;
        for call in 0..10_000 {
            let text = format!("session-{call}");
            let version = entry.choose(None, &text).unwrap().to_owned();
            assert_eq!(entry.choose(None, &text), Some(version.as_str()));
            first += u32::from(version == "1");
        }
        // 2000 are expected; six standard deviations are 240.
        assert!((1760..2240).contains(&first), "{first}");
        assert_eq!(entry.choose(Some("2"), "x"), Some("2"));
        let all = stored(&[(3, 1.0)]);
        assert!((0..100).all(|call| all.choose(None, &call.to_string()) == Some("3")));
        // A version without a share gets no call, whatever the rounding.
        let none = stored(&[(1, 0.999_999), (3, 0.0)]);
        assert!((0..100_000).all(|call| none.choose(None, &call.to_string()) == Some("1")));
    }

    #[test]
    fn the_versions_of_the_settings_are_named_by_their_content() {
        let settings = |template: &str, share| PromptSettings {
            name: "guide".to_owned(),
            template: template.to_owned(),
            variants: vec![super::super::PromptVariant {
                template: "other".to_owned(),
                share,
            }],
        };
        let (entry, templates) = Entry::of_settings(&settings("one", 0.25));
        assert_eq!(entry.versions, [version_of("one"), version_of("other")]);
        assert_eq!(templates[1].1, "other");
        assert_eq!(entry.split[0], (version_of("one"), 0.75));
        // A change of the template is another version.
        let (changed, _) = Entry::of_settings(&settings("two", 0.25));
        assert_ne!(changed.versions[0], entry.versions[0]);
        assert_eq!(changed.versions[1], entry.versions[1]);
    }
}

//! An embedder that needs no model.

use std::collections::BTreeMap;

use crate::{letters::each_word, vector::Vector};

/// Lengths of the n-grams of a word's characters.
const GRAMS: std::ops::RangeInclusive<usize> = 3..=5;
/// The weight of an n-gram beside that of its word, which is 1.
const GRAM_WEIGHT: f32 = 0.3;
/// The weight of two words that follow each other.
const PAIR_WEIGHT: f32 = 0.5;
/// Words beyond this length have no n-grams, so that the work is in proportion to the text.
const WORD_CHARS_MAX: usize = 64;

/// An embedder without a model: each word, each pair of neighbouring words and each n-gram of 3 to 5 characters of a word
/// is hashed to a component and a sign.
///
/// Texts that share words, or parts of words, are near each other. It knows nothing of meaning: "car" and "automobile" are
/// no nearer than two other words. The same text gives the same vector on each machine and with each version whose
/// [`Self::name`] is the same.
///
/// Source: Weinberger et al., "Feature hashing for large scale multitask learning", ICML 2009; n-grams of words as in
/// Bojanowski et al., "Enriching word vectors with subword information", 2017.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashedNgrams {
    dimensions: usize,
}

impl HashedNgrams {
    /// Creates an embedder with this number of components, 64 to 8192; other numbers count as the nearest of these.
    pub fn new(dimensions: usize) -> Self {
        Self {
            dimensions: dimensions.clamp(64, Vector::DIMENSIONS_MAX),
        }
    }

    /// Returns the number of components.
    pub fn dimensions(self) -> usize {
        self.dimensions
    }

    /// Returns the name of the vectors' space, such as `hashed-ngrams-v2-384`. Vectors of different spaces cannot be compared.
    pub fn name(self) -> String {
        format!("hashed-ngrams-v2-{}", self.dimensions)
    }

    /// Returns the vector of a text. A text without letters and digits has the vector of the empty word.
    pub fn embed(self, text: &str) -> Vector {
        let features = features(text);
        let mut components = vec![0.0_f32; self.dimensions];
        for (hash, (weight, count)) in &features {
            // The upper bits choose the component, the lowest bit the sign.
            let at = ((hash >> 1) % self.dimensions as u64) as usize;
            let sign = if hash & 1 == 0 { 1.0 } else { -1.0 };
            components[at] += sign * weight * (1.0 + count.ln());
        }
        // Without features, or if they cancel each other, there is no direction.
        Vector::new(&components).unwrap_or_else(|_| Vector::axis(self.dimensions))
    }
}

/// The features of a text: hash → weight and number.
fn features(text: &str) -> BTreeMap<u64, (f32, f32)> {
    let mut features: BTreeMap<u64, (f32, f32)> = BTreeMap::new();
    let mut add = |hash: u64, weight: f32| features.entry(hash).or_insert((weight, 0.0)).1 += 1.0;
    let mut last: Option<String> = None;
    each_word(text, |word| {
        add(hash(b'w', &[word]), 1.0);
        if let Some(last) = &last {
            add(hash(b'p', &[last, word]), PAIR_WEIGHT);
        }
        let framed: Vec<char> = std::iter::once('<')
            .chain(word.chars())
            .chain(std::iter::once('>'))
            .collect();
        if framed.len() <= WORD_CHARS_MAX {
            for gram in GRAMS.flat_map(|length| framed.windows(length)) {
                add(hash(b'g', &[&gram.iter().collect::<String>()]), GRAM_WEIGHT);
            }
        }
        last = Some(word.to_owned());
    });
    features
}

/// FNV-1a with 64 bits and a final mix, so that the low bits depend on all: the same on each machine and with each version.
fn hash(kind: u8, parts: &[&str]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = step(0xcbf2_9ce4_8422_2325, &kind);
    for part in parts {
        hash = step(part.as_bytes().iter().fold(hash, step), &0xff);
    }
    // The finalizer of SplitMix64.
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EMBEDDER: fn() -> HashedNgrams = || HashedNgrams::new(384);

    #[test]
    fn a_text_is_nearer_to_one_with_its_words_than_to_another() {
        let of = |text| EMBEDDER().embed(text);
        let query = of("How do I reset my password?");
        let near = of("Resetting passwords: open the settings and choose a new password.");
        let far = of("The train to Kiruna leaves at nine in the morning.");
        assert!(
            query.cosine(&near) > query.cosine(&far) + 0.1,
            "{} {}",
            query.cosine(&near),
            query.cosine(&far)
        );
    }

    #[test]
    fn case_and_punctuation_do_not_matter_and_an_inflection_matters_little() {
        let of = |text| EMBEDDER().embed(text);
        assert!(of("Hello, WORLD!").cosine(&of("hello world")) > 0.999);
        assert!(of("gateway").cosine(&of("gateways")) > 0.3);
        assert!(of("gateway").cosine(&of("mountain")) < 0.2);
    }

    #[test]
    fn the_vectors_of_a_name_never_change() {
        let vector = EMBEDDER().embed("Kebnekaise 2097");
        assert_eq!(EMBEDDER().name(), "hashed-ngrams-v2-384");
        let components = vector.components();
        let mut places: Vec<usize> = (0..components.len()).collect();
        places.sort_by(|left, right| {
            components[*right]
                .abs()
                .total_cmp(&components[*left].abs())
                .then(left.cmp(right))
        });
        let greatest: Vec<(usize, bool)> = places[..3]
            .iter()
            .map(|at| (*at, components[*at] > 0.0))
            .collect();
        assert_eq!(greatest, [(61, false), (203, true), (377, false)]);
    }

    #[test]
    fn a_text_without_words_has_a_vector_too() {
        assert_eq!(EMBEDDER().embed(""), EMBEDDER().embed("... !?"));
    }

    #[test]
    fn the_number_of_components_has_bounds() {
        assert_eq!(HashedNgrams::new(1).dimensions(), 64);
        assert_eq!(
            HashedNgrams::new(usize::MAX).dimensions(),
            Vector::DIMENSIONS_MAX
        );
    }

    proptest! {
        #[test]
        fn any_text_has_a_vector_of_length_one(text in ".{0,200}") {
            let vector = EMBEDDER().embed(&text);
            prop_assert!((vector.cosine(&vector) - 1.0).abs() < 1e-4);
        }
    }
}

//! The intent of a question: that of the nearest example, if no example of another intent is nearly as near.

use kebne_retrieval::Vector;
use serde::Serialize;

/// The vectors of the examples of intents, all of one space.
#[derive(Clone, Debug, Default)]
pub struct IntentIndex {
    names: Vec<String>,
    /// Each with the place of its intent.
    examples: Vec<(usize, Vector)>,
}

/// How near the nearest example of an intent is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NearestIntent {
    /// The intent.
    pub intent: String,
    /// The cosine of the angle between the question and the nearest example, -1 to 1.
    pub similarity: f32,
}

/// What the similarities tell.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The question has this intent.
    Clear(String),
    /// No example is near enough.
    Far,
    /// An example of another intent is nearly as near.
    Close,
}

/// What is known of the intent of a question when rules are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// It was not looked for, or could not be found out.
    Unknown,
    /// The question has none of the intents, as far as can be told.
    NoneOfThem,
    /// The question has this one.
    Known(String),
}

impl Intent {
    /// Returns the name of the intent.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Known(name) => Some(name),
            Self::Unknown | Self::NoneOfThem => None,
        }
    }
}

impl IntentIndex {
    /// Creates an index of intents, each with the vectors of its examples.
    pub fn new(intents: impl IntoIterator<Item = (String, Vec<Vector>)>) -> Self {
        let mut index = Self::default();
        for (name, vectors) in intents {
            let place = index.names.len();
            index.names.push(name);
            let placed = vectors.into_iter().map(|vector| (place, vector));
            index.examples.extend(placed);
        }
        index
    }

    /// Returns how near each intent is, the nearest first. An intent without examples is left out.
    pub fn nearest(&self, question: &Vector) -> Vec<NearestIntent> {
        let mut best = vec![f32::NEG_INFINITY; self.names.len()];
        for (place, example) in &self.examples {
            best[*place] = best[*place].max(cosine(question, example));
        }
        let found = self.names.iter().zip(best);
        let mut found: Vec<NearestIntent> = found
            .filter(|(_, similarity)| similarity.is_finite())
            .map(|(intent, similarity)| NearestIntent {
                intent: intent.clone(),
                similarity,
            })
            .collect();
        found.sort_by(|left, right| right.similarity.total_cmp(&left.similarity));
        found
    }
}

impl Verdict {
    /// Judges similarities, the highest first: the nearest intent must reach the threshold, and be nearer than the second one by the
    /// margin.
    pub fn of(nearest: &[NearestIntent], threshold: f64, margin: f64) -> Self {
        let Some(first) = nearest.first() else {
            return Self::Far;
        };
        let best = f64::from(first.similarity);
        if best < threshold {
            return Self::Far;
        }
        match Self::margin(nearest) {
            Some(found) if found < margin => Self::Close,
            _ => Self::Clear(first.intent.clone()),
        }
    }

    /// Returns the distance between the nearest intent and the second one; `None` if there are not two.
    pub fn margin(nearest: &[NearestIntent]) -> Option<f64> {
        let [first, second, ..] = nearest else {
            return None;
        };
        Some(f64::from(first.similarity) - f64::from(second.similarity))
    }
}

/// The cosine of the angle between two vectors of one space. Sums of eight are independent, so that the processor adds them at once.
fn cosine(left: &Vector, right: &Vector) -> f32 {
    let (left, left_rest) = left.components().as_chunks::<8>();
    let (right, right_rest) = right.components().as_chunks::<8>();
    let mut sums = [0.0_f32; 8];
    for (left, right) in left.iter().zip(right) {
        for (sum, (left, right)) in sums.iter_mut().zip(left.iter().zip(right)) {
            *sum += left * right;
        }
    }
    let rest: f32 = left_rest
        .iter()
        .zip(right_rest)
        .map(|(left, right)| left * right)
        .sum();
    (sums.iter().sum::<f32>() + rest).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use kebne_retrieval::HashedNgrams;
    use proptest::prelude::*;

    use super::*;

    fn index() -> IntentIndex {
        let of = |texts: &[&str]| {
            let embedder = HashedNgrams::new(384);
            texts.iter().map(|text| embedder.embed(text)).collect()
        };
        IntentIndex::new([
            (
                "refund".to_owned(),
                of(&["I want my money back", "refund my order"]),
            ),
            (
                "tracking".to_owned(),
                of(&["where is my parcel", "track my order"]),
            ),
            ("empty".to_owned(), Vec::new()),
        ])
    }

    fn nearest(text: &str) -> Vec<NearestIntent> {
        index().nearest(&HashedNgrams::new(384).embed(text))
    }

    #[test]
    fn the_nearest_example_decides_if_the_second_intent_is_far_enough() {
        let found = nearest("Please give me my money back");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].intent, "refund");
        let clear = Verdict::Clear("refund".to_owned());
        assert_eq!(Verdict::of(&found, 0.2, 0.05), clear);
        assert_eq!(Verdict::of(&found, 0.99, 0.05), Verdict::Far);
        // Both intents have an example with these words.
        let found = nearest("my order");
        assert_eq!(Verdict::of(&found, 0.1, 0.2), Verdict::Close, "{found:?}");
        assert_eq!(Verdict::of(&[], 0.0, 0.0), Verdict::Far);
        assert_eq!(
            Verdict::of(&found[..1], 0.1, 0.2),
            Verdict::Clear(found[0].intent.clone())
        );
    }

    proptest! {
        #[test]
        fn the_own_cosine_is_that_of_vectors(
            left in prop::collection::vec(-1.0_f32..1.0, 1..40), right in prop::collection::vec(-1.0_f32..1.0, 1..40)
        ) {
            let length = left.len().min(right.len());
            let (left, right) = (Vector::new(&left[..length]), Vector::new(&right[..length]));
            if let (Ok(left), Ok(right)) = (left, right) {
                prop_assert!((cosine(&left, &right) - left.cosine(&right)).abs() < 1e-5);
            }
        }

        #[test]
        fn similarities_are_in_order_and_a_wider_margin_is_never_clearer(text in "[a-z ]{0,40}", margin in 0.0..0.5_f64) {
            let found = nearest(&text);
            prop_assert!(found.is_sorted_by(|left, right| left.similarity >= right.similarity));
            if let Verdict::Clear(_) = Verdict::of(&found, 0.1, margin + 0.1) {
                prop_assert!(matches!(Verdict::of(&found, 0.1, margin), Verdict::Clear(_)));
            }
        }
    }
}

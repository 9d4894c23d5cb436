//! Drawn chunks: the same number gives the same words and the same vector.

use std::{fmt::Write as _, ops::Range};

use kebne_retrieval::{EmbedError, Embedded, Embedder, InvalidVector, Role, Vector};

/// The different words of all chunks.
const VOCABULARY: f64 = 200_000.0;
/// The chunks around one centre, as texts about one subject.
const EACH: u64 = 100;
/// The distance of vectors from their centre.
const NOISE: f32 = 0.6;
/// The words of a question.
const ASKED: usize = 6;
/// What is added to the number of a question or a centre, so that each has chance of its own.
const QUESTIONS: u64 = 1 << 40;
const CENTRES: u64 = 1 << 41;
/// How texts of chunks and of questions begin; their numbers follow.
const CHUNK: &str = "chunk";
const QUESTION: &str = "question";

/// A corpus, and the embedder that knows its vectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Corpus {
    pub(super) chunks: u64,
    pub(super) dimensions: usize,
    pub(super) words: usize,
}

impl Corpus {
    /// Returns a document of JSON lines with these chunks.
    pub(super) fn document(&self, chunks: Range<u64>) -> Vec<u8> {
        let mut document = String::new();
        for number in chunks {
            let text = text(CHUNK, number, self.words);
            // Writing to a string does not fail; the words need no escapes.
            let _always_written = writeln!(document, "{{\"text\":\"{text}\"}}");
        }
        document.into_bytes()
    }

    /// Returns the text of a question.
    pub(super) fn question(number: u64) -> String {
        text(QUESTION, number + QUESTIONS, ASKED)
    }

    /// Returns the number of a chunk's text; `None` if it is none.
    pub(super) fn number(text: &str) -> Option<u64> {
        let number = text.split_whitespace().next()?.strip_prefix(CHUNK)?;
        number.parse().ok()
    }

    /// Returns the vector of a chunk or a question: near the centre of its subject.
    fn vector(&self, number: u64) -> Result<Vector, InvalidVector> {
        let subjects = (self.chunks / EACH).max(10);
        let mut centre = fastrand::Rng::with_seed(CENTRES + number % subjects);
        let mut own = fastrand::Rng::with_seed(number);
        let components =
            (0..self.dimensions).map(|_| normal(&mut centre) + NOISE * normal(&mut own));
        Vector::new(&components.collect::<Vec<f32>>())
    }

    /// Returns the vector of a chunk.
    pub(super) fn chunk_vector(&self, number: u64) -> Result<Vector, InvalidVector> {
        self.vector(number)
    }

    /// Returns the vector of a question.
    pub(super) fn question_vector(&self, number: u64) -> Result<Vector, InvalidVector> {
        self.vector(number + QUESTIONS)
    }

    fn embedded(&self, text: &str) -> Option<Vector> {
        let word = text.split_whitespace().next()?;
        let number = word.strip_prefix(CHUNK);
        let number = number.or_else(|| word.strip_prefix(QUESTION))?;
        self.vector(number.parse().ok()?).ok()
    }
}

impl Embedder for Corpus {
    fn space(&self) -> &'static str {
        "bench"
    }

    fn dimensions(&self) -> Option<usize> {
        Some(self.dimensions)
    }

    fn embed(&self, texts: Vec<String>, _: Role) -> Embedded<'_> {
        let vectors = texts.iter().map(|text| {
            let unknown = || EmbedError::Refused("the text is not of the corpus".to_owned());
            self.embedded(text).ok_or_else(unknown)
        });
        Box::pin(std::future::ready(vectors.collect()))
    }
}

/// Returns a text of words, the frequencies of which follow Zipf's law: the logarithm of a word's rank is uniform.
fn text(kind: &str, number: u64, words: usize) -> String {
    let mut chance = fastrand::Rng::with_seed(!number);
    let mut text = format!("{kind}{number}");
    for _ in 1..words {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank is at most the size of the vocabulary"
        )]
        let rank = VOCABULARY.powf(chance.f64()) as u32;
        // Spread, so that words do not begin alike; of about seven letters and digits.
        let _always_written = write!(text, " {:x}", rank.wrapping_mul(2_654_435_761));
    }
    text
}

/// Returns a number around 0 with the variance 1, nearly normal.
fn normal(chance: &mut fastrand::Rng) -> f32 {
    2.0 * (chance.f32() + chance.f32() + chance.f32() - 1.5)
}

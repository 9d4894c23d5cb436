//! The index of words: ranks texts by the words that they share with a query.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use crate::{ids::IdMap, letters::each_word};

/// How soon further occurrences of a word in a text count less, as usual for BM25.
const SATURATION: f32 = 1.2;
/// How much long texts count less than short ones, as usual for BM25.
const LENGTH_SHARE: f32 = 0.75;
/// The least share of a query's words, weighed by their rarity, that a text must have. Without it, a text that shares only "and" with the
/// query would be first where no text has its other words, and would count in fusions as if it fitted.
const SHARE_MIN: f32 = 0.1;
/// The removed texts from which the index is built anew, if they are also more than half.
const REMOVED_MIN: usize = 1024;

/// A text that a search by words found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WordHit {
    /// The identifier under which it was inserted.
    pub id: u64,
    /// The score of BM25, greater than 0.
    pub score: f32,
    /// The share of the query's words that it has, weighed by their rarity, 0 to 1.
    pub share: f32,
    /// The score, divided by the greatest that a text could have for this query, 0 to 1: that of a text in which each of its words occurs
    /// without end.
    pub fit: f32,
}

/// An index of the words of texts. It holds no text and no word, only hashes of words: about two bytes for each different word of a
/// text, about 55 bytes for each different word of all texts, and about 15 bytes for a word that occurs only once.
///
/// A search ranks by BM25. Words are compared without case, and with composed letters; scripts without spaces between words (Chinese, Japanese, Thai) are
/// compared by pairs of characters.
///
/// Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, with the inverse document
/// frequency of Lucene, which is never negative.
#[derive(Clone, Debug, Default)]
pub struct WordIndex {
    words: IdMap<Place>,
    postings: Vec<Postings>,
    texts: Vec<Text>,
    rows: IdMap<u32>,
    /// The words of all texts that were not removed.
    length: u64,
}

/// Where the texts of a word are: a place in `postings`, or, with [`ONCE`], the row of the only text, in which it occurs once. Many words occur
/// once in all texts, and need no list.
#[derive(Clone, Copy, Debug)]
struct Place(u32);

/// The bit that tells rows from places.
const ONCE: u32 = 1 << 31;

/// What a [`Place`] holds.
enum At {
    Row(u32),
    Postings(usize),
}

impl Place {
    fn at(self) -> At {
        if self.0 & ONCE == 0 {
            At::Postings(self.0 as usize)
        } else {
            At::Row(self.0 & !ONCE)
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Text {
    id: u64,
    length: u32,
    is_removed: bool,
}

/// The texts of one word: for each the distance of its row from the one before, and the number of occurrences if there are several, as
/// numbers of seven bits per byte. The lowest bit of a distance says whether a number follows. Most words of a language occur in few texts, so
/// the first bytes need no allocation.
#[derive(Clone, Debug, Default)]
struct Postings {
    bytes: SmallVec<[u8; POSTINGS_INLINE]>,
    last_row: u32,
    texts: u32,
}

/// The bytes that take no more room than the place and the size of an allocation.
const POSTINGS_INLINE: usize = 23;

/// What a query finds in all texts.
struct Scores {
    /// For each row its score, and the rarity of the words that it shares with the query.
    of_rows: Vec<(f32, f32)>,
    /// The rarity of all words of the query.
    rarity: f32,
}

impl Scores {
    /// Returns the hit of a row; `None` if the text has too few of the words.
    fn hit(&self, row: usize, text: &Text) -> Option<WordHit> {
        let (score, shared) = self.of_rows.get(row).copied()?;
        let shares = shared > 0.0 && shared >= SHARE_MIN * self.rarity;
        (shares && !text.is_removed).then(|| WordHit {
            id: text.id,
            score,
            share: shared / self.rarity,
            fit: score / (self.rarity * (SATURATION + 1.0)),
        })
    }
}

impl WordIndex {
    /// Returns the number of texts.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns `true` if there are no texts.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the bytes that the index takes, without what the allocator adds.
    pub fn bytes(&self) -> usize {
        let outside = |each: &Postings| each.bytes.spilled().then(|| each.bytes.capacity());
        let postings = self.postings.iter().filter_map(outside);
        postings.sum::<usize>()
            + self.postings.capacity() * size_of::<Postings>()
            + self.words.bytes()
            + self.texts.capacity() * size_of::<Text>()
            + self.rows.bytes()
    }

    /// Inserts a text, in place of the one with the same identifier if there is one. At most 2^31 texts are kept; further ones are
    /// not found.
    pub fn insert(&mut self, id: u64, text: &str) {
        self.remove(id);
        let row = u32::try_from(self.texts.len()).ok();
        let Some(row) = row.filter(|row| row & ONCE == 0) else {
            return;
        };
        let mut all: Vec<u64> = Vec::new();
        words(text, |word| all.push(word));
        all.sort_unstable();
        let count_of = |words: &[u64]| u32::try_from(words.len()).unwrap_or(u32::MAX);
        for same in all.chunk_by(|left, right| left == right) {
            self.add(same[0], row, count_of(same));
        }
        let length = count_of(&all);
        reserve_eighth(&mut self.texts);
        self.texts.push(Text {
            id,
            length,
            is_removed: false,
        });
        self.rows.insert(id, row);
        self.length += u64::from(length);
    }

    /// Adds a text to those of a word. Its row is greater than those before.
    fn add(&mut self, word: u64, row: u32, count: u32) {
        let first = match self.words.get(word).map(Place::at) {
            Some(At::Postings(place)) => {
                self.postings[place].push(row, count);
                return;
            }
            None if count == 1 => {
                self.words.insert(word, Place(row | ONCE));
                return;
            }
            Some(At::Row(first)) => Some(first),
            None => None,
        };
        // Words behind 2^31 different ones are not found.
        let place = u32::try_from(self.postings.len()).ok();
        let Some(place) = place.filter(|place| place & ONCE == 0) else {
            return;
        };
        let mut postings = Postings::default();
        if let Some(first) = first {
            postings.push(first, 1);
        }
        postings.push(row, count);
        reserve_eighth(&mut self.postings);
        self.postings.push(postings);
        self.words.insert(word, Place(place));
    }

    /// Calls `take` with the row of each text of a word, and the number of its occurrences there.
    fn each_text(&self, word: u64, mut take: impl FnMut(u32, u32)) {
        match self.words.get(word).map(Place::at) {
            Some(At::Row(row)) => take(row, 1),
            Some(At::Postings(place)) => self.postings[place].each(take),
            None => {}
        }
    }

    /// Returns the number of texts of a word.
    fn texts_with(&self, word: u64) -> u32 {
        match self.words.get(word).map(Place::at) {
            Some(At::Row(_)) => 1,
            Some(At::Postings(place)) => self.postings[place].texts,
            None => 0,
        }
    }

    /// Removes a text. Returns `false` if there is none with this identifier.
    pub fn remove(&mut self, id: u64) -> bool {
        let Some(row) = self.rows.remove(id) else {
            return false;
        };
        let text = &mut self.texts[row as usize];
        text.is_removed = true;
        self.length -= u64::from(text.length);
        let removed = self.texts.len() - self.rows.len();
        if removed >= REMOVED_MIN && removed > self.rows.len() {
            self.compact();
        }
        true
    }

    /// Returns the `limit` texts with the greatest scores among those that `wanted` accepts, the greatest first; of equal scores the
    /// smaller identifier comes first. A text with only a small part of the query's words, weighed by their rarity, is not found.
    pub fn search(&self, query: &str, limit: usize, wanted: impl Fn(u64) -> bool) -> Vec<WordHit> {
        self.search_with(query, limit, wanted, &BTreeSet::new())
    }

    /// Does as [`Self::search`], and returns behind these texts those of `also` that have enough of the words, in the order of their identifiers.
    pub fn search_with(
        &self,
        query: &str,
        limit: usize,
        wanted: impl Fn(u64) -> bool,
        also: &BTreeSet<u64>,
    ) -> Vec<WordHit> {
        let scores = self.scores(query);
        let rows = self.texts.iter().enumerate();
        let mut hits: Vec<WordHit> = rows
            .filter_map(|(row, text)| scores.hit(row, text))
            .filter(|hit| wanted(hit.id))
            .collect();
        let order = |left: &WordHit, right: &WordHit| {
            let by_score = right.score.total_cmp(&left.score);
            by_score.then(left.id.cmp(&right.id))
        };
        if hits.len() > limit && limit > 0 {
            hits.select_nth_unstable_by(limit - 1, order);
        }
        hits.truncate(limit);
        hits.sort_unstable_by(order);
        let found: BTreeSet<u64> = hits.iter().map(|hit| hit.id).collect();
        for id in also.difference(&found) {
            let row = self.rows.get(*id).map(|row| row as usize);
            let hit = row.and_then(|row| scores.hit(row, self.texts.get(row)?));
            hits.extend(hit);
        }
        hits
    }

    /// Computes the scores of all texts.
    fn scores(&self, query: &str) -> Scores {
        let mut asked: Vec<u64> = Vec::new();
        words(query, |word| asked.push(word));
        asked.sort_unstable();
        asked.dedup();
        let mut of_rows = vec![(0.0_f32, 0.0_f32); self.texts.len()];
        let mut asked_rarity = 0.0;
        let mean = (ratio(self.length) / ratio(self.rows.len() as u64)).max(1.0);
        for word in asked {
            // Removed texts count until the index is built anew.
            let texts = self.texts.len() as u64;
            let with = u64::from(self.texts_with(word));
            let rarity =
                (1.0 + (ratio(texts.saturating_sub(with)) + 0.5) / (ratio(with) + 0.5)).ln();
            asked_rarity += rarity;
            self.each_text(word, |row, count| {
                let text = self.texts[row as usize];
                let length = ratio(u64::from(text.length)) / mean;
                let count = ratio(u64::from(count));
                let damped = count + SATURATION * (1.0 - LENGTH_SHARE + LENGTH_SHARE * length);
                let (score, shared) = &mut of_rows[row as usize];
                *score += rarity * count * (SATURATION + 1.0) / damped;
                *shared += rarity;
            });
        }
        Scores {
            of_rows,
            rarity: asked_rarity,
        }
    }

    /// Leaves out the texts that were removed.
    fn compact(&mut self) {
        let mut kept = 0_u32..;
        let rows: Vec<Option<u32>> = self
            .texts
            .iter()
            .map(|text| if text.is_removed { None } else { kept.next() })
            .collect();
        let mut left = Self::default();
        for (word, _) in self.words.iter() {
            self.each_text(word, |row, count| {
                if let Some(row) = rows[row as usize] {
                    left.add(word, row, count);
                }
            });
        }
        (self.words, self.postings) = (left.words, left.postings);
        for postings in &mut self.postings {
            postings.bytes.shrink_to_fit();
        }
        self.texts.retain(|text| !text.is_removed);
        self.rows = (0_u32..)
            .zip(&self.texts)
            .map(|(row, text)| (text.id, row))
            .collect();
    }
}

impl Postings {
    /// Adds a text, whose row is greater than those before.
    fn push(&mut self, row: u32, count: u32) {
        let is_repeated = count > 1;
        let distance = u64::from(row - self.last_row) << 1 | u64::from(is_repeated);
        self.push_number(distance);
        if is_repeated {
            self.push_number(count.into());
        }
        self.last_row = row;
        self.texts += 1;
    }

    fn push_number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.push_byte(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.push_byte(number.to_le_bytes()[0]);
    }

    /// Adds a byte. The room grows by a sixteenth, since doubling it would leave a third of the memory unused.
    fn push_byte(&mut self, byte: u8) {
        if self.bytes.len() == self.bytes.capacity() {
            let room = (self.bytes.len() / 16).max(POSTINGS_INLINE);
            self.bytes.reserve_exact(room);
        }
        self.bytes.push(byte);
    }

    fn each(&self, mut take: impl FnMut(u32, u32)) {
        let mut bytes = self.bytes.iter();
        let mut next = || {
            let (mut number, mut shift) = (0_u64, 0);
            for byte in bytes.by_ref() {
                number |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    return Some(number);
                }
                shift += 7;
            }
            None
        };
        let mut row = 0_u32;
        while let Some(distance) = next() {
            let count = if distance & 1 == 1 { next() } else { Some(1) };
            // Both were pushed as numbers of 32 bits.
            let distance = u32::try_from(distance >> 1).ok();
            let count = count.and_then(|count| u32::try_from(count).ok());
            let (Some(distance), Some(count)) = (distance, count) else {
                return;
            };
            row += distance;
            take(row, count);
        }
    }
}

/// Makes room for one more, and for an eighth, since doubling would leave up to half of the memory unused.
fn reserve_eighth<T>(all: &mut Vec<T>) {
    if all.len() == all.capacity() {
        all.reserve_exact((all.len() / 8).max(16));
    }
}

/// Calls `take` with the hash of each word of a text.
fn words(text: &str, mut take: impl FnMut(u64)) {
    each_word(text, |word| {
        let mut chars = word.chars();
        let Some(mut last) = chars.next() else {
            return;
        };
        if !word.chars().any(is_unspaced) {
            take(hash(word.as_bytes()));
            return;
        }
        let mut pairs = 0;
        for char in chars {
            let pair: String = [last, char].into_iter().collect();
            take(hash(pair.as_bytes()));
            last = char;
            pairs += 1;
        }
        if pairs == 0 {
            take(hash(word.as_bytes()));
        }
    });
}

/// Returns `true` for a character of a script without spaces between words.
fn is_unspaced(char: char) -> bool {
    matches!(char, '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}')
}

/// FNV-1a with 64 bits: words that collide are ranked as one, which is too rare to matter.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of words and texts")]
fn ratio(count: u64) -> f32 {
    count as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(texts: &[&str]) -> WordIndex {
        let mut index = WordIndex::default();
        for (id, text) in (0..).zip(texts) {
            index.insert(id, text);
        }
        index
    }

    fn ids(index: &WordIndex, query: &str) -> Vec<u64> {
        let hits = index.search(query, 10, |_| true);
        hits.iter().map(|hit| hit.id).collect()
    }

    #[test]
    fn a_rare_word_counts_more_than_a_frequent_one_and_a_short_text_more_than_a_long_one() {
        let texts = [
            "the lake",
            "the mountain",
            "the sea and the sky and the sun",
            "the mountain and all the other things of the country",
        ];
        let index = index(&texts);
        assert_eq!(ids(&index, "The MOUNTAIN"), [1, 3, 2, 0]);
        assert_eq!(ids(&index, "mountain"), [1, 3]);
        assert!(ids(&index, "desert").is_empty());
        assert_eq!(index.search("the", 2, |id| id != 0).len(), 2);
    }

    #[test]
    fn the_score_is_that_of_bm25() {
        let index = index(&["a b b", "c"]);
        let hit = index.search("b", 1, |_| true)[0];
        // ln(1 + (2 - 1 + 0.5) / (1 + 0.5)) * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 2))
        let expected = 2.0_f32.ln() * 4.4 / (2.0 + 1.2 * (0.25 + 0.75 * 1.5));
        assert!((hit.score - expected).abs() < 1e-5, "{hit:?}");
        assert!((hit.share - 1.0).abs() < 1e-5, "{hit:?}");
        assert!((hit.fit - expected / (2.0_f32.ln() * 2.2)).abs() < 1e-5);
        let half = index.search("b desert", 1, |_| true)[0];
        assert!(half.fit < hit.fit && half.fit > 0.0, "{half:?}");
        let half = index.search("c d", 1, |_| true)[0];
        // ln 2 of `c` beside ln 6 of `d`, which no text has.
        let expected = 2.0_f32.ln() / (2.0_f32.ln() + 6.0_f32.ln());
        assert!((half.share - expected).abs() < 1e-5, "{half:?}");
    }

    #[test]
    fn texts_that_are_asked_for_are_behind_the_best_if_they_have_the_words() {
        let index = index(&["lake", "the lake", "the deep lake", "mountain"]);
        let hits = index.search_with("lake", 1, |id| id != 9, &BTreeSet::from([0, 2, 3, 7]));
        let found: Vec<u64> = hits.iter().map(|hit| hit.id).collect();
        assert_eq!(found, [0, 2]);
        assert!(hits[0].fit > hits[1].fit);
    }

    #[test]
    fn scripts_without_spaces_are_compared_by_pairs() {
        let index = index(&["雪山很高", "大海很深", "山"]);
        assert_eq!(ids(&index, "雪山"), [0]);
        assert_eq!(ids(&index, "山"), [2]);
    }

    #[test]
    fn a_text_that_was_removed_or_replaced_is_not_found() {
        let mut index = index(&["one", "two"]);
        assert!(index.remove(0) && !index.remove(0));
        index.insert(1, "three");
        assert!(ids(&index, "one two").is_empty());
        assert_eq!(ids(&index, "three"), [1]);
        assert_eq!(index.len(), 1);
    }

    #[test]
    fn an_index_whose_texts_come_and_go_stays_small() {
        let mut index = index(&["one text that stays"]);
        let mut most = 0;
        for id in 1..20_000 {
            index.insert(id, "some words that go");
            index.remove(id);
            most = most.max(index.bytes());
        }
        assert!(most < 200_000, "{most}");
        assert_eq!(ids(&index, "stays"), [0]);
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_has_a_word(texts in prop::collection::vec("[a-e]( [a-e]){0,5}", 1..30), gone in 0_u64..30, query in "[a-e]") {
            let mut index = WordIndex::default();
            for (id, text) in (0..).zip(&texts) {
                index.insert(id, text);
            }
            index.remove(gone);
            index.compact();
            let mut found: Vec<u64> = index.search(&query, usize::MAX, |_| true).iter().map(|hit| hit.id).collect();
            found.sort_unstable();
            let has = |text: &str| text.split(' ').any(|word| query.split(' ').any(|other| other == word));
            let expected: Vec<u64> = (0..).zip(&texts).filter(|(id, text)| *id != gone && has(text)).map(|(id, _)| id).collect();
            prop_assert_eq!(found, expected);
        }
    }
}

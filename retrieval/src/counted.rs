//! The tokens of the parts of a text, each of which is counted once.

use std::ops::Range;

use text_splitter::TryChunkSizer;

/// The greatest size of a piece that is counted at once, in bytes.
///
/// The time of a tokenizer grows with the square of a run without a space.
const PIECE_BYTES: usize = 64;

/// The cutting was abandoned, as its caller wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cutting was abandoned")]
pub struct Abandoned;

/// The tokens of a text by its pieces: words with the white space before them. The tokens of a part are the sum of those of its pieces,
/// which is exact to a few, because tokens do not reach across the space between words.
pub(crate) struct Counted<'a, C, G> {
    text: &'a str,
    count: &'a C,
    goes_on: &'a G,
    /// The ends of the pieces, and the tokens up to there.
    ends: Vec<(usize, usize)>,
}

impl<'a, C: Fn(&str) -> usize, G: Fn() -> bool> Counted<'a, C, G> {
    /// Counts the pieces of a text.
    ///
    /// # Errors
    /// Fails as soon as `goes_on` returns `false`.
    pub(crate) fn new(text: &'a str, count: &'a C, goes_on: &'a G) -> Result<Self, Abandoned> {
        let mut ends = vec![(0, 0)];
        let (mut start, mut tokens) = (0, 0);
        while start < text.len() {
            if !goes_on() {
                return Err(Abandoned);
            }
            let end = start + piece(&text[start..]);
            tokens += count(&text[start..end]);
            ends.push((end, tokens));
            start = end;
        }
        Ok(Self {
            text,
            count,
            goes_on,
            ends,
        })
    }

    fn tokens(&self, range: &Range<usize>) -> usize {
        // The first end behind the beginning, and the last one that is not behind the end.
        let first = self.ends.partition_point(|(at, _)| *at < range.start);
        let last = self.ends.partition_point(|(at, _)| *at <= range.end) - 1;
        let (Some(&(from, before)), Some(&(to, all))) = (self.ends.get(first), self.ends.get(last))
        else {
            return (self.count)(&self.text[range.clone()]);
        };
        if from > to {
            return (self.count)(&self.text[range.clone()]);
        }
        let edge = |range: Range<usize>| {
            let text = &self.text[range];
            if text.is_empty() {
                0
            } else {
                (self.count)(text)
            }
        };
        edge(range.start..from) + (all - before) + edge(to..range.end)
    }
}

/// Returns the size of the first piece of a text that is not empty.
fn piece(text: &str) -> usize {
    let text = &text[..text.floor_char_boundary(PIECE_BYTES)];
    let word = text.find(|char: char| !char.is_whitespace());
    let end = word.and_then(|word| Some(word + text[word..].find(char::is_whitespace)?));
    end.unwrap_or(text.len())
}

impl<C: Fn(&str) -> usize, G: Fn() -> bool> TryChunkSizer for Counted<'_, C, G> {
    type Error = Abandoned;

    fn try_size(&self, chunk: &str) -> Result<usize, Abandoned> {
        if !(self.goes_on)() {
            return Err(Abandoned);
        }
        // Chunks are parts of the text, so their addresses tell their places.
        let start = (chunk.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize);
        let range = start.map(|start| start..start + chunk.len());
        let range = range.filter(|range| range.end <= self.text.len());
        Ok(range.map_or_else(|| (self.count)(chunk), |range| self.tokens(&range)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_of_parts_are_those_of_their_pieces() {
        let text = format!("one two  three\n{} é", "x".repeat(200));
        let counted = Counted::new(&text, &str::len, &|| true).unwrap();
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        for (at, start) in places.iter().enumerate() {
            for end in &places[at..] {
                let part = &text[*start..*end];
                assert_eq!(counted.try_size(part), Ok(part.len()));
            }
        }
        let words = |text: &str| text.split_whitespace().count();
        let counted = Counted::new(&text, &words, &|| true).unwrap();
        assert_eq!(counted.try_size(&text[..14]), Ok(3));
        assert_eq!(counted.try_size("another text"), Ok(2));
    }
}

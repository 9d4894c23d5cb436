//! Texts in pieces that an embedder and a prompt can take.

use std::ops::Range;

use pulldown_cmark::{Event, HeadingLevel, Parser, Tag, TagEnd};
use text_splitter::{ChunkConfig, ChunkConfigError, ChunkSizer, MarkdownSplitter, TextSplitter};

/// How texts are cut. The defaults are those of OpenAI's vector stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRules {
    /// The greatest size of a chunk, in tokens. Default 800, range 100 to 4096.
    pub tokens_max: usize,
    /// How many tokens at the end of a chunk are repeated at the beginning of the next one at most. Default 400, range 0 to half of
    /// `tokens_max`.
    pub overlap: usize,
}

/// The reason why [`ChunkRules`] are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChunkRules {
    /// The size is out of range.
    #[error("`tokens_max` must be 100 to 4096, not {0}")]
    TokensMax(usize),
    /// The overlap is out of range.
    #[error("`overlap` must be 0 to half of `tokens_max`, not {0}")]
    Overlap(usize),
}

/// What the structure of a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// Paragraphs, sentences, words.
    Plain,
    /// Headings, lists, tables and code blocks of CommonMark.
    Markdown,
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The bytes of the text that it covers.
    pub range: Range<usize>,
    /// The headings above its beginning, the outermost first. Empty for plain text.
    pub headings: Vec<String>,
}

/// Cuts texts into chunks.
pub struct Chunker<C> {
    rules: ChunkRules,
    count: C,
}

impl Default for ChunkRules {
    fn default() -> Self {
        Self {
            tokens_max: 800,
            overlap: 400,
        }
    }
}

impl ChunkRules {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the value that is out of range.
    pub fn check(self) -> Result<(), InvalidChunkRules> {
        if !(100..=4096).contains(&self.tokens_max) {
            return Err(InvalidChunkRules::TokensMax(self.tokens_max));
        }
        if self.overlap > self.tokens_max / 2 {
            return Err(InvalidChunkRules::Overlap(self.overlap));
        }
        Ok(())
    }
}

impl<C> std::fmt::Debug for Chunker<C> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Chunker")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl<C: Fn(&str) -> usize> Chunker<C> {
    /// Creates a chunker. `count` returns the tokens of a text.
    ///
    /// # Errors
    /// Fails if the rules are out of range.
    pub fn new(rules: ChunkRules, count: C) -> Result<Self, InvalidChunkRules> {
        rules.check()?;
        Ok(Self { rules, count })
    }

    /// Cuts a text at its greatest units that fit: sections, blocks, sentences, words, characters. Each character other than white
    /// space is in at least one chunk, and no chunk has more than `tokens_max` tokens, except one character that has more alone.
    pub fn chunks(&self, text: &str, kind: TextKind) -> Vec<Chunk> {
        let sizer = Counted(&self.count);
        let config = ChunkConfig::new(self.rules.tokens_max)
            .with_sizer(sizer)
            .with_overlap(self.rules.overlap);
        let Ok(config): Result<_, ChunkConfigError> = config else {
            // The overlap is less than the size.
            return Vec::new();
        };
        match kind {
            TextKind::Plain => TextSplitter::new(config)
                .chunk_indices(text)
                .map(|(start, chunk)| Chunk {
                    range: start..start + chunk.len(),
                    headings: Vec::new(),
                })
                .collect(),
            TextKind::Markdown => {
                let headings = Headings::of(text);
                MarkdownSplitter::new(config)
                    .chunk_indices(text)
                    .map(|(start, chunk)| Chunk {
                        range: start..start + chunk.len(),
                        headings: headings.above(start),
                    })
                    .collect()
            }
        }
    }
}

struct Counted<'a, C>(&'a C);

impl<C: Fn(&str) -> usize> ChunkSizer for Counted<'_, C> {
    fn size(&self, chunk: &str) -> usize {
        (self.0)(chunk)
    }
}

/// The headings of a Markdown text, in their order.
struct Headings(Vec<Heading>);

struct Heading {
    at: usize,
    level: HeadingLevel,
    title: String,
}

impl Headings {
    fn of(text: &str) -> Self {
        let mut headings = Vec::new();
        let mut open: Option<Heading> = None;
        for (event, range) in Parser::new(text).into_offset_iter() {
            match event {
                Event::Start(Tag::Heading { level, .. }) => {
                    open = Some(Heading {
                        at: range.start,
                        level,
                        title: String::new(),
                    });
                }
                Event::End(TagEnd::Heading(_)) => headings.extend(open.take()),
                Event::Text(part) | Event::Code(part) => {
                    if let Some(heading) = &mut open {
                        heading.title.push_str(&part);
                    }
                }
                _ => {}
            }
        }
        Self(headings)
    }

    /// Returns the titles of the headings whose sections contain a place, the outermost first. A heading does not contain its own
    /// beginning.
    fn above(&self, place: usize) -> Vec<String> {
        let mut path: Vec<&Heading> = Vec::new();
        for heading in self.0.iter().take_while(|heading| heading.at < place) {
            while path.last().is_some_and(|last| last.level >= heading.level) {
                path.pop();
            }
            path.push(heading);
        }
        // A heading of the same or a higher level at the place itself ends the sections.
        if let Some(own) = self.0.iter().find(|heading| heading.at == place) {
            while path.last().is_some_and(|last| last.level >= own.level) {
                path.pop();
            }
        }
        path.into_iter()
            .map(|heading| heading.title.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunker(tokens_max: usize, overlap: usize) -> Chunker<impl Fn(&str) -> usize> {
        Chunker::new(
            ChunkRules {
                tokens_max,
                overlap,
            },
            |text: &str| text.split_whitespace().count(),
        )
        .unwrap()
    }

    fn paragraph(word: &str, words: usize) -> String {
        vec![word; words].join(" ") + "."
    }

    #[test]
    fn a_short_text_is_one_chunk() {
        let chunks = chunker(100, 0).chunks("One sentence.", TextKind::Plain);
        assert_eq!(
            chunks,
            [Chunk {
                range: 0..13,
                headings: vec![]
            }]
        );
        assert!(chunker(100, 0).chunks(" \n ", TextKind::Plain).is_empty());
    }

    #[test]
    fn plain_text_is_cut_between_paragraphs() {
        let text = [paragraph("one", 80), paragraph("two", 80)].join("\n\n");
        let chunks = chunker(100, 0).chunks(&text, TextKind::Plain);
        let texts: Vec<&str> = chunks
            .iter()
            .map(|chunk| &text[chunk.range.clone()])
            .collect();
        assert_eq!(texts, text.split("\n\n").collect::<Vec<_>>());
    }

    #[test]
    fn the_end_of_a_chunk_is_repeated_by_the_overlap() {
        let text = (0..30)
            .map(|at| format!("Sentence {at} has five words."))
            .collect::<Vec<_>>()
            .join(" ");
        let chunks = chunker(100, 20).chunks(&text, TextKind::Plain);
        assert_eq!(chunks.len(), 2);
        let repeated = &text[chunks[1].range.start..chunks[0].range.end];
        assert!(
            repeated.split_whitespace().count() > 10 && repeated.split_whitespace().count() <= 20,
            "{repeated}"
        );
    }

    #[test]
    fn chunks_of_markdown_know_their_headings() {
        let body = paragraph("word", 90);
        let text = format!(
            "# Guide\n\n{body}\n\n## Set-up `fast`\n\n{body}\n\n{body}\n\n## Use\n\n{body}\n\n# Other\n\n{body}\n"
        );
        let chunks = chunker(100, 0).chunks(&text, TextKind::Markdown);
        let paths: Vec<(&str, String)> = chunks
            .iter()
            .map(|chunk| {
                (
                    text[chunk.range.clone()].split_whitespace().nth(1).unwrap(),
                    chunk.headings.join(" / "),
                )
            })
            .collect();
        assert_eq!(
            paths,
            [
                ("Guide", String::new()),
                ("Set-up", "Guide".to_owned()),
                ("word", "Guide / Set-up fast".to_owned()),
                ("Use", "Guide".to_owned()),
                ("Other", String::new()),
            ]
        );
    }

    #[test]
    fn rules_have_ranges() {
        let of = |tokens_max, overlap| {
            ChunkRules {
                tokens_max,
                overlap,
            }
            .check()
        };
        assert_eq!(ChunkRules::default().check(), Ok(()));
        assert_eq!(of(99, 0), Err(InvalidChunkRules::TokensMax(99)));
        assert_eq!(of(4097, 0), Err(InvalidChunkRules::TokensMax(4097)));
        assert_eq!(of(100, 51), Err(InvalidChunkRules::Overlap(51)));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_chunk_is_too_large(
            parts in prop::collection::vec("(# |- |> |```\n|\n\n|)[a-zäß日 .]{0,60}(\n|)", 0..40),
            markdown in prop::bool::ANY,
        ) {
            let text = parts.concat();
            let kind = if markdown { TextKind::Markdown } else { TextKind::Plain };
            let chunks = Chunker::new(ChunkRules { tokens_max: 100, overlap: 30 }, str::len).unwrap().chunks(&text, kind);
            let mut covered = vec![false; text.len()];
            for chunk in &chunks {
                prop_assert!(chunk.range.len() <= 100);
                covered[chunk.range.clone()].fill(true);
            }
            for (at, char) in text.char_indices().filter(|(_, char)| !char.is_whitespace()) {
                prop_assert!(covered[at], "{char:?} at {at} of {text:?}");
            }
        }
    }
}

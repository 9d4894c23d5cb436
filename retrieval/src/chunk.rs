//! Texts in pieces that an embedder and a prompt can take.

use std::{collections::VecDeque, ops::Range};

use pulldown_cmark::{Event, HeadingLevel, Parser, Tag, TagEnd};
use text_splitter::{ChunkConfig, MarkdownSplitter, TextSplitter};

use crate::{
    counted::{Abandoned, Counted},
    window::{is_deep, windows},
};

/// The greatest size of a title, in bytes: it is repeated in each chunk below it.
const TITLE_MAX: usize = 256;

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
    ///
    /// The work is in proportion to the text: each 64 KiB are cut by themselves, without an overlap between them, so is the text before and
    /// behind more than 8 blank lines, and as plain text where blocks are nested deeper than documents are. `goes_on` is asked again and again on the way.
    ///
    /// # Errors
    /// Fails as soon as `goes_on` returns `false`.
    pub fn chunks(
        &self,
        text: &str,
        kind: TextKind,
        goes_on: impl Fn() -> bool,
    ) -> Result<Vec<Chunk>, Abandoned> {
        let mut chunks = Vec::new();
        let mut headings = Headings::default();
        for window in windows(text) {
            let part = &text[window.clone()];
            let sizer = Counted::new(part, &self.count, &goes_on)?;
            let config = ChunkConfig::new(self.rules.tokens_max).with_sizer(sizer);
            let Ok(config) = config.with_overlap(self.rules.overlap) else {
                // The overlap is less than the size.
                continue;
            };
            if kind == TextKind::Plain || is_deep(part) {
                for chunk in TextSplitter::new(config).try_chunk_indices(part) {
                    chunks.push(headings.chunk(window.start, chunk?));
                }
            } else {
                headings.read(window.start, part);
                for chunk in MarkdownSplitter::new(config).try_chunk_indices(part) {
                    chunks.push(headings.chunk(window.start, chunk?));
                }
            }
        }
        Ok(chunks)
    }
}

/// The headings of a Markdown text, in the order of the text.
#[derive(Default)]
struct Headings {
    /// The headings above the last place that was asked for, the outermost first.
    path: Vec<Heading>,
    /// Those at this place and behind it, as far as the text is read.
    next: VecDeque<Heading>,
}

struct Heading {
    at: usize,
    level: HeadingLevel,
    title: String,
}

impl Headings {
    /// Reads the part of the text that begins at `start`.
    fn read(&mut self, start: usize, part: &str) {
        let mut open: Option<Heading> = None;
        for (event, range) in Parser::new(part).into_offset_iter() {
            match event {
                Event::Start(Tag::Heading { level, .. }) => {
                    open = Some(Heading {
                        at: start + range.start,
                        level,
                        title: String::new(),
                    });
                }
                Event::End(TagEnd::Heading(_)) => self.next.extend(open.take()),
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut open {
                        let free = TITLE_MAX - heading.title.len();
                        let end = text.floor_char_boundary(free);
                        heading.title.push_str(&text[..end]);
                    }
                }
                _ => {}
            }
        }
    }

    /// Returns the chunk of a part that begins at `start`. Chunks come in the order of the text.
    fn chunk(&mut self, start: usize, (at, text): (usize, &str)) -> Chunk {
        let start = start + at;
        Chunk {
            range: start..start + text.len(),
            headings: self.above(start),
        }
    }

    /// Returns the titles of the headings whose sections contain a place, the outermost first. A heading does not contain its own
    /// beginning.
    fn above(&mut self, place: usize) -> Vec<String> {
        while let Some(heading) = self.next.pop_front_if(|heading| heading.at < place) {
            let above = self.path.partition_point(|last| last.level < heading.level);
            self.path.truncate(above);
            self.path.push(heading);
        }
        // A heading of the same or a higher level at the place itself ends the sections.
        let own = self.next.front().filter(|heading| heading.at == place);
        let own = own.map(|heading| heading.level);
        let path = self.path.iter();
        path.filter(|heading| own.is_none_or(|own| heading.level < own))
            .map(|heading| heading.title.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

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
        let chunks = chunker(100, 0)
            .chunks("One sentence.", TextKind::Plain, || true)
            .unwrap();
        assert_eq!(
            chunks,
            [Chunk {
                range: 0..13,
                headings: vec![]
            }]
        );
        assert!(
            chunker(100, 0)
                .chunks(" \n ", TextKind::Plain, || true)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn plain_text_is_cut_between_paragraphs() {
        let text = [paragraph("one", 80), paragraph("two", 80)].join("\n\n");
        let chunks = chunker(100, 0)
            .chunks(&text, TextKind::Plain, || true)
            .unwrap();
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
        let chunks = chunker(100, 20)
            .chunks(&text, TextKind::Plain, || true)
            .unwrap();
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
        let chunks = chunker(100, 0)
            .chunks(&text, TextKind::Markdown, || true)
            .unwrap();
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

    /// Returns how often each byte of a text is counted on the average.
    fn work(text: &str, kind: TextKind) -> usize {
        let counted = Cell::new(0);
        let rules = ChunkRules::default();
        let chunker = Chunker::new(rules, |text: &str| {
            counted.set(counted.get() + text.len());
            text.len().div_ceil(4)
        });
        let chunks = chunker.unwrap().chunks(text, kind, || true).unwrap();
        let visible = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
        assert!(chunks.iter().map(|chunk| chunk.range.len()).sum::<usize>() >= visible.count() / 2);
        counted.get() / text.len()
    }

    #[test]
    fn the_work_is_in_proportion_to_the_text_however_it_is_nested() {
        let list: String = (0..300).map(|at| " ".repeat(2 * at) + "- item\n").collect();
        let texts = [
            list,
            ">".repeat(35_000) + " text",
            "- ".repeat(17_000) + "text",
            "# a\n".repeat(5_000),
            "word ".repeat(14_000),
            "x".repeat(35_000),
            "*a **b ".repeat(5_000),
            "[".repeat(35_000),
            format!("a{}b", "\n".repeat(10_000)),
            "a\n\n\n".repeat(9_000),
        ];
        for (at, text) in texts.iter().enumerate() {
            let work = work(text, TextKind::Markdown);
            assert!(work < 20, "text {at}: {work}");
        }
    }

    #[test]
    fn cutting_ends_when_its_caller_wants() {
        let asked = Cell::new(0);
        let goes_on = || {
            asked.set(asked.get() + 1);
            asked.get() < 10
        };
        let text = "word ".repeat(60_000);
        let made = chunker(100, 50).chunks(&text, TextKind::Markdown, goes_on);
        assert_eq!((made, asked.get()), (Err(Abandoned), 10));
    }

    #[test]
    fn headings_hold_across_parts_and_long_titles_are_cut() {
        let title = "é".repeat(1000);
        let text = format!("# {title}\n\n{}", "word\n\n".repeat(30_000));
        let chunks = chunker(100, 0)
            .chunks(&text, TextKind::Markdown, || true)
            .unwrap();
        let last = chunks.last().unwrap();
        assert_eq!(last.headings, ["é".repeat(128)]);
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
            let chunks = Chunker::new(ChunkRules { tokens_max: 100, overlap: 30 }, str::len).unwrap().chunks(&text, kind, || true).unwrap();
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

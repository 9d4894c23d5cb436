//! Finds citations such as `[2]` and `[1, 3]` in a text that comes in pieces.

use std::sync::Arc;

use serde_json::{Value, json};

/// The longest text between the brackets; what is longer is not a citation.
const MARK_MAX: usize = 32;

/// Finds the citations in one text.
#[derive(Clone, Debug, Default)]
pub struct Citations {
    /// The id and the name of the file of each source, in the order of their numbers.
    files: Arc<[(String, String)]>,
    /// The number of characters that have come.
    characters: usize,
    /// The place of an open bracket, and what follows it.
    open: Option<(usize, String)>,
}

impl Citations {
    /// Creates a finder of citations of these files, whose numbers begin with 1.
    pub(super) fn new(files: impl Iterator<Item = (String, String)>) -> Self {
        Self {
            files: files.collect(),
            characters: 0,
            open: None,
        }
    }

    /// Returns a finder for another text.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self {
            files: Arc::clone(&self.files),
            ..Self::default()
        }
    }

    /// Reads the next piece, and returns an annotation for each source whose citation it completes. The `index` of an annotation is the
    /// place of the bracket in the text, in characters from 0.
    pub fn feed(&mut self, piece: &str) -> Vec<Value> {
        let mut annotations = Vec::new();
        if self.files.is_empty() {
            return annotations;
        }
        for char in piece.chars() {
            let place = self.characters;
            self.characters += 1;
            match (char, &mut self.open) {
                ('[', open) => *open = Some((place, String::new())),
                (']', open) => {
                    if let Some((at, mark)) = open.take() {
                        self.cited(at, &mark, &mut annotations);
                    }
                }
                ('0'..='9' | ',' | ' ', Some((_, mark))) if mark.len() < MARK_MAX => {
                    mark.push(char);
                }
                (_, open) => *open = None,
            }
        }
        annotations
    }

    /// Adds the annotations of a complete mark. A mark with a number of no source is not a citation.
    fn cited(&self, at: usize, mark: &str, annotations: &mut Vec<Value>) {
        let source = |number: &str| {
            let number: usize = number.trim().parse().ok()?;
            self.files.get(number.checked_sub(1)?)
        };
        let Some(cited) = mark.split(',').map(source).collect::<Option<Vec<_>>>() else {
            return;
        };
        annotations.extend(cited.into_iter().map(|(id, name)| {
            json!({"type": "file_citation", "file_id": id, "filename": name, "index": at})
        }));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn citations() -> Citations {
        let files = ["a", "b", "c"].map(|name| (format!("file-{name}"), format!("{name}.md")));
        Citations::new(files.into_iter())
    }

    fn places(text: &str) -> Vec<(String, u64)> {
        let found = citations().feed(text);
        let each = found.iter().map(|one| {
            let name = one["filename"].as_str().unwrap().to_owned();
            (name, one["index"].as_u64().unwrap())
        });
        each.collect()
    }

    #[test]
    fn each_form_of_a_citation_is_found_at_its_place() {
        let of = |name: &str, at| (name.to_owned(), at);
        assert_eq!(places("Så är det [1]."), [of("a.md", 10)]);
        assert_eq!(places("[2][3]"), [of("b.md", 0), of("c.md", 3)]);
        assert_eq!(places("x [1, 3] y"), [of("a.md", 2), of("c.md", 2)]);
        for none in [
            "[0]",
            "[4]",
            "[1, 9]",
            "[a1]",
            "[]",
            "1]",
            "[1",
            "[1.5]",
            "[99999999999999999999999]",
        ] {
            assert_eq!(places(none), [], "{none}");
        }
        assert_eq!(places("[[1]"), [of("a.md", 1)]);
    }

    #[test]
    fn an_annotation_has_the_members_of_the_api() {
        let found = citations().feed("[2]");
        let expected =
            json!({"type": "file_citation", "file_id": "file-b", "filename": "b.md", "index": 0});
        assert_eq!(found, [expected]);
        let mut next = citations();
        next.feed("before [");
        assert_eq!(next.fresh().feed("1]"), [] as [Value; 0]);
    }

    proptest! {
        #[test]
        fn pieces_are_read_as_the_whole(pieces in proptest::collection::vec("[\\[\\]1-4, é]{0,4}", 0..12)) {
            let mut in_pieces = citations();
            let found: Vec<Value> = pieces.iter().flat_map(|piece| in_pieces.feed(piece)).collect();
            prop_assert_eq!(found, citations().feed(&pieces.concat()));
        }
    }
}

//! Parts of a text that are cut by themselves, so that the work is in proportion to the text.
//!
//! To cut a text at its structure takes work that grows with the square of its size and with the depth of its nesting. So no part
//! is greater than [`WINDOW_BYTES`] or has more than [`BLANK_LINES_MAX`] blank lines one after another, and a part whose blocks are nested
//! deeper than documents are is cut as plain text.

use std::ops::Range;

/// The greatest size of a part.
const WINDOW_BYTES: usize = 64 * 1024;
/// The most line feeds in a run of white space: each run of another length is a level of the structure.
const BLANK_LINES_MAX: usize = 8;
/// The most marks of quotes and lists before the text of a line.
const MARKS_MAX: usize = 32;
/// The widest indentation of a line, marks included.
const INDENT_MAX: usize = 256;
/// The share of marks for emphasis, links and code in a text, as one of so many bytes, and the least size of a text that has a share.
const MARKS_SHARE: usize = 4;
const TEXT_MIN: usize = 4096;

/// Returns the parts of a text in their order. A part ends before a heading, else between paragraphs, lines or words. Long runs of blank
/// lines are between parts.
pub(crate) fn windows(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        loop {
            let from = start;
            let rest = text.get(from..).filter(|rest| !rest.is_empty())?;
            let part = &rest[..length(rest)];
            let Some(blank) = blank_lines(part) else {
                start += part.len();
                return Some(from..start);
            };
            start += blank.end;
            if blank.start > 0 {
                return Some(from..from + blank.start);
            }
        }
    })
}

/// Returns the first long run of blank lines, up to the last of its line feeds.
fn blank_lines(text: &str) -> Option<Range<usize>> {
    let (mut start, mut end, mut lines) = (0, 0, 0);
    for (at, byte) in text.bytes().enumerate() {
        if matches!(byte, b'\n' | b'\r') {
            end = at + 1;
            lines += 1;
        } else if !byte.is_ascii_whitespace() {
            if lines > BLANK_LINES_MAX {
                break;
            }
            (start, lines) = (at + 1, 0);
        }
    }
    (lines > BLANK_LINES_MAX).then_some(start..end)
}

/// Returns the size of the first part of a text that is not empty.
fn length(text: &str) -> usize {
    if text.len() <= WINDOW_BYTES {
        return text.len();
    }
    let end = text.floor_char_boundary(WINDOW_BYTES);
    let least = text.floor_char_boundary(WINDOW_BYTES / 2);
    let later = &text[least..end];
    let found = (later.rfind("\n#").map(|at| at + 1))
        .or_else(|| later.rfind("\n\n").map(|at| at + 2))
        .or_else(|| later.rfind('\n').map(|at| at + 1))
        .or_else(|| later.rfind(' ').map(|at| at + 1));
    found.map_or(end, |at| least + at)
}

/// Returns `true` if the marks before the text of a line nest blocks deeper than documents do, or if most of the text is marks.
pub(crate) fn is_deep(text: &str) -> bool {
    let marks = text.bytes().filter(|byte| b"*_[]`~$^".contains(byte));
    if text.len() > TEXT_MIN && marks.count() > text.len() / MARKS_SHARE {
        return true;
    }
    text.lines().any(|line| {
        let mut marks = 0;
        let prefix = line.bytes().take_while(|byte| {
            marks += usize::from(matches!(byte, b'>' | b'-' | b'+' | b'*' | b'.' | b')'));
            byte.is_ascii_whitespace() || byte.is_ascii_digit() || b">-+*.)".contains(byte)
        });
        let indent = prefix.count();
        let is_rule = indent == line.len() && !line.contains('>');
        !is_rule && (marks > MARKS_MAX || indent > INDENT_MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<Range<usize>> {
        windows(text).collect()
    }

    #[test]
    fn a_long_text_is_cut_before_a_heading_or_between_lines() {
        assert!(cut("").is_empty());
        assert_eq!(cut("short").first(), Some(&(0..5)));
        let half = "word\n\n".repeat(8000);
        let text = format!("{half}# Two\n{half}");
        assert_eq!(cut(&text), [0..half.len(), half.len()..text.len()]);
        for text in ["é".repeat(100_000), "a b ".repeat(50_000)] {
            let parts = cut(&text);
            assert!(parts.iter().all(|part| part.len() <= WINDOW_BYTES));
            let whole: String = parts.into_iter().map(|part| &text[part]).collect();
            assert_eq!(whole, text);
        }
    }

    #[test]
    fn long_runs_of_blank_lines_are_between_parts() {
        let text = format!("{0} a\n\nb{0}  c\n{0}", "\n \r".repeat(9));
        let parts: Vec<&str> = windows(&text).map(|part| &text[part]).collect();
        assert_eq!(parts, [" a\n\nb", "  c"]);
        let blank = "\n".repeat(200_000);
        assert!(cut(&blank).is_empty());
        let text = blank + "a";
        let last = 200_000..200_001;
        assert_eq!(cut(&text), std::slice::from_ref(&last));
        assert_eq!(cut(&"a\n\n\n\n".repeat(10)).len(), 1);
    }

    #[test]
    fn only_what_no_document_has_is_deep() {
        let list = |depth: usize| {
            let items = (0..depth).map(|at| " ".repeat(2 * at) + "- item\n");
            items.collect::<String>()
        };
        assert!(!is_deep(&list(20)));
        assert!(!is_deep(&"-".repeat(80)));
        assert!(is_deep(&list(200)));
        assert!(is_deep(&(">".repeat(100) + " text")));
        assert!(is_deep(&("- ".repeat(100) + "text")));
        assert!(is_deep(&"*a **b ".repeat(1000)));
        assert!(!is_deep(
            &"See [the *page*](a.md) and `code`.\n".repeat(1000)
        ));
    }
}

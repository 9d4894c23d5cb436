//! The text of HTML as simple Markdown.
//!
//! Two passes, each in proportion to the file. [`plain_tags`] leaves tags without attributes: the tokenizer calls itself for each attribute
//! in quotes, so that a tag with some thousands of them would end the process. [`text_of`] reads what is left.

mod tags;

use std::collections::BTreeMap;

use html5gum::{Token, Tokenizer};

use tags::{Plain, plain_tags};

/// The elements whose content is left out until they end. Those with an end tag that is missing are read.
const SKIPPED: [&str; 4] = ["template", "noscript", "svg", "math"];
const BLOCKS: [&str; 28] = [
    "p",
    "div",
    "section",
    "article",
    "main",
    "header",
    "footer",
    "aside",
    "nav",
    "ul",
    "ol",
    "table",
    "blockquote",
    "pre",
    "dl",
    "dt",
    "dd",
    "figure",
    "figcaption",
    "body",
    "hr",
    "address",
    "center",
    "form",
    "fieldset",
    "details",
    "summary",
    "hgroup",
];
/// The fewest marks around the lines of a `pre`.
const FENCE_MIN: usize = 3;

/// Returns the text: the title and headings, paragraphs, items of lists, and the lines of `pre`. Scripts, styles, drawings and fields of
/// forms are left out.
pub(super) fn text_of(html: &str) -> String {
    let Plain { html, mut ends } = plain_tags(html);
    let mut text = Text::default();
    let mut place = Place::default();
    for token in Tokenizer::new(&html) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name);
                if place.enters(&name, tag.self_closing, &ends) {
                    text.start(&name);
                }
            }
            Token::EndTag(tag) => {
                let name = String::from_utf8_lossy(&tag.name);
                if let Some(left) = ends.get_mut(&*name) {
                    *left = left.saturating_sub(1);
                }
                if place.leaves(&name, &ends) {
                    text.end(&name);
                }
            }
            Token::String(part) if place.skipped.is_none() => {
                text.push(&String::from_utf8_lossy(&part));
            }
            _ => {}
        }
    }
    text.finish()
}

/// What is left out at a place.
#[derive(Debug, Default)]
struct Place {
    /// The element whose content is left out, and how often it is open.
    skipped: Option<(&'static str, usize)>,
}

impl Place {
    /// Reads a start tag; returns `true` if the element is read.
    fn enters(
        &mut self,
        name: &str,
        is_self_closing: bool,
        ends: &BTreeMap<&'static str, usize>,
    ) -> bool {
        if let Some((skipped, depth)) = &mut self.skipped {
            // A drawing ends at the first element that it cannot have.
            let is_drawing = matches!(*skipped, "svg" | "math");
            if !(is_drawing && (is_block(name) || is_heading(name) || name == "li")) {
                *depth += usize::from(*skipped == name && !is_self_closing);
                return false;
            }
            self.skipped = None;
            return true;
        }
        let skipped = SKIPPED.iter().find(|skipped| **skipped == name);
        let Some(skipped) = skipped else {
            return true;
        };
        let has_end = ends.get(skipped).is_some_and(|left| *left > 0);
        let is_drawing = matches!(*skipped, "svg" | "math");
        if !is_self_closing && (has_end || is_drawing) {
            self.skipped = Some((skipped, 1));
        }
        false
    }

    /// Reads an end tag, which is not among `ends` any more; returns `true` if the element was read.
    fn leaves(&mut self, name: &str, ends: &BTreeMap<&'static str, usize>) -> bool {
        let Some((skipped, depth)) = &mut self.skipped else {
            return true;
        };
        if *skipped == name {
            *depth -= 1;
            // Those that are still open have no end.
            if *depth == 0 || ends.get(skipped).is_none_or(|left| *left == 0) {
                self.skipped = None;
            }
        }
        false
    }
}

/// The text up to a place.
#[derive(Debug, Default)]
struct Text {
    out: String,
    /// What comes before the next character: the mark of a heading or of an item.
    mark: String,
    /// The lines of a `pre` that is open.
    lines: Option<String>,
}

impl Text {
    fn start(&mut self, name: &str) {
        if let Some(lines) = &mut self.lines {
            let begins = is_block(name) || matches!(name, "tr" | "li");
            if name == "br" || begins && !lines.ends_with('\n') {
                lines.push('\n');
            }
            return;
        }
        match name {
            "title" => self.heading(1),
            "li" => {
                self.break_line(1);
                "- ".clone_into(&mut self.mark);
            }
            "pre" => {
                self.break_line(2);
                self.lines = Some(String::new());
            }
            "br" | "tr" => self.break_line(1),
            "td" | "th" => self.push(" "),
            _ => match name.as_bytes() {
                [b'h', level @ b'1'..=b'6'] => self.heading(usize::from(level - b'0')),
                _ if is_block(name) => self.break_line(2),
                _ => {}
            },
        }
    }

    fn end(&mut self, name: &str) {
        if name == "pre" {
            self.end_lines();
        } else if self.lines.is_none() && (is_block(name) || is_heading(name) || name == "title") {
            if name == "title" || is_heading(name) {
                // One without a text.
                self.mark.clear();
            }
            self.break_line(2);
        }
    }

    fn heading(&mut self, level: usize) {
        self.break_line(2);
        self.mark = "#".repeat(level) + " ";
    }

    /// Has the text end with line feeds, two of which are a blank line.
    fn break_line(&mut self, feeds: usize) {
        let text = self.out.trim_end_matches(' ').len();
        self.out.truncate(text);
        let end = self.out.bytes().rev().take(feeds);
        let present = end.take_while(|byte| *byte == b'\n').count();
        if text > 0 {
            self.out.extend(std::iter::repeat_n('\n', feeds - present));
        }
    }

    /// Adds a text whose runs of white space are one space each, except in a `pre`.
    fn push(&mut self, text: &str) {
        if let Some(lines) = &mut self.lines {
            lines.push_str(text);
            return;
        }
        for char in text.chars() {
            if !char.is_whitespace() {
                self.out.push_str(&self.mark);
                self.mark.clear();
                self.out.push(char);
            } else if self.mark.is_empty() && !self.out.ends_with(char::is_whitespace) {
                self.out.push(' ');
            }
        }
    }

    fn end_lines(&mut self) {
        let Some(lines) = self.lines.take() else {
            return;
        };
        let lines = lines.trim_matches('\n').trim_end();
        if lines.trim().is_empty() {
            return;
        }
        let runs = lines.split(|char| char != '`').map(str::len);
        let fence = "`".repeat(FENCE_MIN.max(runs.max().unwrap_or_default() + 1));
        self.mark.clear();
        self.break_line(2);
        for part in [&fence, "\n", lines, "\n", &fence, "\n\n"] {
            self.out.push_str(part);
        }
    }

    fn finish(mut self) -> String {
        self.end_lines();
        self.out
    }
}

fn is_heading(name: &str) -> bool {
    matches!(name.as_bytes(), [b'h', b'1'..=b'6'])
}

fn is_block(name: &str) -> bool {
    BLOCKS.contains(&name)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// Pieces of which files are made.
    const PATTERNS: &[&str] = &[
        "<a x=\"1\"",
        " x=\"1\"",
        " x='1'",
        " x=1",
        " x",
        "/x",
        "=\"\"",
        "\"",
        "'",
        "=",
        "/",
        "<",
        "</",
        "</a",
        "<a ",
        "<a>",
        "<a/>",
        "<!",
        "<!--",
        "-->",
        "--",
        "<!-->",
        "<!doctype \"",
        "<!doctype html public \"\" \"\">",
        "<![CDATA[",
        "]]>",
        "<?",
        "&",
        "&a",
        "&amp",
        "&#",
        "&#x1",
        "&#1;",
        "&notit;",
        "<script>",
        "<!--<script>",
        "</script",
        "<style>",
        "<title>",
        "</title>",
        "<textarea>",
        "<svg>",
        "</svg>",
        "<template>",
        "</template>",
        "<noscript>",
        "<pre>",
        "</pre>",
        "<div>",
        "<p>a",
        "<h1>",
        "<li>",
        "<br>",
        "`",
        "\u{e9}",
        "\n",
        "</p x=\"1\"",
        "<plaintext>",
        "\u{c}",
    ];

    #[test]
    fn a_tag_has_any_number_of_attributes_and_no_input_needs_a_deep_stack() {
        let starts = [
            "", "<a ", "<!--", "<script>", "<svg>", "<pre>", "<title>", "</a ",
        ];
        let read = move || {
            for pattern in PATTERNS {
                for start in starts {
                    let is_long = matches!(start, "" | "<a ");
                    // A second pattern, so that quotes and tags alternate.
                    for (other, size) in [
                        ("", if is_long { 50_000 } else { 4000 }),
                        (" y=\"2\"", 4000),
                    ] {
                        let unit = format!("{pattern}{other}");
                        let html = format!("{start}{}>end", unit.repeat(size / unit.len()));
                        let text = text_of(&html);
                        assert!(text.len() <= 3 * html.len() + 16, "{start}{unit}");
                    }
                }
            }
            let mut names = String::new();
            for at in 0..100_000 {
                write!(names, "x{at}=\"1\"").unwrap();
            }
            for unit in ["x=\"1\" ", "x=\"1\"", "x ", "x='1' "] {
                let html = format!("<a {}>d</a>", unit.repeat(200_000));
                assert_eq!(text_of(&html), "d");
            }
            assert_eq!(text_of(&format!("<a {names}>d</a>")), "d");
        };
        // The stack of a thread on which files are read.
        let thread = std::thread::Builder::new().stack_size(2 << 20);
        thread.spawn(read).unwrap().join().unwrap();
    }

    #[test]
    fn html_without_the_ends_that_may_be_left_out_is_read() {
        let html = "<!doctype html><html lang=en><head><meta charset=utf-8><title>The &amp; <b>guide</title><link rel=x>\
            <style>p{}</style><body class=\"a>b\"><p>One<p>Two";
        assert_eq!(text_of(html), "# The & <b>guide\n\nOne\n\nTwo");
        assert_eq!(text_of("<title>T</title><p>One"), "# T\n\nOne");
        assert_eq!(text_of("<head><title> </title><div>One"), "One");
        assert_eq!(text_of("<title>T<p>One"), "# T\n\nOne");
    }

    #[test]
    fn what_is_left_out_ends_where_it_ends_and_never_takes_the_rest() {
        let cases = [
            (
                "a<svg><title>t</title><path d=\"x\"/><g><text>no</text></g><p>b",
                "a\n\nb",
            ),
            ("a<svg><title/><text>no</text></svg>b", "ab"),
            ("a<svg/>b", "ab"),
            ("a<svg><svg>no</svg>no</svg>b", "ab"),
            ("a<math>x<div>b</div>", "a\n\nb\n\n"),
            ("a<template>no<template>no</template>no</template>b", "ab"),
            ("a<template>b", "ab"),
            ("a<noscript>b<p>c", "ab\n\nc"),
            ("a<noscript><p>no</p></noscript>b", "ab"),
            ("a<noscript>no<noscript>no</noscript>b", "ab"),
            ("a<textarea>b", "ab"),
            ("a<textarea><p>no</TEXTAREA >b", "ab"),
            ("a<script>if (a<b) \"</div>no", "a"),
            ("a<script src=\"x\">x = '<p>\"'</script\n>b", "ab"),
            ("a<script src=x/>no</script>b", "ab"),
            ("a<script src='x'/>b", "ab"),
            ("a<style>no</styles>no</style>b", "ab"),
            (
                "a<!-->b<!--->c<!-- -- > no --->d<!--no--!>e<!x>f</ x>g</>h<?x>i",
                "abcdefghi",
            ),
            ("a < b && c <d e=\"", "a < b && c "),
            ("1 <2 <- <", "1 <2 <- <"),
            (
                "a<b title=\"x > y\" c='>' d=e\"f g = 'h' =i/j>b</b k=\">\">c",
                "abc",
            ),
        ];
        for (html, text) in cases {
            assert_eq!(text_of(html), text, "{html}");
        }
    }

    #[test]
    fn lines_of_code_are_kept_and_blocks_have_one_blank_line_between_them() {
        let html =
            "<p>Run:<pre><code>\n# no heading\n  x  = 1\n<span>y</span><br>z\n</code></pre>then";
        let expected = "Run:\n\n```\n# no heading\n  x  = 1\ny\nz\n```\n\nthen";
        assert_eq!(text_of(html), expected);
        assert_eq!(text_of("<pre>a ``` b"), "````\na ``` b\n````\n\n");
        assert_eq!(text_of("<pre>\n</pre>a"), "a");
        let nested =
            "<div>".repeat(4000) + "a" + &"</div>".repeat(4000) + "<br>".repeat(99).as_str() + "b";
        assert_eq!(text_of(&nested), "a\n\nb");
        let list =
            "<ul><li><p>one</p></li><li></li><li>two</ul><table><tr><td>1<td>2<tr><td>3</table>";
        assert_eq!(text_of(list), "- one\n\n- two\n\n1 2\n3\n\n");
    }
}

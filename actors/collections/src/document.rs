//! Files become texts: the formats, and the chunks of a text.
//!
//! Pure functions of a file's name and bytes, whose time and memory are bounded by its size. A file that is not what its name says is
//! a failure in words, never a guess.

mod html;

use std::sync::Arc;

use kebne_retrieval::{Chunker, TextKind};
use serde_json::Value;

use crate::{
    model::{ChunkText, Failure, Rules},
    sqlite::{SERVER_ERROR, failure},
};

/// The most lines of a file of JSON lines.
const LINES_MAX: usize = 200_000;
/// The greatest size of a title, in bytes: it is repeated in each chunk below it.
const TITLE_MAX: usize = 256;
/// How a PDF file begins, and the most bytes before that.
const PDF: &[u8] = b"%PDF-";
const PDF_BEFORE_MAX: usize = 1024;
/// The most blank lines between two others: what is cut at them takes work that grows with the square of their number.
const BLANK_LINES_MAX: usize = 2;
/// The most chunks of a file.
const CHUNKS_MAX: usize = 100_000;

/// Counts the tokens of a text.
pub(crate) type CountTokens = dyn Fn(&str) -> usize + Send + Sync;

/// Reads the texts of PDF files.
///
/// Such a file can be made so that reading it takes any time and memory: whoever reads it bounds both, best in a process of its own.
pub trait PdfReader: Send + Sync {
    /// Returns the texts of the pages, in order. It blocks, and asks `goes_on` at least every second.
    ///
    /// # Errors
    /// Fails if the file cannot be read within the reader's bounds, and soon after `goes_on` returns `false`.
    fn pages(&self, content: &[u8], goes_on: &dyn Fn() -> bool) -> Result<Vec<String>, PdfError>;
}

/// The reason why a PDF file has no text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PdfError {
    /// It cannot be read, for this reason.
    #[error("{0}")]
    Unreadable(String),
    /// It could not be tried now.
    #[error("{0}")]
    Unavailable(String),
    /// The caller did not want to go on.
    #[error("reading the file was abandoned")]
    Abandoned,
}

/// What a file is read with.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) count: Arc<CountTokens>,
    pub(crate) pdf: Option<Arc<dyn PdfReader>>,
}

/// A text of a file.
struct Section {
    text: String,
    kind: TextKind,
    /// What stands above it.
    title: Option<String>,
}

/// Returns the chunks of a file.
///
/// # Errors
/// Returns the reason for the file's owner; so also soon after `goes_on` returns `false`.
pub(crate) fn chunks(
    name: &str,
    content: &[u8],
    rules: Rules,
    tools: &Tools,
    goes_on: &dyn Fn() -> bool,
) -> Result<Vec<ChunkText>, Failure> {
    let too_long = || failure("invalid_file", "reading the file takes too long");
    let sections = sections(name, content, tools, goes_on)?;
    let chunker = Chunker::new(rules.into(), |text: &str| (tools.count)(text));
    let chunker = chunker.map_err(|error| failure("invalid_file", error.to_string()))?;
    let mut all = Vec::new();
    for mut section in sections {
        section.text = squeezed(&section.text);
        let cut = chunker.chunks(&section.text, section.kind, goes_on);
        for chunk in cut.map_err(|_abandoned| too_long())? {
            if !goes_on() {
                return Err(too_long());
            }
            if all.len() == CHUNKS_MAX {
                let why = format!("the file has more than {CHUNKS_MAX} chunks");
                return Err(failure("invalid_file", why));
            }
            let headings = section.title.iter().cloned().chain(chunk.headings);
            all.push(ChunkText {
                headings: headings.collect(),
                text: section.text[chunk.range].to_owned(),
            });
        }
    }
    if all.is_empty() {
        return Err(failure("invalid_file", "the file has no text"));
    }
    Ok(all)
}

fn sections(
    name: &str,
    content: &[u8],
    tools: &Tools,
    goes_on: &dyn Fn() -> bool,
) -> Result<Vec<Section>, Failure> {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let extension = extension.unwrap_or_default().to_ascii_lowercase();
    let is_pdf = extension == "pdf";
    // Other programs allow some bytes before its beginning.
    let before = if is_pdf { PDF_BEFORE_MAX } else { 0 };
    let begins = content
        .windows(PDF.len())
        .take(before + 1)
        .position(|part| part == PDF);
    if let Some(begins) = begins {
        return pages(&content[begins..], tools, goes_on);
    }
    if is_pdf {
        let why = "the file is named .pdf, but it is not a PDF";
        return Err(failure("unsupported_file", why));
    }
    let content = content.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(content);
    let text = std::str::from_utf8(content)
        .ok()
        .filter(|text| !text.contains('\0'));
    let Some(text) = text else {
        let why = "the file is not text in UTF-8; the formats are text, Markdown, HTML, PDF and JSON lines";
        return Err(failure("unsupported_file", why));
    };
    let one = |text: String, kind| {
        Ok(vec![Section {
            text,
            kind,
            title: None,
        }])
    };
    match extension.as_str() {
        "md" | "markdown" => one(text.to_owned(), TextKind::Markdown),
        "html" | "htm" | "xhtml" => one(html::text_of(text), TextKind::Markdown),
        "jsonl" | "ndjson" => lines(text),
        _ => one(text.to_owned(), TextKind::Plain),
    }
}

/// Returns the pages of a PDF file that have text, each with its number as its title.
fn pages(
    content: &[u8],
    tools: &Tools,
    goes_on: &dyn Fn() -> bool,
) -> Result<Vec<Section>, Failure> {
    let Some(pdf) = &tools.pdf else {
        let why = "PDF is not read; the formats are text, Markdown, HTML and JSON lines";
        return Err(failure("unsupported_file", why));
    };
    let pages = pdf.pages(content, goes_on).map_err(|error| match error {
        PdfError::Unreadable(_) | PdfError::Abandoned => failure("invalid_file", error.to_string()),
        PdfError::Unavailable(_) => failure(SERVER_ERROR, error.to_string()),
    })?;
    let sections: Vec<Section> = (1..)
        .zip(pages)
        .filter(|(_, text)| !text.trim().is_empty())
        .map(|(number, text)| Section {
            text,
            kind: TextKind::Plain,
            title: Some(format!("Page {number}")),
        })
        .collect();
    if sections.is_empty() {
        let why = "the PDF file has no text: its pages may be images, or what they show is damaged";
        return Err(failure("invalid_file", why));
    }
    Ok(sections)
}

/// Returns the texts of JSON lines. A line is a text, or an object with the member `text` or `content`, and perhaps `title`; any other value is its
/// own text.
fn lines(text: &str) -> Result<Vec<Section>, Failure> {
    let mut sections = Vec::new();
    let lines = text.lines().enumerate();
    for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        if sections.len() == LINES_MAX {
            let why = format!("the file has more than {LINES_MAX} lines");
            return Err(failure("invalid_file", why));
        }
        let value: Value = serde_json::from_str(line).map_err(|error| {
            failure(
                "invalid_file",
                format!("line {} is not JSON: {error}", at + 1),
            )
        })?;
        let member = |name: &str| value.get(name).and_then(Value::as_str);
        let own = value
            .as_str()
            .or_else(|| member("text"))
            .or_else(|| member("content"));
        sections.push(Section {
            text: own.map_or_else(|| value.to_string(), str::to_owned),
            kind: TextKind::Plain,
            title: own.and_then(|_| member("title")).map(|title| {
                let end = title.floor_char_boundary(TITLE_MAX);
                title[..end].to_owned()
            }),
        });
    }
    Ok(sections)
}

/// Returns a text with line feeds alone, and with few blank lines between two others.
fn squeezed(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let mut out = String::with_capacity(text.len());
    let mut blank = 0;
    for line in text.split([
        '\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}',
    ]) {
        blank = if line.trim().is_empty() { blank + 1 } else { 0 };
        if blank <= BLANK_LINES_MAX {
            out.push_str(if blank > 0 { "" } else { line });
            out.push('\n');
        }
    }
    out.pop();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pages(Result<Vec<String>, PdfError>);

    impl PdfReader for Pages {
        fn pages(&self, _: &[u8], _: &dyn Fn() -> bool) -> Result<Vec<String>, PdfError> {
            self.0.clone()
        }
    }

    fn read_with(
        name: &str,
        content: &[u8],
        pdf: Option<Arc<dyn PdfReader>>,
    ) -> Result<Vec<(Vec<String>, String)>, Failure> {
        let rules = Rules {
            tokens_max: 100,
            overlap: 0,
        };
        let tools = Tools {
            count: Arc::new(|text: &str| text.split_whitespace().count()),
            pdf,
        };
        let chunks = chunks(name, content, rules, &tools, &|| true)?;
        Ok(chunks
            .into_iter()
            .map(|chunk| (chunk.headings, chunk.text))
            .collect())
    }

    fn read(name: &str, content: &[u8]) -> Result<Vec<(Vec<String>, String)>, Failure> {
        read_with(name, content, None)
    }

    #[test]
    fn the_pages_of_a_pdf_file_are_texts_with_their_numbers() {
        let of = |pages| read_with("a.pdf", b"%PDF-1.7", Some(Arc::new(Pages(pages))));
        let pages = ["first", " \n", "third"].map(str::to_owned).to_vec();
        let expected = [("Page 1", "first"), ("Page 3", "third")];
        let expected = expected.map(|(title, text)| (vec![title.to_owned()], text.to_owned()));
        assert_eq!(of(Ok(pages)).unwrap(), expected);
        let empty = of(Ok(vec![String::new()])).unwrap_err();
        assert!(empty.message.contains("images"), "{empty:?}");
        let broken = of(Err(PdfError::Unreadable("no pages".to_owned()))).unwrap_err();
        assert_eq!(
            (&*broken.code, &*broken.message),
            ("invalid_file", "no pages")
        );
        let away = of(Err(PdfError::Unavailable("no process".to_owned()))).unwrap_err();
        assert_eq!(away.code, "server_error");
    }

    #[test]
    fn a_pdf_file_may_begin_late_and_one_that_is_none_is_refused() {
        let of = |name: &str, content: &[u8]| {
            let pages: Arc<dyn PdfReader> = Arc::new(Pages(Ok(vec!["page".to_owned()])));
            read_with(name, content, Some(pages))
        };
        let late = |before: usize| [vec![b'x'; before], b"%PDF-1.7".to_vec()].concat();
        for before in [0, 1, 1024] {
            assert_eq!(of("a.PDF", &late(before)).unwrap()[0].1, "page");
        }
        for content in [late(1025), b"text".to_vec(), vec![], vec![0xff]] {
            let refused = of("a.pdf", &content).unwrap_err();
            assert_eq!(refused.code, "unsupported_file");
            assert!(refused.message.contains("not a PDF"), "{refused:?}");
        }
        // A text may name the mark.
        assert_eq!(of("a.md", &late(9)).unwrap()[0].1, "xxxxxxxxx%PDF-1.7");
        assert_eq!(of("a", &late(0)).unwrap()[0].1, "page");
    }

    #[test]
    fn blank_lines_are_few_and_cost_in_proportion_to_the_text() {
        assert_eq!(
            squeezed("a\n\n \n\t\n\n  b\r\n\r\nc\rd"),
            "a\n\n\n  b\n\nc\nd"
        );
        assert_eq!(squeezed("a\n"), "a\n");
        assert_eq!(squeezed(""), "");
        for line in ["\n", "\r\n", "\r", " \n", "\u{2028}", "\u{c}"] {
            let text = format!("# A\n\none{}two", line.repeat(60_000));
            let read = read("a.md", text.as_bytes()).unwrap();
            assert_eq!(read.len(), 1, "{line:?}");
            assert!(read[0].1.len() < 20, "{line:?}: {read:?}");
        }
    }

    #[test]
    fn html_is_read_without_scripts_and_with_its_headings() {
        let html = "<html><head><title>x</title><style>p{}</style></head><body><h1>Kebne&shy;kaise</h1><p>A <b>high</b>\n mountain &amp; a lake.</p>\
            <script>alert('no')</script><textarea>form</textarea><ul><li>one</li><li>two</li></ul></body></html>";
        let read = read("a.HTML", html.as_bytes()).unwrap();
        let text = &read[0].1;
        assert!(
            text.contains("# Kebne\u{ad}kaise") && text.contains("A high mountain & a lake."),
            "{text}"
        );
        assert!(text.contains("- one\n- two"), "{text}");
        assert!(!text.contains("form"), "{text}");
        assert!(!text.contains("alert") && !text.contains("p{}"), "{text}");
    }

    #[test]
    fn each_json_line_is_a_text_of_its_own() {
        let lines = b"{\"title\": \"A\", \"text\": \"first\"}\n\n\"second\"\n{\"n\": 3}\n";
        let read = read("a.jsonl", lines).unwrap();
        let expected = [
            (vec!["A".to_owned()], "first".to_owned()),
            (vec![], "second".to_owned()),
            (vec![], "{\"n\":3}".to_owned()),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_cannot_be_read_has_a_reason() {
        let of = |name: &str, content: &[u8]| read(name, content).unwrap_err();
        assert_eq!(of("a.pdf", b"%PDF-1.7 ...").code, "unsupported_file");
        assert_eq!(of("a.png", b"\x89PNG\0").code, "unsupported_file");
        assert_eq!(of("a.txt", b" \n ").message, "the file has no text");
        assert!(
            of("a.jsonl", b"{}\n{")
                .message
                .starts_with("line 2 is not JSON")
        );
        let read = read("a", b"\xEF\xBB\xBFtext").unwrap();
        assert_eq!(read[0].1, "text");
    }

    #[test]
    fn markdown_knows_its_headings() {
        let text = format!(
            "# One\n\n{}\n\n## Two\n\n{}",
            "word ".repeat(90),
            "other ".repeat(90)
        );
        let read = read("a.md", text.as_bytes()).unwrap();
        assert_eq!(read[1].0, ["One"]);
    }
}

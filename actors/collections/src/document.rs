//! Files become texts: the formats, and the chunks of a text.
//!
//! Pure functions of a file's name and bytes, whose time and memory are bounded by its size. A file that is not what its name says is
//! a failure in words, never a guess.

use html5gum::{Token, Tokenizer};
use kebne_retrieval::{Chunker, HashedNgrams, TextKind};
use serde_json::Value;

use crate::{
    model::{ChunkText, Failure, Rules},
    sqlite::{NewChunk, failure},
};

/// The most lines of a file of JSON lines.
const LINES_MAX: usize = 200_000;
/// The greatest size of a title, in bytes: it is repeated in each chunk below it.
const TITLE_MAX: usize = 256;
/// The most chunks of a file.
const CHUNKS_MAX: usize = 100_000;

/// Counts the tokens of a text.
pub(crate) type CountTokens = dyn Fn(&str) -> usize + Send + Sync;

/// A text of a file.
struct Section {
    text: String,
    kind: TextKind,
    /// What stands above it.
    title: Option<String>,
}

/// Returns the chunks of a file with their vectors.
///
/// # Errors
/// Returns the reason for the file's owner; so also soon after `goes_on` returns `false`.
pub(crate) fn chunks(
    name: &str,
    content: &[u8],
    rules: Rules,
    embedder: HashedNgrams,
    count: &CountTokens,
    goes_on: &dyn Fn() -> bool,
) -> Result<Vec<NewChunk>, Failure> {
    let too_long = || failure("invalid_file", "reading the file takes too long");
    let sections = sections(name, content)?;
    let chunker = Chunker::new(rules.into(), |text: &str| count(text));
    let chunker = chunker.map_err(|error| failure("invalid_file", error.to_string()))?;
    let mut all = Vec::new();
    for section in &sections {
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
            let text = ChunkText {
                headings: headings.collect(),
                text: section.text[chunk.range].to_owned(),
            };
            let vector = embedder.embed(&text.indexed());
            all.push(NewChunk { text, vector });
        }
    }
    if all.is_empty() {
        return Err(failure("invalid_file", "the file has no text"));
    }
    Ok(all)
}

fn sections(name: &str, content: &[u8]) -> Result<Vec<Section>, Failure> {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let extension = extension.unwrap_or_default().to_ascii_lowercase();
    if content.starts_with(b"%PDF-") {
        let why = "PDF is not read; the formats are text, Markdown, HTML and JSON lines";
        return Err(failure("unsupported_file", why));
    }
    let content = content.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(content);
    let text = std::str::from_utf8(content)
        .ok()
        .filter(|text| !text.contains('\0'));
    let Some(text) = text else {
        let why =
            "the file is not text in UTF-8; the formats are text, Markdown, HTML and JSON lines";
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
        "html" | "htm" | "xhtml" => one(text_of_html(text), TextKind::Markdown),
        "jsonl" | "ndjson" => lines(text),
        _ => one(text.to_owned(), TextKind::Plain),
    }
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

/// Returns the text of HTML as simple Markdown: headings, paragraphs and items of lists. Scripts and styles are left out.
fn text_of_html(html: &str) -> String {
    let mut text = String::with_capacity(html.len() / 2);
    // The element whose content is left out until it ends.
    let mut skipped: Option<Vec<u8>> = None;
    for token in Tokenizer::new(html) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) if skipped.is_none() => {
                let name: &[u8] = &tag.name;
                match name {
                    b"script" | b"style" | b"template" | b"noscript" | b"svg" | b"head"
                    | b"textarea"
                        if !tag.self_closing =>
                    {
                        skipped = Some(name.to_vec());
                    }
                    b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" => {
                        let level = usize::from(name[1] - b'0');
                        text.push_str("\n\n");
                        text.push_str(&"#".repeat(level));
                        text.push(' ');
                    }
                    b"li" => text.push_str("\n- "),
                    b"br" | b"tr" => text.push('\n'),
                    b"td" | b"th" => text.push(' '),
                    _ if is_block(name) => text.push_str("\n\n"),
                    _ => {}
                }
            }
            Token::EndTag(tag) => {
                let name: &[u8] = &tag.name;
                if skipped.as_deref().is_some_and(|skipped| skipped == name) {
                    skipped = None;
                } else if skipped.is_none() && (is_block(name) || is_heading(name)) {
                    text.push_str("\n\n");
                }
            }
            Token::String(part) if skipped.is_none() => {
                push_spaced(&mut text, &String::from_utf8_lossy(&part));
            }
            _ => {}
        }
    }
    text
}

fn is_heading(name: &[u8]) -> bool {
    matches!(name, [b'h', b'1'..=b'6'])
}

fn is_block(name: &[u8]) -> bool {
    let blocks: [&[u8]; 17] = [
        b"p",
        b"div",
        b"section",
        b"article",
        b"main",
        b"header",
        b"footer",
        b"aside",
        b"nav",
        b"ul",
        b"ol",
        b"table",
        b"blockquote",
        b"pre",
        b"dl",
        b"figure",
        b"body",
    ];
    blocks.contains(&name)
}

/// Adds a text whose runs of white space are one space each.
fn push_spaced(out: &mut String, text: &str) {
    for char in text.chars() {
        if !char.is_whitespace() {
            out.push(char);
        } else if !out.ends_with(char::is_whitespace) {
            out.push(' ');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, content: &[u8]) -> Result<Vec<(Vec<String>, String)>, Failure> {
        let embedder = HashedNgrams::new(64);
        let rules = Rules {
            tokens_max: 100,
            overlap: 0,
        };
        let count = |text: &str| text.split_whitespace().count();
        let chunks = chunks(name, content, rules, embedder, &count, &|| true)?;
        let texts = chunks
            .into_iter()
            .map(|chunk| (chunk.text.headings, chunk.text.text));
        Ok(texts.collect())
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

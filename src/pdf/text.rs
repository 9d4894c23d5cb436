//! The text of a PDF file, page by page.
//!
//! Owns the way from the operators of a page to words and lines: PDF has no spaces and lines, only places. Runs in the child process only.

use std::{collections::BTreeMap, io};

use lopdf::{
    DecompressError, Dictionary, Document, Encoding, Error, LoadOptions, Object, ObjectId,
    content::{Content, Operation},
};

/// The most bytes that a stream of the file may be decompressed to.
const STREAM_MAX: usize = 64 << 20;
/// The most pages of a file.
const PAGES_MAX: usize = 20_000;
/// The depth of forms in forms.
const FORMS_MAX: usize = 8;
/// The most forms of a page, so that forms that name each other end.
const FORMS_OF_PAGE_MAX: usize = 2000;
/// The gap between two characters, in thousandths of the font's size, that is a space: about half of the width of one.
const SPACE_MIN: f32 = 180.0;

/// Why a page has no text, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Damaged,
    TooLarge,
}

/// Calls `take` with the text of each page, in order. A page that is damaged has the text up to there.
///
/// # Errors
/// Fails if the file cannot be read, is encrypted, or has no text because its pages are damaged or too large; and with `take`.
pub(super) fn each_page(
    content: &[u8],
    mut take: impl FnMut(&str) -> io::Result<()>,
) -> io::Result<()> {
    let options = LoadOptions {
        max_decompressed_size: Some(STREAM_MAX),
        ..LoadOptions::default()
    };
    let document = Document::load_mem_with_options(content, options);
    let document = document
        .map_err(|error| io::Error::other(format!("the PDF file cannot be read: {error}")))?;
    // Without the password there are no objects, so that this entry refers to none.
    if document.trailer.has(b"Encrypt") {
        return Err(io::Error::other(
            "the PDF file is encrypted with a password",
        ));
    }
    let mut pages = document.page_iter();
    let (mut read, mut has_text, mut flaw) = (0, false, None);
    for page in pages.by_ref().take(PAGES_MAX) {
        let mut text = PageText {
            document: &document,
            text: String::new(),
            forms_left: FORMS_OF_PAGE_MAX,
            flaw: None,
        };
        text.read_page(page);
        read += 1;
        has_text |= !text.text.trim().is_empty();
        flaw = flaw.or(text.flaw);
        take(&text.text)?;
    }
    if pages.next().is_some() {
        let why = format!("the PDF file has more than {PAGES_MAX} pages");
        return Err(io::Error::other(why));
    }
    let why = match flaw {
        _ if has_text => return Ok(()),
        _ if read == 0 => "the PDF file has no pages: it is damaged or cut off".to_owned(),
        None => return Ok(()),
        Some(Flaw::Damaged) => {
            "the PDF file has no text: its pages are damaged or cut off".to_owned()
        }
        Some(Flaw::TooLarge) => {
            format!("the content of a page of the PDF file is greater than {STREAM_MAX} bytes")
        }
    };
    Err(io::Error::other(why))
}

/// The text of a page, as far as it is read.
struct PageText<'a> {
    document: &'a Document,
    text: String,
    forms_left: usize,
    /// The first one that was met.
    flaw: Option<Flaw>,
}

type Encodings<'a> = BTreeMap<Vec<u8>, Encoding<'a>>;

impl<'a> PageText<'a> {
    fn read_page(&mut self, page: ObjectId) {
        let fonts = self.document.get_page_fonts(page).unwrap_or_default();
        let encodings = self.encodings(fonts);
        let content = self.content(page);
        let Some(content) = self.sound(Content::decode(&content)) else {
            return;
        };
        let resources = self.document.get_page_resources(page).ok();
        let (own, shared) = resources.unwrap_or_default();
        let shared = shared
            .into_iter()
            .filter_map(|id| self.document.get_dictionary(id).ok());
        let resources: Vec<&Dictionary> = own.into_iter().chain(shared).collect();
        self.read(&content.operations, &encodings, &resources, FORMS_MAX);
    }

    /// Returns the content of a page, up to where it is damaged.
    fn content(&mut self, page: ObjectId) -> Vec<u8> {
        let document = self.document;
        let mut content = Vec::new();
        for part in document.get_page_contents(page) {
            let left = STREAM_MAX.saturating_sub(content.len());
            let part = document
                .get_object(part)
                .and_then(Object::as_stream)
                .and_then(|part| part.get_plain_content_with_limit(left));
            let Some(part) = self.sound(part) else {
                break;
            };
            content.extend(part);
            content.push(b'\n');
        }
        content
    }

    /// Returns what was read; notes the flaw if it was not.
    fn sound<T>(&mut self, read: lopdf::Result<T>) -> Option<T> {
        read.map_err(|error| {
            let flaw = match error {
                Error::Decompress(DecompressError::MemoryLimitExceeded { .. }) => Flaw::TooLarge,
                _ => Flaw::Damaged,
            };
            self.flaw.get_or_insert(flaw);
        })
        .ok()
    }

    fn encodings(&self, fonts: BTreeMap<Vec<u8>, &'a Dictionary>) -> Encodings<'a> {
        let document = self.document;
        fonts
            .into_iter()
            .filter_map(|(name, font)| {
                let encoding = font.get_font_encoding_with_limit(document, STREAM_MAX);
                Some((name, encoding.ok()?))
            })
            .collect()
    }

    fn read(
        &mut self,
        operations: &[Operation],
        encodings: &Encodings<'a>,
        resources: &[&'a Dictionary],
        depth: usize,
    ) {
        let mut encoding: Option<&Encoding<'a>> = None;
        let mut line: Option<f32> = None;
        for Operation { operator, operands } in operations {
            match operator.as_str() {
                "Tf" => {
                    let name = operands.first().and_then(|name| name.as_name().ok());
                    encoding = name.and_then(|name| encodings.get(name));
                }
                "Tj" | "TJ" => self.show(operands, encoding),
                "'" | "\"" => {
                    self.end_line();
                    self.show(
                        operands.last().map_or(&[][..], std::slice::from_ref),
                        encoding,
                    );
                }
                "T*" | "ET" => self.end_line(),
                "Td" | "TD" if number(operands.get(1)).abs() > f32::EPSILON => self.end_line(),
                "Td" | "TD" => self.space(),
                "Tm" => {
                    let at = number(operands.get(5));
                    let is_same = line.is_some_and(|line| (line - at).abs() < 1.0);
                    if is_same {
                        self.space();
                    } else {
                        self.end_line();
                    }
                    line = Some(at);
                }
                "Do" if depth > 0 => {
                    let name = operands.first().and_then(|name| name.as_name().ok());
                    if let Some(name) = name {
                        self.read_form(name, encodings, resources, depth - 1);
                    }
                }
                _ => {}
            }
        }
    }

    /// Reads a form: a piece of content with a name. An image is none.
    fn read_form(
        &mut self,
        name: &[u8],
        encodings: &Encodings<'a>,
        resources: &[&'a Dictionary],
        depth: usize,
    ) {
        let document = self.document;
        let find = |resources: &&'a Dictionary| -> Option<&'a Object> {
            let objects = resources.get_deref(b"XObject", document).ok()?;
            objects.as_dict().ok()?.get_deref(name, document).ok()
        };
        let form = resources.iter().find_map(find);
        let Some(form) = form.and_then(|form| form.as_stream().ok()) else {
            return;
        };
        let kind = form.dict.get(b"Subtype").and_then(Object::as_name);
        if kind.ok() != Some(b"Form".as_slice()) || self.forms_left == 0 {
            return;
        }
        self.forms_left -= 1;
        let content = form
            .get_plain_content_with_limit(STREAM_MAX)
            .and_then(|content| Content::decode(&content));
        let Some(content) = self.sound(content) else {
            return;
        };
        let own = form.dict.get_deref(b"Resources", document);
        let Some(own) = own.ok().and_then(|own| own.as_dict().ok()) else {
            self.read(&content.operations, encodings, resources, depth);
            return;
        };
        let fonts = own.get_deref(b"Font", document);
        let fonts = fonts.ok().and_then(|fonts| fonts.as_dict().ok());
        let fonts = fonts.into_iter().flat_map(Dictionary::iter);
        let fonts = fonts.filter_map(|(name, font)| {
            let (_, font) = document.dereference(font).ok()?;
            Some((name.clone(), font.as_dict().ok()?))
        });
        let encodings = self.encodings(fonts.collect());
        self.read(&content.operations, &encodings, &[own], depth);
    }

    /// Adds the strings of an operator, with spaces where there are gaps between them.
    fn show(&mut self, operands: &[Object], encoding: Option<&Encoding<'a>>) {
        for operand in operands {
            match operand {
                Object::String(bytes, _) => {
                    let decoded =
                        encoding.and_then(|encoding| Document::decode_text(encoding, bytes).ok());
                    // A string in an unknown font is left out: its codes are no text.
                    self.text.push_str(&decoded.unwrap_or_default());
                }
                Object::Array(parts) => {
                    for part in parts {
                        match part {
                            Object::String(..) => self.show(std::slice::from_ref(part), encoding),
                            gap if number(Some(gap)) < -SPACE_MIN => self.space(),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn space(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with(char::is_whitespace) {
            self.text.push(' ');
        }
    }

    fn end_line(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }
}

fn number(object: Option<&Object>) -> f32 {
    let number = object.and_then(|object| object.as_float().ok());
    number.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// Returns a file with one page of this content, the fifth object, and these further objects and members of the trailer.
    fn file(content: &[u8], more: &str, trailer: &str) -> Vec<u8> {
        let stream = format!("<< /Length {} >>\nstream\n", content.len()).into_bytes();
        let page = "<< /Type /Page /Parent 2 0 R /Contents 5 0 R /Resources << /Font << /F1 3 0 R >> >> >>";
        let mut objects = [
            "<< /Type /Catalog /Pages 2 0 R >>",
            "<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
            "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
            page,
        ]
        .map(|object| object.as_bytes().to_vec())
        .to_vec();
        objects.push([&stream, content, b"\nendstream"].concat());
        objects.push(more.as_bytes().to_vec());
        let mut file = b"%PDF-1.5\n".to_vec();
        let mut table = "xref\n0 7\n0000000000 65535 f \n".to_owned();
        for (number, object) in (1..).zip(&objects) {
            writeln!(table, "{:010} 00000 n ", file.len()).unwrap();
            file.extend(format!("{number} 0 obj\n").bytes());
            file.extend(object);
            file.extend(b"\nendobj\n");
        }
        let start = file.len();
        let end =
            format!("trailer\n<< /Size 7 /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF\n");
        file.extend((table + &end).bytes());
        file
    }

    fn read(file: &[u8]) -> Result<Vec<String>, String> {
        let mut pages = Vec::new();
        let read = each_page(file, |page| {
            pages.push(page.to_owned());
            Ok(())
        });
        read.map_err(|error| error.to_string()).map(|()| pages)
    }

    #[test]
    fn a_file_without_a_text_says_why() {
        let text = b"BT /F1 12 Tf 10 10 Td (Hello) Tj ET\n";
        let good = file(text, "null", "");
        assert_eq!(read(&good), Ok(vec!["Hello\n".to_owned()]));
        // Its pages are images.
        let image = file(b"q 100 0 0 100 0 0 cm /Im1 Do Q", "null", "");
        assert_eq!(read(&image), Ok(vec![String::new()]));
        let stream = good.windows(6).position(|part| part == b"stream");
        let cut = read(&good[..stream.unwrap() + 20]).unwrap_err();
        assert!(cut.contains("damaged or cut off"), "{cut}");
        let early = read(&good[..30]).unwrap_err();
        assert!(early.contains("cannot be read"), "{early}");
        let bomb = file(&vec![b' '; STREAM_MAX + 1], "null", "");
        let bomb = read(&bomb).unwrap_err();
        assert!(bomb.contains("greater than 67108864 bytes"), "{bomb}");
        let (owner, user) = ("11".repeat(32), "22".repeat(32));
        let lock = format!(
            "<< /Filter /Standard /V 2 /R 3 /Length 128 /P -44 /O <{owner}> /U <{user}> >>"
        );
        let id = "00".repeat(16);
        let locked = file(text, &lock, &format!("/Encrypt 6 0 R /ID [<{id}><{id}>]"));
        let locked = read(&locked).unwrap_err();
        assert!(locked.contains("encrypted with a password"), "{locked}");
    }
}

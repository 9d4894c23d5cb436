//! The fields of a `multipart/form-data` body, found in one pass and not moved.
//!
//! Transcriptions send megabytes of sound in such a body. Admission needs the model's name and a few other short
//! fields; the rest is passed on unchanged. Source: RFC 7578 and RFC 2046, section 5.1.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;

/// The number of parts that one form may have; transcriptions have about ten.
const PARTS_MAX: usize = 128;
/// The bytes that the headers of one part may have.
const HEAD_SIZE_MAX: usize = 8 * 1024;
/// The bytes of a boundary (RFC 2046).
const BOUNDARY_SIZE_MAX: usize = 70;

/// The reason why a form cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The content type is not `multipart/form-data` with a boundary.
    #[error("the content type must be `multipart/form-data` with a boundary")]
    ContentType,
    /// The body does not have the parts that its boundary requires.
    #[error("the form ends before its last boundary or has a part without a name")]
    Malformed,
    /// There are too many parts.
    #[error("the form has more than {PARTS_MAX} parts")]
    TooManyParts,
}

#[derive(Debug)]
struct Part {
    name: String,
    /// The name of a file; `None` for a field.
    file: Option<String>,
    content: Range<usize>,
}

/// A form.
#[derive(Debug)]
pub struct Form {
    body: Bytes,
    parts: Vec<Part>,
}

impl Form {
    /// Reads a body with its content type.
    ///
    /// # Errors
    /// See [`FormError`].
    pub fn read(content_type: &str, body: Bytes) -> Result<Self, FormError> {
        let boundary = boundary(content_type).ok_or(FormError::ContentType)?;
        let delimiter = format!("\r\n--{boundary}");
        let finder = memmem::Finder::new(delimiter.as_bytes());
        let mut parts = Vec::new();
        // The first delimiter may be at the very beginning, without a line break before it.
        let mut at = if body.starts_with(&delimiter.as_bytes()[2..]) {
            delimiter.len() - 2
        } else {
            finder.find(&body).ok_or(FormError::Malformed)? + delimiter.len()
        };
        loop {
            let rest = &body[at..];
            if rest.starts_with(b"--") {
                return Ok(Self { body, parts });
            }
            // White space may follow a delimiter on its line.
            let line_end = memmem::find(rest, b"\r\n").ok_or(FormError::Malformed)?;
            if !rest[..line_end]
                .iter()
                .all(|byte| matches!(byte, b' ' | b'\t'))
            {
                return Err(FormError::Malformed);
            }
            // The line break of the delimiter also begins an empty header.
            let head = &rest[line_end..];
            let window = &head[..head.len().min(HEAD_SIZE_MAX)];
            let head_end = memmem::find(window, b"\r\n\r\n").ok_or(FormError::Malformed)?;
            let start = at + line_end + head_end + 4;
            let (name, file) = disposition(&head[..head_end]).ok_or(FormError::Malformed)?;
            let length = finder.find(&body[start..]).ok_or(FormError::Malformed)?;
            if parts.len() == PARTS_MAX {
                return Err(FormError::TooManyParts);
            }
            parts.push(Part {
                name,
                file,
                content: start..start + length,
            });
            at = start + length + delimiter.len();
        }
    }

    /// Returns the position of a field's value. Returns `None` if the form has no such field, or if it is a file.
    pub fn span(&self, name: &str) -> Option<Range<usize>> {
        let mut fields = self.parts.iter().filter(|part| part.file.is_none());
        let field = fields.find(|part| part.name == name)?;
        Some(field.content.clone())
    }

    /// Returns the value of a field. Returns `None` if there is none, or if it is not text.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.body.get(self.span(name)?)?).ok()
    }

    /// Returns the names and contents of the files with a name of a field, in their order.
    pub fn files(&self, name: &str) -> impl Iterator<Item = (&str, Bytes)> {
        let parts = self.parts.iter().filter(move |part| part.name == name);
        parts
            .filter_map(|part| Some((part.file.as_deref()?, self.body.slice(part.content.clone()))))
    }

    /// Returns the names of all parts, in their order; `true` for files.
    pub fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        let parts = self.parts.iter();
        parts.map(|part| (part.name.as_str(), part.file.is_some()))
    }

    /// Returns the bytes of all fields that are not files.
    pub fn text_size(&self) -> usize {
        let fields = self.parts.iter().filter(|part| part.file.is_none());
        fields.map(|part| part.content.len()).sum()
    }

    /// Returns `true` if more than one field has this name, so that two parsers could read different values.
    pub fn is_ambiguous(&self, name: &str) -> bool {
        self.parts.iter().filter(|part| part.name == name).count() > 1
    }
}

/// Returns the boundary in a content type.
fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let parameter = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("boundary")
            .then_some(value.trim())
    })?;
    let bare = parameter
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(parameter);
    (!bare.is_empty() && bare.len() <= BOUNDARY_SIZE_MAX).then_some(bare)
}

/// Returns the name of a part from its headers, and the name of its file if it is one. A name in the extended form (`filename*`) is not
/// decoded: the plain form, which clients send too, is preferred.
fn disposition(head: &[u8]) -> Option<(String, Option<String>)> {
    let head = String::from_utf8_lossy(head);
    let mut headers = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let (_, value) =
        headers.find(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))?;
    let name = parameter(value, "name")?;
    let file = parameter(value, "filename").or_else(|| parameter(value, "filename*"));
    Some((name, file))
}

/// Returns a parameter of a header value. A semicolon within quotes does not end it.
fn parameter(value: &str, key: &str) -> Option<String> {
    let mut rest = value;
    while let Some((_, after)) = rest.split_once(';') {
        let (name, mut text) = after.split_once('=')?;
        text = text.trim_start();
        let (content, behind) = match text.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => text.split_at(text.find(';').unwrap_or(text.len())),
        };
        if name.trim().eq_ignore_ascii_case(key) {
            return Some(content.trim().to_owned());
        }
        rest = behind;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=xyz";

    fn form(body: &str) -> Result<Form, FormError> {
        Form::read(TYPE, Bytes::from(body.to_owned()))
    }

    fn field(name: &str, value: &str) -> String {
        format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    }

    const FILE: &str = "--xyz\r\ncontent-disposition: form-data; filename=\"a;b.wav\"; name=\"file\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--xy\0\r\n";

    #[test]
    fn fields_are_found() {
        let body = format!(
            "{}{FILE}{}--xyz--\r\n",
            field("model", "whisper"),
            field("stream", "true")
        );
        let form = form(&body).unwrap();
        assert_eq!(
            (form.text("model"), form.text("stream")),
            (Some("whisper"), Some("true"))
        );
        assert_eq!((form.text("file"), form.text("none")), (None, None));
        let files: Vec<_> = form.files("file").collect();
        assert_eq!(files, [("a;b.wav", Bytes::from("RIFF\r\n--xy\0"))]);
        assert_eq!(form.files("model").count(), 0);
        let names: Vec<_> = form.names().collect();
        assert_eq!(names, [("model", false), ("file", true), ("stream", false)]);
        assert_eq!(form.text_size(), "whispertrue".len());
        let span = form.span("model").unwrap();
        assert_eq!(&body[span], "whisper");
    }

    #[test]
    fn a_name_that_occurs_twice_is_ambiguous() {
        let body = format!("{}{}--xyz--", field("model", "a"), field("model", "b"));
        assert!(form(&body).unwrap().is_ambiguous("model"));
        assert!(!form(&body).unwrap().is_ambiguous("file"));
    }

    #[test]
    fn what_is_not_a_form_is_refused() {
        let table = [
            "",
            "--xyz",
            "--xyz\r\n",
            "--xyz\r\n\r\nno name\r\n--xyz--",
            "--xyzzy\r\n\r\n--xyz--",
            "--xyz\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\nno end",
        ];
        for body in table {
            assert_eq!(form(body).unwrap_err(), FormError::Malformed, "{body:?}");
        }
        for content_type in [
            "application/json",
            "multipart/form-data",
            "multipart/mixed; boundary=xyz",
            "multipart/form-data; boundary=",
        ] {
            assert_eq!(
                Form::read(content_type, Bytes::new()).unwrap_err(),
                FormError::ContentType
            );
        }
        let many = field("a", "b").repeat(PARTS_MAX + 1) + "--xyz--";
        assert_eq!(form(&many).unwrap_err(), FormError::TooManyParts);
    }

    #[test]
    fn the_boundary_is_read_as_the_standard_writes_it() {
        for content_type in ["Multipart/Form-Data; charset=utf-8; Boundary=\"xyz\"", TYPE] {
            assert_eq!(boundary(content_type), Some("xyz"));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in "(--xyz|\r\n|content-disposition: form-data; name=|\"|;|a){0,20}") {
            drop(form(&body));
        }
    }
}

//! The tags of HTML without their attributes.
//!
//! Owns where tags, comments, scripts and titles end, as HTML says it; every byte is read a few times at most.

use std::collections::BTreeMap;

use super::SKIPPED;

/// HTML with tags that have no attributes, and without comments, scripts, styles and fields of forms.
#[derive(Debug, Default)]
pub(super) struct Plain {
    pub(super) html: String,
    /// How often the elements of [`SKIPPED`] end.
    pub(super) ends: BTreeMap<&'static str, usize>,
}

/// Leaves out the attributes of all tags, comments, and the content of scripts, styles and fields of forms, as HTML says where they
/// end. What `<` does not begin a tag is escaped, so that nothing else is a tag.
pub(super) fn plain_tags(html: &str) -> Plain {
    let mut plain = Plain {
        html: String::with_capacity(html.len()),
        ends: BTreeMap::new(),
    };
    // The elements without tags in them that do not end any more.
    let mut endless: Vec<&'static str> = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        plain.html.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let inner = rest.strip_prefix('/').unwrap_or(rest);
        if !inner.starts_with(|char: char| char.is_ascii_alphabetic()) {
            let is_comment =
                rest.starts_with(['!', '?']) || (rest.starts_with('/') && rest.len() > 1);
            if is_comment {
                rest = &rest[comment(rest)..];
            } else {
                plain.html.push_str("&lt;");
            }
            continue;
        }
        let is_end = rest.len() != inner.len();
        let Some(tag) = Tag::read(inner) else {
            // The file ends within it.
            rest = "";
            break;
        };
        rest = &inner[tag.size..];
        plain.push(&tag, is_end);
        let raw = ["script", "style", "textarea", "title"]
            .into_iter()
            .find(|raw| *raw == tag.name && !is_end && !tag.is_self_closing);
        let Some(raw) = raw else {
            continue;
        };
        let size = (!endless.contains(&raw))
            .then(|| end_of(rest, raw))
            .flatten();
        let size = match (size, raw) {
            (Some(size), _) => size,
            (None, "script" | "style") => rest.len(),
            (None, _) => {
                endless.push(raw);
                continue;
            }
        };
        if raw == "title" {
            plain.html.push_str(&rest[..size].replace('<', "&lt;"));
        }
        rest = &rest[size..];
    }
    plain.html.push_str(rest);
    plain
}

impl Plain {
    fn push(&mut self, tag: &Tag, is_end: bool) {
        self.html.push_str(if is_end { "</" } else { "<" });
        self.html.push_str(&tag.name);
        let is_self_closing = tag.is_self_closing && !is_end;
        self.html.push_str(if is_self_closing { "/>" } else { ">" });
        let skipped = SKIPPED.iter().find(|name| is_end && **name == tag.name);
        if let Some(name) = skipped {
            *self.ends.entry(name).or_default() += 1;
        }
    }
}

/// A tag behind its `<` or `</`.
struct Tag {
    name: String,
    is_self_closing: bool,
    /// The bytes up to and with its `>`.
    size: usize,
}

impl Tag {
    /// Reads a tag; `None` if it does not end.
    fn read(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let ends_name = |byte: &u8| is_space(*byte) || matches!(byte, b'/' | b'>');
        let mut at = bytes.iter().position(ends_name)?;
        let name = text[..at].to_ascii_lowercase();
        let mut is_self_closing = false;
        loop {
            let spaces = bytes[at..].iter().position(|byte| !is_space(*byte))?;
            is_self_closing &= spaces == 0;
            at += spaces;
            match bytes[at] {
                b'>' => {
                    return Some(Self {
                        name,
                        is_self_closing,
                        size: at + 1,
                    });
                }
                b'/' => {
                    is_self_closing = true;
                    at += 1;
                }
                _ => {
                    is_self_closing = false;
                    at = Self::attribute(bytes, at)?;
                }
            }
        }
    }

    /// Returns the place behind the attribute that begins at a place.
    fn attribute(bytes: &[u8], start: usize) -> Option<usize> {
        let ends_name = |byte: &u8| is_space(*byte) || matches!(byte, b'/' | b'>' | b'=');
        // Its first character may be any.
        let name = start + 1 + bytes[start + 1..].iter().position(ends_name)?;
        let equals = name + bytes[name..].iter().position(|byte| !is_space(*byte))?;
        if bytes[equals] != b'=' {
            return Some(name);
        }
        let value = &bytes[equals + 1..];
        let begin = value.iter().position(|byte| !is_space(*byte))?;
        let quote = value[begin];
        let size = match quote {
            b'"' | b'\'' => {
                let inner = &value[begin + 1..];
                begin + inner.iter().position(|byte| *byte == quote)? + 2
            }
            b'>' => begin,
            _ => {
                let inner = &value[begin..];
                let end = |byte: &u8| is_space(*byte) || *byte == b'>';
                begin + inner.iter().position(end)?
            }
        };
        Some(equals + 1 + size)
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\x0c')
}

/// Returns the size of a comment or declaration behind its `<`.
fn comment(text: &str) -> usize {
    let Some(inner) = text.strip_prefix("!--") else {
        return text.find('>').map_or(text.len(), |at| at + 1);
    };
    let empty = [">", "->"].into_iter().find(|end| inner.starts_with(end));
    if let Some(end) = empty {
        return 3 + end.len();
    }
    let mut ends = inner.match_indices('>').map(|(at, _)| at);
    let end = ends.find(|at| inner[..*at].ends_with("--") || inner[..*at].ends_with("--!"));
    end.map_or(text.len(), |at| 3 + at + 1)
}

/// Returns the place of the end tag of an element in whose content there are no tags.
fn end_of(text: &str, name: &str) -> Option<usize> {
    text.match_indices("</").find_map(|(at, _)| {
        let behind = text.as_bytes().get(at + 2..at + 2 + name.len())?;
        let next = text.as_bytes().get(at + 2 + name.len());
        let ends = next.is_none_or(|byte| is_space(*byte) || matches!(byte, b'/' | b'>'));
        (behind.eq_ignore_ascii_case(name.as_bytes()) && ends).then_some(at)
    })
}

//! The headers that say what was found for a call.

use std::fmt::Write as _;

use actix_web::http::header::HeaderValue;
use kebne_collections::Source;
use serde_json::json;

use crate::sources::{Unranked, Ways};

/// The most bytes of the header that names the sources; further ones are left out of it.
const HEADER_MAX: usize = 6 << 10;

/// Returns the header that names the sources, the best first: a JSON list in ASCII.
pub(super) fn sources(sources: &[Source]) -> Option<HeaderValue> {
    let mut list = String::from("[");
    for source in sources {
        let score = (f64::from(source.score) * 1000.0).round() / 1000.0;
        let item = json!({
            "vector_store_id": source.collection, "file_id": source.file, "filename": source.name,
            "chunk": source.place, "score": score,
        });
        let item = ascii(&item.to_string());
        if list.len() + item.len() + 2 > HEADER_MAX {
            break;
        }
        if list.len() > 1 {
            list.push(',');
        }
        list.push_str(&item);
    }
    list.push(']');
    HeaderValue::try_from(list).ok()
}

/// Escapes the characters of a JSON text that are not ASCII.
fn ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for char in json.chars() {
        if char.is_ascii() && char != '\u{7f}' {
            escaped.push(char);
            continue;
        }
        for unit in char.encode_utf16(&mut [0; 2]) {
            let _always_written = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

/// Returns the header that says how the sources came into the prompt: their number, how many did not fit, and what gave them their order.
pub(super) fn retrieval(sent: usize, left_out: usize, ways: &[Ways]) -> Option<HeaderValue> {
    let mut text = format!("chunks={sent}, left-out={left_out}");
    for (model, result) in ways.iter().filter_map(|ways| ways.ranked.as_ref()) {
        let word = result.map_or_else(Unranked::word, |()| "ok");
        // Writing to a string does not fail.
        let _always_written = write!(text, ", ranker={}, rank={word}", ascii(model));
    }
    if ways.iter().any(|ways| ways.coverage.words_only.is_some()) {
        text.push_str(", vectors=none");
    } else if ways.iter().any(|ways| ways.coverage.waiting > 0) {
        text.push_str(", vectors=partial");
    }
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, text: &str) -> Source {
        Source {
            collection: "vs_1".to_owned(),
            file: "file-1".to_owned(),
            name: name.to_owned(),
            attributes: kebne_collections::Attributes::new(),
            place: 3,
            headings: vec!["A\nB".to_owned()],
            text: text.to_owned(),
            score: 0.98765,
            cosine: None,
        }
    }

    #[test]
    fn the_header_is_json_in_ascii_and_bounded() {
        let header_of = |list: &[Source]| sources(list).unwrap().to_str().unwrap().to_owned();
        assert_eq!(header_of(&[]), "[]");
        let one = header_of(&[source("Åre 😀.md", "x")]);
        let read: serde_json::Value = serde_json::from_str(&one).unwrap();
        assert_eq!(read[0]["filename"], "Åre 😀.md");
        assert_eq!(
            (&read[0]["score"], &read[0]["chunk"]),
            (&json!(0.988), &json!(3))
        );
        let many = vec![source(&"ö".repeat(200), "x"); 50];
        let read: serde_json::Value = serde_json::from_str(&header_of(&many)).unwrap();
        assert!(read.as_array().unwrap().len() > 2);
    }

    #[test]
    fn the_way_of_the_search_is_told() {
        let of = |ways: &[Ways]| retrieval(3, 1, ways).unwrap().to_str().unwrap().to_owned();
        assert_eq!(of(&[]), "chunks=3, left-out=1");
        let mut ways = Ways {
            ranked: Some(("räv".to_owned(), Err(Unranked::Slow))),
            ..Ways::default()
        };
        ways.coverage.words_only = Some("x".to_owned());
        assert_eq!(
            of(&[ways]),
            "chunks=3, left-out=1, ranker=r\\u00e4v, rank=timeout, vectors=none"
        );
        let ranked = Ways {
            ranked: Some(("m".to_owned(), Ok(()))),
            ..Ways::default()
        };
        assert_eq!(of(&[ranked]), "chunks=3, left-out=1, ranker=m, rank=ok");
    }
}

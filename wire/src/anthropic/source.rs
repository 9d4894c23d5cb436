//! The source of an image or a document in a Messages request.

use serde_json::{Value, json};

use crate::translate::{InvalidField, Path};

/// The beginnings, in base64, of the formats of images that Anthropic's API takes.
const FORMATS: [(&str, &str); 4] = [
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
];

/// Returns the source of an image or a document: the bytes of a `data:` URL, or the URL.
///
/// Anthropic's API refuses a media type that is not that of the image, has parameters or is written in another way
/// than it expects. Other servers ignore the media type.
pub(super) fn source(url: &str, path: Path<'_>) -> Result<Value, InvalidField> {
    let Some(rest) = url.strip_prefix("data:") else {
        return Ok(json!({"type": "url", "url": url}));
    };
    let Some((label, data)) = rest.split_once(";base64,") else {
        return Err(InvalidField::at(path, "must be base64 if it is a data URL"));
    };
    let data = data.trim();
    let format = FORMATS.iter().find(|(start, _)| data.starts_with(start));
    let media_type = format.map_or_else(|| media_type_of(label), |(_, kind)| (*kind).to_owned());
    Ok(json!({"type": "base64", "media_type": media_type, "data": data}))
}

/// Returns the media type of a label, without parameters and under its registered name.
fn media_type_of(label: &str) -> String {
    let (kind, _) = label.split_once(';').unwrap_or((label, ""));
    let kind = kind.trim().to_ascii_lowercase();
    match kind.as_str() {
        "image/jpg" | "image/pjpeg" => "image/jpeg".to_owned(),
        "image/x-png" => "image/png".to_owned(),
        "application/x-pdf" => "application/pdf".to_owned(),
        _ => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_is_that_of_the_bytes_or_the_registered_name_of_the_label() {
        for (url, media_type) in [
            ("data:image/png;base64,AAAA", "image/png"),
            ("data:image/jpg;base64,AAAA", "image/jpeg"),
            ("data:Image/PNG;base64,AAAA", "image/png"),
            ("data:image/png;charset=utf-8;base64,AAAA", "image/png"),
            (
                "data:application/pdf;name=a.pdf;base64,JVBE",
                "application/pdf",
            ),
            ("data:image/png;base64,/9j/4AAQ", "image/jpeg"),
            ("data:image/jpg;base64, iVBORw0KGgoAAAAN\n", "image/png"),
            (
                "data:application/octet-stream;base64,UklGRiQA",
                "image/webp",
            ),
            ("data:;base64,R0lGODlh", "image/gif"),
        ] {
            let source = source(url, Path::Root).unwrap();
            assert_eq!(source["media_type"], media_type, "{url}");
        }
        let source = source("data:image/jpg;base64, iVBORw0KGgoAAAAN\n", Path::Root).unwrap();
        assert_eq!(source["data"], "iVBORw0KGgoAAAAN");
    }
}

//! Content parts of a Responses request as parts of a chat message.

use serde_json::{Map, Value, json};

use crate::translate::{Fields, InvalidField, Omitted, Path, text_part};

/// Returns the chat parts of a content: a string or a list of parts.
pub(super) fn parts(
    content: Value,
    path: Path<'_>,
    omitted: &mut Omitted,
) -> Result<Vec<Value>, InvalidField> {
    let parts = match content {
        Value::String(text) => return Ok(vec![text_part(text)]),
        Value::Array(parts) => parts,
        _ => return Err(InvalidField::at(path, "must be a string or a list")),
    };
    let parts = parts.into_iter().enumerate();
    let parts = parts.map(|(index, value)| part(value, path.index(index), omitted));
    parts.collect()
}

fn part(value: Value, path: Path<'_>, omitted: &mut Omitted) -> Result<Value, InvalidField> {
    let mut part = Fields::of(value, path)?;
    let kind = part.require_text("type")?;
    let target = match kind.as_str() {
        "input_text" | "output_text" | "text" => {
            // Where an earlier answer took its words from, and how sure it was of them; the words are there.
            for key in ["annotations", "logprobs"] {
                let noted = part.take_list(key)?;
                if noted.is_some_and(|noted| !noted.is_empty()) {
                    omitted.add(key);
                }
            }
            text_part(part.require_text("text")?)
        }
        "refusal" => json!({"type": "refusal", "refusal": part.require_text("refusal")?}),
        "input_image" => {
            let mut image = Map::new();
            let url = part.take_text("image_url")?;
            let url = url.ok_or_else(|| missing(&part, "image_url", "file_id"))?;
            image.insert("url".to_owned(), url.into());
            if let Some(detail) = part.take_text("detail")? {
                image.insert("detail".to_owned(), detail.into());
            }
            json!({"type": "image_url", "image_url": image})
        }
        "input_file" => {
            let mut file = Map::new();
            let data = part.take_text("file_data")?;
            let data = data.ok_or_else(|| {
                let other = if part.get("file_url").is_some() {
                    "file_url"
                } else {
                    "file_id"
                };
                missing(&part, "file_data", other)
            })?;
            if let Some(name) = part.take_text("filename")? {
                file.insert("filename".to_owned(), name.into());
            }
            file.insert("file_data".to_owned(), data.into());
            json!({"type": "file", "file": file})
        }
        "input_audio" => {
            json!({"type": "input_audio", "input_audio": part.require("input_audio")?})
        }
        "input_video" => {
            json!({"type": "video_url", "video_url": {"url": part.require_text("video_url")?}})
        }
        _ => return Err(InvalidField::unsupported(path.key("type"))),
    };
    part.refuse_rest()?;
    Ok(target)
}

/// Returns the error of a part that names its content in a way that only the provider can follow, or not at all.
fn missing(part: &Fields<'_>, wanted: &str, other: &str) -> InvalidField {
    if part.get(other).is_some() {
        return InvalidField::unsupported(part.path().key(other));
    }
    part.wrong(wanted, "is missing")
}

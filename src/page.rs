//! The live page: its files, embedded in the program.
//!
//! Plain ES modules and style sheets, written by hand; nothing is built. The page asks only this gateway (`/live`, `/v1/models`,
//! `/v1/chat/completions`, the operators' endpoints) and loads nothing else.

use std::sync::OnceLock;

use sha2::{Digest, Sha256};

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// One file of the page.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// The name below `/page/`.
    pub name: &'static str,
    /// The media type.
    pub content_type: &'static str,
    /// The content.
    pub text: &'static str,
}

macro_rules! file {
    ($name:literal, $content_type:expr) => {
        File {
            name: $name,
            content_type: $content_type,
            text: include_str!(concat!("page/", $name)),
        }
    };
}

/// The files of the page. The first one is the page itself.
const FILES: [File; 11] = [
    file!("index.html", "text/html; charset=utf-8"),
    file!("style.css", "text/css; charset=utf-8"),
    file!("icon.svg", "image/svg+xml"),
    file!("main.js", JAVASCRIPT),
    file!("feed.js", JAVASCRIPT),
    file!("dom.js", JAVASCRIPT),
    file!("charts.js", JAVASCRIPT),
    file!("lanes.js", JAVASCRIPT),
    file!("servers.js", JAVASCRIPT),
    file!("service.js", JAVASCRIPT),
    file!("try.js", JAVASCRIPT),
];

/// The page with the entity tags of its files.
#[derive(Debug, Default)]
pub struct Page {
    /// In the order of the files; computed when the first file is asked for.
    tags: OnceLock<Vec<String>>,
}

impl Page {
    /// Returns a file and its entity tag.
    pub fn file(&self, name: &str) -> Option<(File, &str)> {
        let tags = self.tags.get_or_init(|| FILES.iter().map(tag).collect());
        let mut files = FILES.iter().zip(tags);
        let (file, tag) = files.find(|(file, _)| file.name == name)?;
        Some((*file, tag))
    }
}

/// Returns the entity tag of a file, a hash of its content.
fn tag(file: &File) -> String {
    let mut hash = hex::encode(Sha256::digest(file.text));
    hash.truncate(32);
    format!("\"{hash}\"")
}

#[cfg(test)]
mod tests {
    use kebne_lane::Ending;

    use super::*;

    #[test]
    fn the_chart_has_a_layer_and_a_colour_for_each_ending() {
        let page = Page::default();
        let text = |name: &str| page.file(name).unwrap().0.text;
        let (script, style) = (text("lanes.js"), text("style.css"));
        let list = script.split("const ENDINGS = [").nth(1).unwrap();
        let listed: Vec<&str> = list.split(']').next().unwrap().split(", ").collect();
        let endings = Ending::ALL.map(|ending| format!("\"{}\"", ending.label()));
        assert_eq!(listed, endings);
        for ending in Ending::ALL {
            let label = ending.label();
            assert!(
                style.contains(&format!(".{label} {{ --colour: var(--{label}); }}")),
                "{label}"
            );
            assert!(
                style.contains(&format!("\n  --{label}: light-dark(")),
                "{label}"
            );
        }
    }
}

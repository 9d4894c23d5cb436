//! The reference of the rules, for the documentation.

use std::fmt::Write as _;

use crate::{Access, Rule};

/// Returns the reference of all rules in Markdown: a sentence, when an alert opens, what it means, and what to do.
pub fn reference() -> String {
    let mut text = String::new();
    for rule in Rule::ALL {
        let it = rule.text();
        // Writing to a string does not fail.
        let _always_written = write!(
            text,
            "\n### `{}`\n> {}\n\n- **Severity**: {}\n- **Opens when** {}.\n- **Closes** {} s after that is over.\n- **Means**: {}\n- **Do**: {}\n",
            it.name,
            it.example,
            it.severity.name(),
            it.condition,
            it.closes_after.as_secs(),
            it.meaning,
            rule.action("NAME", &Access::default()),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Precedes the reference in the documentation.
    const MARK: &str = "<!-- What follows is written by `KEBNE_WRITE_DOCS=1 cargo test -p kebne-monitor reference`. -->\n";

    #[test]
    fn the_documentation_has_the_reference_that_the_code_writes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/alerts.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (before, written) = page.split_once(MARK).unwrap();
        if std::env::var_os("KEBNE_WRITE_DOCS").is_some() {
            std::fs::write(path, [before, MARK, &reference()].concat()).unwrap();
        } else {
            assert_eq!(written, reference());
        }
    }
}

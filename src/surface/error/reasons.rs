//! The reason codes that callers and operators see, with what they mean and what to do. `docs/operating/reasons.md` is
//! written from this list.

mod list;

use std::fmt::Write as _;

use list::{ATTEMPTS, CALLERS, FAILURES, REFUSALS};

/// One reason code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The code, as in the header `x-kebne-reason` and in the logs.
    pub code: &'static str,
    /// The statuses of answers with it; empty if it names the cause of an attempt only.
    pub status: &'static str,
    /// What has happened.
    pub meaning: &'static str,
    /// What to do.
    pub action: &'static str,
}

/// A table of the page: its heading, an introduction, and its rows.
type Table = (&'static str, &'static str, &'static [Reason]);

/// All tables of the page.
const TABLES: &[Table] = &[
    (
        "Refused calls",
        "The call did not begin, or was ended for lack of room. Most answers have `Retry-After`.",
        REFUSALS,
    ),
    (
        "Failed calls",
        "The call was admitted and did not succeed.",
        FAILURES,
    ),
    (
        "Faults of requests",
        "The request cannot succeed as it is.",
        CALLERS,
    ),
    (
        "Causes of attempts",
        "These are not sent to callers. They follow the class of an attempt in the request log (`attempts`) and in the \
         traces; other codes of this page occur there too.",
        ATTEMPTS,
    ),
];

/// Returns all reason codes.
pub fn all() -> impl Iterator<Item = &'static Reason> {
    TABLES.iter().flat_map(|(_, _, rows)| rows.iter())
}

/// Returns the code for a fault of a request with this name.
pub(super) fn of_request(name: &str) -> Option<&'static str> {
    let mut codes = CALLERS.iter().map(|reason| reason.code);
    codes.find(|code| *code == name)
}

/// Returns the tables in Markdown.
pub fn reference() -> String {
    let mut text = String::new();
    for (heading, introduction, rows) in TABLES {
        let has_status = rows.iter().any(|row| !row.status.is_empty());
        let (status, line) = if has_status {
            ("| status ", "|---")
        } else {
            ("", "")
        };
        // Writing to a string does not fail.
        let _always_written = write!(
            text,
            "\n## {heading}\n{introduction}\n\n| reason {status}| means | do |\n|---{line}|---|---|\n",
        );
        for row in *rows {
            let status = if has_status {
                format!("| {} ", row.status)
            } else {
                String::new()
            };
            let _always_written = writeln!(
                text,
                "| `{}` {status}| {} | {} |",
                row.code, row.meaning, row.action
            );
        }
    }
    text
}

#[cfg(test)]
mod tests;

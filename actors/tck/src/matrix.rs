//! The outcome of many runs: the counts for the terminal, the table for the docs.

use std::fmt::Write as _;

use crate::{
    case::{CaseResult, Failure, Level, Stance},
    registry::AnyCase,
};

/// Where the generated part of the page begins and ends.
const BEGIN: &str = "<!-- begin: written by kebne-tck --all --write -->";
const END: &str = "<!-- end: written by kebne-tck -->";

/// How all cases ended on all libraries.
#[derive(Debug)]
pub struct Matrix {
    /// The libraries with their versions, in the order of the columns.
    pub libraries: Vec<(&'static str, &'static str)>,
    /// The cases, in the order of the rows, each with one verdict for each library.
    pub rows: Vec<(AnyCase, Vec<CaseResult>)>,
}

/// How many cases passed, failed and did not apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Cases that passed.
    pub passed: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Cases that do not apply.
    pub not_applicable: usize,
}

impl Matrix {
    /// Counts the outcomes of the library in `column`, at one level or all.
    pub fn counts(&self, column: usize, level: Option<Level>) -> Counts {
        let mut counts = Counts::default();
        for (case, verdicts) in &self.rows {
            if level.is_some_and(|level| case.level != level) {
                continue;
            }
            match verdicts.get(column) {
                Some(Ok(())) => counts.passed += 1,
                Some(Err(Failure::Failed(_))) => counts.failed += 1,
                Some(Err(Failure::NotApplicable(_))) | None => counts.not_applicable += 1,
            }
        }
        counts
    }

    /// Writes the counts of each level and library as a table in Markdown.
    pub fn summary(&self) -> String {
        let mut text = String::from("| level |");
        for (name, version) in &self.libraries {
            let _never_fails = write!(text, " {name} {version} |");
        }
        text.push_str("\n|---|");
        text.push_str(&"---|".repeat(self.libraries.len()));
        let present = |level: &Level| self.rows.iter().any(|(case, _)| case.level == *level);
        let levels: Vec<_> = Level::ALL.into_iter().filter(present).collect();
        for level in levels {
            let _never_fails = write!(text, "\n| {level}: {} |", level.about());
            self.write_counts(&mut text, Some(level));
        }
        text.push_str("\n| **all** |");
        self.write_counts(&mut text, None);
        text.push('\n');
        text
    }

    fn write_counts(&self, text: &mut String, level: Option<Level>) {
        for column in 0..self.libraries.len() {
            let counts = self.counts(column, level);
            let Counts {
                passed,
                failed,
                not_applicable,
            } = counts;
            let _never_fails = write!(text, " {passed} / {failed} / {not_applicable} |");
        }
    }

    /// Writes every case with its outcomes as tables in Markdown, one for each level.
    pub fn details(&self) -> String {
        let mut text = String::new();
        for level in Level::ALL {
            let mut rows = self.rows.iter().filter(|(case, _)| case.level == level);
            let Some(first) = rows.next() else { continue };
            let _never_fails = write!(
                text,
                "\n### {level}: {}\n\n| case | follows |",
                level.about()
            );
            for (name, _) in &self.libraries {
                let _never_fails = write!(text, " {name} |");
            }
            text.push_str("\n|---|---|");
            text.push_str(&"---|".repeat(self.libraries.len()));
            for (case, verdicts) in std::iter::once(first).chain(rows) {
                let mark = match case.stance {
                    Stance::Same => String::new(),
                    Stance::Different(_) => " (differs)".to_owned(),
                    Stance::Trap(trap) => format!(" ({trap})"),
                };
                let name = case.name.replace('_', " ");
                let _never_fails = write!(text, "\n| {name}{mark} | {} |", case.topic);
                for verdict in verdicts {
                    let _never_fails = write!(text, " {} |", sign(verdict));
                }
            }
            text.push('\n');
        }
        text
    }

    /// Writes the deliberate differences as a list in Markdown.
    pub fn differences(&self) -> String {
        let mut text = String::new();
        for (case, _) in &self.rows {
            if let Stance::Different(why) = case.stance {
                let name = case.name.replace('_', " ");
                let _never_fails = writeln!(text, "- {} ({}): {why}.", name, case.topic);
            }
        }
        text
    }

    /// Writes why cases failed, one line each.
    pub fn failures(&self) -> String {
        let mut text = String::new();
        for (case, verdicts) in &self.rows {
            for ((library, _), verdict) in self.libraries.iter().zip(verdicts) {
                if let Err(Failure::Failed(why)) = verdict {
                    let _never_fails = writeln!(text, "{library}: {}: {why}", case.name);
                }
            }
        }
        text
    }

    /// Writes why cases failed as a list in Markdown.
    fn list_of_failures(&self) -> String {
        let mut text = String::new();
        for line in self.failures().lines() {
            let mut parts = line.splitn(3, ": ");
            let (library, case, why) = (parts.next(), parts.next(), parts.next());
            let case = case.unwrap_or_default().replace('_', " ");
            let (library, why) = (library.unwrap_or_default(), why.unwrap_or_default());
            let _never_fails = writeln!(text, "- **{library}**, {case}: `{why}`");
        }
        text
    }

    /// Puts the generated part into `page`, in place of the one that is there; `None` if it has no place for it.
    pub fn write_into(&self, page: &str, as_of: &str) -> Option<String> {
        let (before, rest) = page.split_once(BEGIN)?;
        let (_, after) = rest.split_once(END)?;
        Some(format!(
            "{before}{BEGIN}\nAs of {as_of}; each cell counts passed / failed / not applicable.\n\n{}\n\
             ## What failed, and how\n\n{}\n## Deliberate differences\n\n{}\n## Every case\n{}{END}{after}",
            self.summary(),
            self.list_of_failures(),
            self.differences(),
            self.details(),
        ))
    }
}

fn sign(verdict: &CaseResult) -> &'static str {
    match verdict {
        Ok(()) => "passed",
        Err(Failure::Failed(_)) => "**failed**",
        Err(Failure::NotApplicable(_)) => "–",
    }
}

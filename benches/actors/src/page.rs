//! The table, on the terminal and in `docs/actor-numbers.md`.

use std::{fmt::Write as _, path::Path, process::Command};

use crate::{
    cases::Case,
    rounds::{Rounds, Spread},
};

/// What stands around the part of the page that is written.
const MARKS: [&str; 2] = ["<!-- compared: begin -->\n", "<!-- compared: end -->\n"];

#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

/// Writes a number with three digits that count.
fn number(value: f64) -> String {
    match value {
        value if value >= 1e4 => {
            let mut digits = format!("{value:.0}");
            let mut at = digits.len();
            while at > 3 {
                at -= 3;
                digits.insert(at, ',');
            }
            digits
        }
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn range(spread: Spread) -> String {
    format!("({} to {})", number(spread.least), number(spread.greatest))
}

fn scaled(spread: Spread, factor: f64) -> Spread {
    Spread {
        least: spread.least * factor,
        median: spread.median * factor,
        greatest: spread.greatest * factor,
    }
}

/// Writes what a library gave, and how many times what Kebne gave that is.
fn cell(case: Case, kebne: &Rounds, other: Option<&Rounds>) -> String {
    let (unit, factor) = case.unit();
    let Some(spread) = other.unwrap_or(kebne).spread() else {
        return "–".to_owned();
    };
    if spread.median.is_infinite() {
        return "no answer".to_owned();
    }
    let spread = scaled(spread, factor);
    let absolute = format!("{} {unit}", number(spread.median));
    match other.and_then(|other| other.over(kebne).spread()) {
        Some(ratio) => format!("{absolute}; **{}** {}", number(ratio.median), range(ratio)),
        None => format!("{absolute} {}", range(spread)),
    }
}

impl Table {
    pub(crate) fn new(names: &[&str]) -> Self {
        let mut head = vec!["case".to_owned()];
        head.extend(names.iter().map(|name| (*name).to_owned()));
        Self { rows: vec![head] }
    }

    /// Adds a row; the first of `measured` is Kebne's.
    pub(crate) fn add(&mut self, case: Case, measured: &[Rounds]) {
        let Some((kebne, others)) = measured.split_first() else {
            return;
        };
        let mut row = vec![case.name().to_owned(), cell(case, kebne, None)];
        row.extend(others.iter().map(|other| cell(case, kebne, Some(other))));
        self.rows.push(row);
    }

    /// Returns the table as Markdown.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (at, row) in self.rows.iter().enumerate() {
            let _written = writeln!(text, "| {} |", row.join(" | "));
            if at == 0 {
                let rules = vec!["---"; row.len()].join("|");
                let _written = writeln!(text, "|{rules}|");
            }
        }
        text
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// Replaces the table in `docs/actor-numbers.md`.
pub(crate) fn write(table: &Table) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/actor-numbers.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(MARKS[0]).unwrap();
    let (_, after) = rest.split_once(MARKS[1]).unwrap();
    let cores = std::thread::available_parallelism().unwrap();
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let processor = processor
        .lines()
        .find(|line| line.starts_with("model name"));
    let processor = processor.and_then(|line| line.split_once(": "));
    let processor = processor.map_or("an unknown processor", |(_, name)| name);
    let (date, rust) = (
        output("date", &["+%Y-%m-%d"]),
        output("rustc", &["--version"]),
    );
    let rust = rust.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let head = format!("{date}, {cores} cores ({processor}), {rust}, release profile:");
    let [begin, end] = MARKS;
    let text = table.text();
    std::fs::write(path, format!("{before}{begin}{head}\n\n{text}{end}{after}")).unwrap();
}

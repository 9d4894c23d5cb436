//! Ablation: takes the parts of the law out in turn, and compares each with the whole law on the same calls.
//!
//! Six suites: the named scenarios, their mixed variants, random scenarios, random mixed ones, random jobs and random engines. The seeds
//! are arguments, so that each ablation can use seeds that nothing else was judged on.

use kebne_control::{Part, Without};

use crate::sim::bench::{Plan, Row, compare};
use crate::sim::cli::CliError;
use crate::sim::entrant::{self, Entrant};
use crate::sim::number::{mean, real};
use crate::sim::scenario::Scenario;
use crate::sim::score::Score;
use crate::sim::{engines, jobs, mixed, random, suite};

/// The options of `ablate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Ablate {
    /// Take out only these parts, by their names in the code; all if none is given.
    #[arg(long, value_delimiter = ',')]
    parts: Vec<String>,
    /// Take the parts out together instead of in turn.
    #[arg(long)]
    together: bool,
    /// Parts that are out in every run, those of the whole law included.
    #[arg(long, value_delimiter = ',')]
    base: Vec<String>,
    /// The seed of the named scenarios; the random ones are drawn from 10 times it on.
    #[arg(long, default_value_t = 7001)]
    seed: u64,
    /// Number of seeds of each named scenario.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Number of random scenarios of each suite.
    #[arg(long, default_value_t = 100)]
    random: u64,
    /// Number of worker threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// Finds parts by their names in the code.
fn find(names: &[String]) -> Result<Vec<Part>, CliError> {
    let same = |part: &Part, name: &String| format!("{part:?}").eq_ignore_ascii_case(name);
    let find = |name: &String| {
        let found = Part::ALL.iter().copied().find(|part| same(part, name));
        found.ok_or_else(|| CliError::Part {
            name: name.clone(),
            known: Part::ALL
                .iter()
                .map(|part| format!("{part:?}"))
                .collect::<Vec<_>>()
                .join(", "),
        })
    };
    names.iter().map(find).collect()
}

/// Scenarios that are compared together.
struct Suite {
    name: &'static str,
    scenarios: Vec<Scenario>,
    seeds: Vec<u64>,
}

/// Returns the suites. The soak scenario takes as long as all others together and is left out.
fn suites(options: &Ablate) -> Result<Vec<Suite>, CliError> {
    let named: Vec<Scenario> = suite::named()?
        .into_iter()
        .filter(|scenario| scenario.duration < 1000.0)
        .collect();
    let variants = named.iter().map(mixed::variant).collect();
    let seeds: Vec<u64> = (0..options.seeds).map(|i| options.seed + i).collect();
    let suite = |name, scenarios| Suite {
        name,
        scenarios,
        seeds: seeds.clone(),
    };
    let first = 10 * options.seed;
    let drawn = |name, draw: fn(u64) -> Scenario| Suite {
        name,
        scenarios: (first..first + options.random).map(draw).collect(),
        seeds: vec![options.seed],
    };
    Ok(vec![
        suite("named", named),
        suite("mixed variants", variants),
        drawn("random", random::draw),
        drawn("mixed random", mixed::draw),
        drawn("jobs", jobs::draw),
        drawn("engines", engines::draw),
    ])
}

/// Runs the ablation and returns its table in Markdown.
pub(crate) fn run(options: &Ablate) -> Result<String, CliError> {
    let parts = if options.parts.is_empty() {
        Part::ALL.to_vec()
    } else {
        find(&options.parts)?
    };
    let base = find(&options.base)?
        .into_iter()
        .fold(Without::nothing(), Without::and);
    let Some(law) = entrant::find("kebne") else {
        return Ok(String::new());
    };
    let without = |without| Entrant { without, ..law };
    let mut entrants = vec![without(base)];
    if options.together {
        entrants.push(without(parts.iter().copied().fold(base, Without::and)));
    } else {
        entrants.extend(parts.iter().map(|part| without(base.and(*part))));
    }
    let mut names = Vec::new();
    let mut measured = Vec::new();
    for suite in suites(options)? {
        names.push(suite.name);
        measured.push(compare(&Plan {
            scenarios: suite.scenarios,
            entrants: entrants.clone(),
            seeds: suite.seeds,
            threads: options.threads,
            bar: true,
        }));
    }
    let mut lines = vec![
        format!(
            "| without | lines | constants | {} | success | lost |",
            names.join(" | ")
        ),
        format!("|{}", "---|".repeat(names.len() + 5)),
        line("(nothing)", None, 0, &measured),
    ];
    let sum = |parts: &[Part]| {
        let sizes = parts.iter().map(|part| part.size());
        sizes.fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1))
    };
    if options.together {
        lines.push(line("all of these", Some(sum(&parts)), 1, &measured));
    } else {
        for (index, part) in parts.iter().enumerate() {
            lines.push(line(part.name(), Some(part.size()), index + 1, &measured));
        }
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// Writes the line of an entrant: its means if it is the first, else its differences to the first.
fn line(name: &str, size: Option<(u32, u32)>, index: usize, suites: &[Vec<Row>]) -> String {
    let (lines, constants) = size.map_or((String::new(), String::new()), |(lines, constants)| {
        (lines.to_string(), constants.to_string())
    });
    let mut cells = vec![name.to_owned(), lines, constants];
    cells.extend(suites.iter().map(|rows| {
        let (mean, error) = difference(rows, index, |score| score.goodput.min(1.0));
        if index == 0 {
            format!("{mean:.4}")
        } else {
            format!("{mean:+.4} ± {error:.4}")
        }
    }));
    let all: Vec<Row> = suites.iter().flatten().cloned().collect();
    let (success, lost) = (
        difference(&all, index, |score| score.success).0,
        difference(&all, index, |score| score.lost).0,
    );
    cells.push(format!("{success:+.4}"));
    cells.push(format!("{lost:+.4}"));
    format!("| {} |", cells.join(" | "))
}

/// Returns the mean difference to the first entrant over the scenarios, with its standard error; the mean itself for the
/// first entrant.
fn difference(rows: &[Row], index: usize, get: fn(&Score) -> f64) -> (f64, f64) {
    let of = |row: &Row, at: usize| row.scores.get(at).map_or(0.0, get);
    let values: Vec<f64> = rows
        .iter()
        .map(|row| of(row, index) - if index == 0 { 0.0 } else { of(row, 0) })
        .collect();
    let middle = mean(&values);
    let squares: Vec<f64> = values
        .iter()
        .map(|value| (value - middle).powi(2))
        .collect();
    let error = (mean(&squares) / real(values.len().saturating_sub(1).max(1))).sqrt();
    (middle, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_does_not_exist_is_an_error_that_names_the_parts() {
        let error = find(&["slope".to_owned(), "x".to_owned()]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`x`") && text.contains("Slope"), "{text}");
    }

    #[test]
    fn taking_a_part_out_changes_runs_and_the_table_shows_by_how_much() {
        let options = Ablate {
            parts: vec!["Newest".to_owned()],
            together: false,
            base: Vec::new(),
            seed: 3,
            seeds: 1,
            random: 2,
            threads: 2,
        };
        let all = suites(&options).unwrap();
        assert_eq!(all.len(), 6);
        let law = entrant::find("kebne").unwrap();
        let out = Entrant {
            without: Without::nothing().and(Part::Newest),
            ..law
        };
        let s10 = all[0]
            .scenarios
            .iter()
            .find(|s| s.name == "S10")
            .unwrap()
            .clone();
        let rows = compare(&Plan {
            scenarios: vec![s10],
            entrants: vec![law, out],
            seeds: vec![3],
            threads: 1,
            bar: false,
        });
        let text = line("x", Some((5, 1)), 1, std::slice::from_ref(&rows));
        assert!(text.starts_with("| x | 5 | 1 | "), "{text}");
        assert!((rows[0].scores[0].goodput - rows[0].scores[1].goodput).abs() > 1e-6);
    }
}

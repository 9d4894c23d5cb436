//! The command line: `bench`, `explain`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::entrant::{self, DEFAULT, ENTRANTS, Entrant};
use crate::ledger::{Ledger, Note};
use crate::scenario::Scenario;
use crate::{bench, oracle, run, score, suite, table};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// A scenario file is wrong.
    #[error(transparent)]
    Suite(#[from] suite::SuiteError),
    /// A law that does not exist.
    #[error("no law is called `{name}`; there are {known}")]
    Law {
        /// As asked for.
        name: String,
        /// What exists.
        known: String,
    },
    /// A scenario that does not exist.
    #[error("no scenario is called `{0}`")]
    Scenario(String),
    /// A file could not be written.
    #[error("cannot write `{path}`: {source}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The result could not be put in JSON.
    #[error("cannot write json: {0}")]
    Json(#[from] serde_json::Error),
}

#[derive(Debug, Parser)]
#[command(name = "kebne-sim", about = "Judges control laws in virtual time")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compares laws over the scenarios.
    Bench(Bench),
    /// Shows the verdicts of one run as a timeline.
    Explain(Explain),
}

#[derive(Debug, clap::Args)]
struct Bench {
    /// Seeds per named scenario.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 31)]
    first_seed: u64,
    /// Laws, with commas between; `all` takes every one.
    #[arg(long, value_delimiter = ',')]
    laws: Vec<String>,
    /// Only scenarios whose name is one of these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Every column for every law.
    #[arg(long)]
    full: bool,
    /// Also writes everything as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Worker threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

#[derive(Debug, clap::Args)]
struct Explain {
    /// The scenario's name.
    scenario: String,
    /// The seed.
    #[arg(long, default_value_t = 31)]
    seed: u64,
    /// The law.
    #[arg(long, default_value = "kebne")]
    law: String,
}

/// Runs the command line.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Bench(options) => bench_command(&options),
        Command::Explain(options) => explain(&options),
    };
    match result {
        Ok(text) => {
            // A closed pipe is the reader's choice.
            drop(std::io::stdout().write_all(text.as_bytes()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            drop(writeln!(std::io::stderr(), "error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn laws(names: &[String]) -> Result<Vec<Entrant>, CliError> {
    if names.iter().any(|name| name == "all") {
        return Ok(ENTRANTS.to_vec());
    }
    let asked: Vec<&str> = if names.is_empty() {
        DEFAULT.to_vec()
    } else {
        names.iter().map(String::as_str).collect()
    };
    let find = |name: &&str| {
        entrant::find(name).ok_or_else(|| CliError::Law {
            name: (*name).to_owned(),
            known: ENTRANTS
                .iter()
                .map(|e| e.name)
                .collect::<Vec<_>>()
                .join(", "),
        })
    };
    asked.iter().map(find).collect()
}

fn choose(all: Vec<Scenario>, only: &[String]) -> Result<Vec<Scenario>, CliError> {
    if only.is_empty() {
        return Ok(all);
    }
    let same = |scenario: &Scenario, name: &String| scenario.name.eq_ignore_ascii_case(name);
    if let Some(name) = only.iter().find(|name| !all.iter().any(|s| same(s, name))) {
        return Err(CliError::Scenario(name.clone()));
    }
    let chosen = all
        .into_iter()
        .filter(|scenario| only.iter().any(|name| same(scenario, name)));
    Ok(chosen.collect())
}

fn bench_command(options: &Bench) -> Result<String, CliError> {
    let plan = bench::Plan {
        scenarios: choose(suite::named()?, &options.only)?,
        entrants: laws(&options.laws)?,
        seeds: (0..options.seeds).map(|i| options.first_seed + i).collect(),
        threads: options.threads,
        bar: true,
    };
    let rows = bench::compare(&plan);
    if let Some(path) = &options.json {
        let names: Vec<&str> = plan.entrants.iter().map(|e| e.name).collect();
        let document = serde_json::json!({ "laws": names, "seeds": plan.seeds, "rows": rows });
        write(path, &serde_json::to_vec_pretty(&document)?)?;
    }
    let mut text = String::new();
    if options.full {
        text.push_str(&table::table(&rows, &plan.entrants));
        text.push('\n');
    }
    text.push_str(&table::grid(&rows, &plan.entrants));
    Ok(text)
}

fn write(path: &PathBuf, bytes: &[u8]) -> Result<(), CliError> {
    std::fs::write(path, bytes).map_err(|source| CliError::Write {
        path: path.clone(),
        source,
    })
}

fn explain(options: &Explain) -> Result<String, CliError> {
    let mut chosen = choose(suite::named()?, std::slice::from_ref(&options.scenario))?;
    let Some(scenario) = chosen.pop() else {
        return Err(CliError::Scenario(options.scenario.clone()));
    };
    let entrants = laws(std::slice::from_ref(&options.law))?;
    let mut lines = Vec::new();
    for entrant in entrants {
        let book = run::run(&scenario, options.seed, entrant, true);
        let reference = oracle::run(&scenario, options.seed);
        timeline(&book, &mut lines);
        let result = score::score(&scenario, &book, &reference);
        lines.push(serde_json::to_string_pretty(&result)?);
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// Writes what was decided, and every 10 s what limit and capacity were.
fn timeline(book: &Ledger, lines: &mut Vec<String>) {
    let mut moments = book.moments.iter().peekable();
    for (at, gateway, note) in &book.notes {
        let time = at.as_secs_f64();
        while let Some(moment) = moments.next_if(|moment| moment.time <= time) {
            if moment.time.rem_euclid(10.0) < 0.25 {
                lines.push(format!(
                    "{:8.2}    limit {} in flight {} capacity {} queued {}",
                    moment.time, moment.limit, moment.in_flight, moment.capacity, moment.queued
                ));
            }
        }
        let line = match note {
            Note::Verdict(verdict) => verdict.to_string(),
            Note::State(from, to) => format!("{from} -> {to}"),
            Note::Refusal(class) => format!("refused: {class}"),
        };
        lines.push(format!("{time:8.2} [{gateway}] {line}"));
    }
}

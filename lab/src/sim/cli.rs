//! The command line: `bench`, `explain`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::collections_bench::{CollectionsBench, CollectionsBenchError};
use crate::embedding::EmbedderArgs;
use crate::routes::{self, RouteEval, RouteEvalError};
use crate::sim::entrant::{self, DEFAULT, ENTRANTS, Entrant};
use crate::sim::ledger::{Ledger, Note};
use crate::sim::scenario::Scenario;
use crate::sim::{
    ablate, agree, bench, engines, gate, jobs, mixed, oracle, plot, random, report, run, score,
    shares, suite,
};
use crate::{cache_eval, collections_bench, rag};

/// The reason why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// A scenario file is wrong.
    #[error(transparent)]
    Suite(#[from] suite::SuiteError),
    /// The law does not exist.
    #[error("the law `{name}` does not exist; the laws are {known}")]
    Law {
        /// The requested name.
        name: String,
        /// The existing names.
        known: String,
    },
    /// The part of the law does not exist.
    #[error("the law has no part `{name}`; the parts are {known}")]
    Part {
        /// The requested name.
        name: String,
        /// The existing names.
        known: String,
    },
    /// The cache was not measured.
    #[error(transparent)]
    Cache(#[from] cache_eval::CacheEvalError),
    /// The scenario does not exist.
    #[error("the scenario `{0}` does not exist")]
    Scenario(String),
    /// A file could not be written.
    #[error("cannot write `{path}`: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file could not be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file of recorded numbers is invalid.
    #[error("recorded numbers `{path}`: {source}")]
    Marks {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<toml::de::Error>,
    },
    /// A result is worse than recorded.
    #[error("results are worse than recorded:\n{0}")]
    Gate(String),
    /// The runs over sockets failed, or differ from virtual time.
    #[error(transparent)]
    Agree(#[from] agree::AgreeError),
    /// The questions of intents could not be evaluated.
    #[error(transparent)]
    RouteEval(#[from] RouteEvalError),
    /// The numbers could not be written as TOML.
    #[error("cannot write toml: {0}")]
    Toml(#[from] toml::ser::Error),
    /// The result could not be written as JSON.
    #[error("cannot write json: {0}")]
    Json(#[from] serde_json::Error),
    /// The collections could not be measured.
    #[error(transparent)]
    CollectionsBench(#[from] CollectionsBenchError),
    /// The evaluation of retrieval failed.
    #[error(transparent)]
    Rag(#[from] rag::RagError),
}

#[derive(Debug, Parser)]
#[command(name = "kebne-lab", about = "Evaluates control laws in virtual time")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare laws over the scenarios.
    Bench(Bench),
    /// Fail if a result is worse than recorded.
    Gate(Gate),
    /// Run scenarios over real sockets and compare them with virtual time.
    Agree(agree::Agree),
    /// Take the parts of the law out in turn, and print what each is worth.
    Ablate(ablate::Ablate),
    /// Compare one gateway with several in front of one backend, with and without leases.
    Shares(shares::Shares),
    /// Show the verdicts of one run as a timeline.
    Explain(Explain),
    /// Measure retrieval by words, by vectors and by both on questions with known answers.
    RagEval(EmbedderArgs),
    /// Measure the intents of a route on labelled questions: confusion, accuracy, and the share below the margin.
    RouteEval(RouteEval),
    /// Measure what a collection of many chunks costs: import, first search, searches and memory.
    CollectionsBench(CollectionsBench),
    /// Measure how often the cache answers, and how often wrongly, on labelled questions.
    CacheEval(CacheEval),
}

/// How the cache is measured.
#[derive(Debug, clap::Args)]
struct CacheEval {
    #[command(flatten)]
    embedder: EmbedderArgs,
    /// The number of random orders in which the questions are asked.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
}

/// A family of random scenarios.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Drawn {
    /// Backends with slots, of minutes.
    #[default]
    Slots,
    /// Many calls at once, ramps and surges.
    Jobs,
    /// Inference engines.
    Engines,
}

#[derive(Debug, clap::Args)]
struct Bench {
    /// Number of seeds of each named scenario.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 31)]
    first_seed: u64,
    /// Laws, separated by commas; `all` for every law.
    #[arg(long, value_delimiter = ',')]
    laws: Vec<String>,
    /// Run only the scenarios with these names; `none` for random scenarios only.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Skip the scenarios with these names.
    #[arg(long, value_delimiter = ',')]
    skip: Vec<String>,
    /// Also run this number of random scenarios, with one seed each.
    #[arg(long, default_value_t = 0)]
    random: u64,
    /// Use the mixed variants of the named scenarios, and random mixed ones.
    #[arg(long)]
    mixed: bool,
    /// What the random scenarios are; `--mixed` takes only the first.
    #[arg(long, value_enum, default_value_t)]
    drawn: Drawn,
    /// Number of the first random scenario.
    #[arg(long, default_value_t = 300)]
    first_random: u64,
    /// Also plot limit and capacity of the first law into this folder.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Print every column for every law.
    #[arg(long)]
    full: bool,
    /// Also write the results as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Number of worker threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

#[derive(Debug, clap::Args)]
struct Gate {
    /// The file of recorded numbers.
    #[arg(long, default_value = "lab/gate.toml")]
    file: PathBuf,
    /// Record the current numbers instead of comparing them.
    #[arg(long)]
    record: bool,
}

#[derive(Debug, clap::Args)]
struct Explain {
    /// The scenario's name; `S01m` is the mixed variant of `S01`, `R17` is random scenario 17, `M17` a mixed one, `J17` a job, `E17`
    /// an engine.
    scenario: String,
    /// The seed.
    #[arg(long, default_value_t = 31)]
    seed: u64,
    /// The law.
    #[arg(long, default_value = "kebne")]
    law: String,
    /// The number of gateways, all from the start; the scenario's own without it.
    #[arg(long)]
    gateways: Option<usize>,
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Bench(options) => bench_command(&options),
        Command::Gate(options) => gate_command(&options),
        Command::Agree(options) => agree::run(&options).map_err(CliError::from),
        Command::Ablate(options) => ablate::run(&options),
        Command::Shares(options) => shares::run(&options),
        Command::Explain(options) => explain(&options),
        Command::RagEval(embedder) => rag::run(&embedder).map_err(CliError::from),
        Command::CacheEval(options) => cache_eval::evaluate(&options.embedder, options.seeds)
            .map(|report| report.table())
            .map_err(CliError::from),
        Command::CollectionsBench(options) => {
            collections_bench::run(&options).map_err(CliError::from)
        }
        Command::RouteEval(options) => routes::run(&options).map_err(CliError::from),
    };
    match result {
        Ok(text) => {
            // A reader may close the pipe early.
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
    let known = |name: &String| name == "none" || all.iter().any(|s| same(s, name));
    if let Some(name) = only.iter().find(|name| !known(name)) {
        return Err(CliError::Scenario(name.clone()));
    }
    let chosen = all
        .into_iter()
        .filter(|scenario| only.iter().any(|name| same(scenario, name)));
    Ok(chosen.collect())
}

fn bench_command(options: &Bench) -> Result<String, CliError> {
    let skipped = |s: &Scenario| options.skip.iter().any(|n| s.name.eq_ignore_ascii_case(n));
    let mut plan = bench::Plan {
        scenarios: choose(suite::named()?, &options.only)?
            .into_iter()
            .filter(|scenario| !skipped(scenario))
            .map(|scenario| {
                if options.mixed {
                    mixed::variant(&scenario)
                } else {
                    scenario
                }
            })
            .collect(),
        entrants: laws(&options.laws)?,
        seeds: (0..options.seeds).map(|i| options.first_seed + i).collect(),
        threads: options.threads,
        bar: true,
    };
    let named = bench::compare(&plan);
    let numbers = options.first_random..options.first_random + options.random;
    let draw = match (options.mixed, options.drawn) {
        (true, _) => mixed::draw,
        (false, Drawn::Slots) => random::draw,
        (false, Drawn::Jobs) => jobs::draw,
        (false, Drawn::Engines) => engines::draw,
    };
    plan.scenarios = numbers.map(draw).collect();
    let seeds = std::mem::replace(&mut plan.seeds, vec![options.first_seed]);
    let drawn = bench::compare(&plan);
    if let Some(path) = &options.json {
        write(path, &report::json(&plan.entrants, &seeds, &named, &drawn)?)?;
    }
    if let Some(folder) = &options.plot {
        for row in named.iter().chain(&drawn) {
            let title = format!("{} {}", row.scenario, row.title);
            let path = folder.join(format!("{}.svg", row.scenario.to_lowercase()));
            write(&path, plot::svg(&title, &row.moments).as_bytes())?;
        }
    }
    Ok(report::text(&plan.entrants, &named, &drawn, options.full))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let failed = |source| CliError::Write {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, bytes).map_err(failed)
}

fn gate_command(options: &Gate) -> Result<String, CliError> {
    let kebne = laws(&["kebne".to_owned()])?;
    let Some(&entrant) = kebne.first() else {
        return Ok(String::new());
    };
    let measured = gate::measure(suite::named()?, entrant, true);
    if options.record {
        write(&options.file, toml::to_string(&measured)?.as_bytes())?;
        return Ok("recorded\n".to_owned());
    }
    let text = std::fs::read_to_string(&options.file).map_err(|source| CliError::Read {
        path: options.file.clone(),
        source,
    })?;
    let recorded: gate::Marks = toml::from_str(&text).map_err(|source| CliError::Marks {
        path: options.file.clone(),
        source: Box::new(source),
    })?;
    let failures = gate::judge(&recorded, &measured);
    if failures.is_empty() {
        let count = measured.scenarios.len();
        return Ok(format!("{count} scenarios are as good as recorded\n"));
    }
    Err(CliError::Gate(failures.join("\n")))
}

/// Finds a named scenario, a mixed variant or a random one.
fn find(name: &str) -> Result<Scenario, CliError> {
    let drawn = |prefix: &[char]| name.strip_prefix(prefix).and_then(|n| n.parse().ok());
    if let Some(number) = drawn(&['R', 'r']) {
        return Ok(random::draw(number));
    }
    if let Some(number) = drawn(&['J', 'j']) {
        return Ok(jobs::draw(number));
    }
    if let Some(number) = drawn(&['E', 'e']) {
        return Ok(engines::draw(number));
    }
    if let Some(number) = drawn(&['M', 'm']) {
        return Ok(mixed::draw(number));
    }
    let plain = name.strip_suffix('m').unwrap_or(name).to_owned();
    let found = choose(suite::named()?, std::slice::from_ref(&plain))?.pop();
    let found = found.ok_or(CliError::Scenario(plain))?;
    Ok(if name.ends_with('m') {
        mixed::variant(&found)
    } else {
        found
    })
}

fn explain(options: &Explain) -> Result<String, CliError> {
    let mut scenario = find(&options.scenario)?;
    if let Some(count) = options.gateways {
        scenario = shares::with_gateways(&scenario, count);
    }
    let entrants = laws(std::slice::from_ref(&options.law))?;
    let mut lines = vec![format!("{} {}", scenario.name, scenario.title)];
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

/// Writes the verdicts, and every 10 s the limit and the capacity.
fn timeline(book: &Ledger, lines: &mut Vec<String>) {
    let mut moments = book.moments.iter().peekable();
    for (at, gateway, note) in &book.notes {
        let time = at.as_secs_f64();
        while let Some(moment) = moments.next_if(|moment| moment.time <= time) {
            if moment.time.rem_euclid(10.0) < 0.25 {
                let rate = moment
                    .rate
                    .map_or(String::new(), |rate| format!(" rate {rate:.2}"));
                lines.push(format!(
                    "{:8.2}    limit {}{rate} in flight {} capacity {} queued {}",
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

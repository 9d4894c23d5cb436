//! Several gateways in front of one backend: how much better they do with leases, relative to one gateway with the same calls.

use crate::sim::bench::{Plan, Row, compare};
use crate::sim::cli::CliError;
use crate::sim::entrant::{self, Entrant};
use crate::sim::number::ratio;
use crate::sim::scenario::Scenario;
use crate::sim::suite;

/// The scenarios that are compared: rejecting, silent, few slots, asleep, and a loss of capacity.
const SCENARIOS: [&str; 5] = ["S17", "S17b", "S30", "S02", "S03"];
/// The laws: without and with leases.
const LAWS: [&str; 2] = ["kebne", "kebne-shared"];

/// How the gateways are compared.
#[derive(Debug, clap::Args)]
pub(crate) struct Shares {
    /// Numbers of gateways, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [2, 5])]
    gateways: Vec<usize>,
    /// The scenarios, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Number of seeds.
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 31)]
    first_seed: u64,
}

/// Returns a scenario with gateways that are there from the start.
pub(crate) fn with_gateways(scenario: &Scenario, count: usize) -> Scenario {
    Scenario {
        gateways: vec![0.0; count],
        title: format!("{count}"),
        event: None,
        ..scenario.clone()
    }
}

/// Runs the comparison and returns its table.
pub(crate) fn run(options: &Shares) -> Result<String, CliError> {
    let names: Vec<String> = if options.only.is_empty() {
        SCENARIOS.map(str::to_owned).to_vec()
    } else {
        options.only.clone()
    };
    let all = suite::named()?;
    let mut lines = vec![
        "| scenario | gateways | leases | in flight / slots (mean) | (p99) | goodput / oracle | goodput / one gateway | of admitted | wasted | loading answers per cold start |"
            .to_owned(),
        format!("|{}", "---|".repeat(10)),
    ];
    for name in names {
        let found = all.iter().find(|one| one.name.eq_ignore_ascii_case(&name));
        let scenario = found.ok_or_else(|| CliError::Scenario(name.clone()))?;
        let counts = std::iter::once(1).chain(options.gateways.iter().copied());
        let plan = Plan {
            scenarios: counts.map(|count| with_gateways(scenario, count)).collect(),
            entrants: LAWS.iter().filter_map(|law| entrant::find(law)).collect(),
            seeds: (0..options.seeds).map(|i| options.first_seed + i).collect(),
            threads: 2,
            bar: false,
        };
        table(&compare(&plan), &plan.entrants, &mut lines);
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

fn table(rows: &[Row], entrants: &[Entrant], lines: &mut Vec<String>) {
    let alone = rows.first().and_then(|row| row.scores.first());
    let alone = alone.map_or(1.0, |score| score.goodput);
    for row in rows {
        for (entrant, score) in entrants.iter().zip(&row.scores) {
            let wakes = score.wakes.map_or("-".to_owned(), |v| format!("{v:.1}"));
            lines.push(format!(
                "| {} | {} | {} | {:.2} | {:.2} | {:.3} | {:.3} | {:.3} | {:.3} | {wakes} |",
                row.scenario,
                row.title,
                if entrant.shared { "yes" } else { "no" },
                score.load,
                score.over,
                score.goodput,
                ratio(score.goodput, alone, 1.0),
                score.admitted,
                score.wasted,
            ));
        }
    }
}

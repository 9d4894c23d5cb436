//! The comparison as text: one line per scenario and entrant, and a summary per entrant.

use serde::Serialize;

use crate::sim::bench::Row;
use crate::sim::entrant::Entrant;
use crate::sim::number::{mean, quantile};
use crate::sim::score::Score;

/// The results of one entrant over all scenarios. Goodput is capped at 1 per scenario, so that a gain in one cannot
/// hide a loss in another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) goodput_mean: f64,
    pub(crate) goodput_p10: f64,
    pub(crate) goodput_worst: f64,
    pub(crate) success_mean: f64,
    pub(crate) success_p10: f64,
    pub(crate) offered_mean: f64,
    pub(crate) admitted_mean: f64,
    pub(crate) wasted_mean: f64,
    pub(crate) lost_mean: f64,
    pub(crate) regretted_mean: f64,
    pub(crate) late_mean: f64,
}

/// Summarises the entrant at `index`.
pub(crate) fn summary(rows: &[Row], index: usize) -> Summary {
    let over = |get: fn(&Score) -> f64| -> Vec<f64> {
        let scores = rows.iter().filter_map(|row| row.scores.get(index));
        scores.map(get).collect()
    };
    let goodput = over(|s| s.goodput.min(1.0));
    let success = over(|s| s.success);
    Summary {
        goodput_mean: mean(&goodput),
        goodput_p10: quantile(&goodput, 0.1),
        goodput_worst: quantile(&goodput, 0.0),
        success_mean: mean(&success),
        success_p10: quantile(&success, 0.1),
        offered_mean: mean(&over(|s| s.offered)),
        admitted_mean: mean(&over(|s| s.admitted)),
        wasted_mean: mean(&over(|s| s.wasted.min(1000.0))),
        lost_mean: mean(&over(|s| s.lost)),
        regretted_mean: mean(&over(|s| s.regretted)),
        late_mean: mean(&over(|s| s.late)),
    }
}

/// Writes the whole table in Markdown.
pub(crate) fn table(rows: &[Row], entrants: &[Entrant]) -> String {
    let mut lines = vec![
        "| scenario | law | goodput/oracle | of offered | of admitted | avoidable apart | wasted | attempts | t90 s | p50 / p99 s | fairness | over | wakes |".to_owned(),
        format!("|{}", "---|".repeat(13)),
    ];
    for row in rows {
        for (entrant, score) in entrants.iter().zip(&row.scores) {
            lines.push(line(row, entrant, score));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn line(row: &Row, entrant: &Entrant, score: &Score) -> String {
    let maybe = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.1}"));
    let cells = [
        format!("{} {}", row.scenario, row.title),
        entrant.name.to_owned(),
        format!("{:.3}", score.goodput),
        format!("{:.3}", score.offered),
        format!("{:.3}", score.admitted),
        format!("{:.3}", score.success),
        format!("{:.3}", score.wasted),
        format!("{:.2}", score.attempts),
        maybe(score.t90),
        format!("{:.1} / {:.1}", score.p50, score.p99),
        format!("{:.3}", score.fairness),
        format!("{:.2}", score.over),
        maybe(score.wakes),
    ];
    format!("| {} |", cells.join(" | "))
}

/// Writes the grid `goodput / success` and the summaries in Markdown.
pub(crate) fn grid(rows: &[Row], entrants: &[Entrant]) -> String {
    let names: Vec<&str> = entrants.iter().map(|entrant| entrant.name).collect();
    let mut lines = vec![
        format!("| scenario | {} |", names.join(" | ")),
        format!("|---|{}", "---|".repeat(names.len())),
    ];
    for row in rows {
        let cells: Vec<String> = row
            .scores
            .iter()
            .map(|s| format!("{:.3} / {:.3}", s.goodput, s.success))
            .collect();
        let place = format!("{} {}", row.scenario, row.title);
        lines.push(format!("| {place} | {} |", cells.join(" | ")));
    }
    lines.push(String::new());
    lines.push(summaries(rows, entrants));
    lines.join("\n")
}

/// Writes one line per entrant.
pub(crate) fn summaries(rows: &[Row], entrants: &[Entrant]) -> String {
    let mut lines = vec![
        "| law | goodput mean | p10 | worst | success mean | p10 | of offered | of admitted | wasted | lost | regretted | late |".to_owned(),
        format!("|{}", "---|".repeat(12)),
    ];
    for (index, entrant) in entrants.iter().enumerate() {
        let s = summary(rows, index);
        lines.push(format!(
            "| {} | {:.4} | {:.3} | {:.3} | {:.4} | {:.3} | {:.3} | {:.3} | {:.3} | {:.4} | {:.4} | {:.2} |",
            entrant.name,
            s.goodput_mean,
            s.goodput_p10,
            s.goodput_worst,
            s.success_mean,
            s.success_p10,
            s.offered_mean,
            s.admitted_mean,
            s.wasted_mean,
            s.lost_mean,
            s.regretted_mean,
            s.late_mean,
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

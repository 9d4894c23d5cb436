//! `kebne demo`: one job with two strategies, with progress and a table.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use indicatif::{ProgressBar, ProgressStyle};
use kebne_lab::demo::{self, Job, Report, Watcher};
use serde_json::json;

use crate::cli::{CommandError, lab::LabError};

/// Runs the job with both strategies and prints the results.
///
/// # Errors
/// Fails if the output cannot be written, or no runtime can be made.
pub fn run(
    job: Job,
    fast: bool,
    as_json: bool,
    output: &mut dyn Write,
) -> Result<(), CommandError> {
    let both = async {
        let bar = Bar::new("fixed", job, fast);
        let fixed = demo::fixed(job, &bar).await;
        bar.finish();
        let bar = Bar::new("kebne", job, fast);
        let kebne = demo::kebne(job, &bar).await;
        bar.finish();
        (fixed, kebne)
    };
    let (fixed, kebne) = on_clock(fast, both)?;
    let kebne = kebne.map_err(LabError::from)?;
    if as_json {
        let shown = json!({"calls": job.calls, "seed": job.seed, "fixed": fixed, "kebne": kebne});
        writeln!(output, "{shown}")?;
        return Ok(());
    }
    let (calls, seed) = (job.calls, job.seed);
    writeln!(
        output,
        "{calls} prompts, a model that starts cold, takes 300 ms (one in five 3 s) and fails one in ten; seed {seed}"
    )?;
    writeln!(output, "{}", table(&fixed, &kebne))?;
    writeln!(output, "Kebne's limit: {}", limits(&kebne))?;
    Ok(())
}

/// Runs in real time, or in virtual time.
fn on_clock<T>(fast: bool, work: impl Future<Output = T>) -> io::Result<T> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all();
    if fast {
        runtime.start_paused(true);
    }
    let runtime = runtime.build()?;
    let system = actix_rt::System::with_tokio_rt(move || runtime);
    Ok(system.block_on(work))
}

fn table(fixed: &Report, kebne: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["", "fixed", "kebne"]);
    let count = |of: fn(&Report) -> u64| [of(fixed).to_string(), of(kebne).to_string()];
    let seconds = [fixed, kebne].map(|report| format!("{:.1} s", report.seconds));
    for (name, [fixed, kebne]) in [
        ("answered", count(|report| report.successes)),
        ("failed", count(|report| report.failures)),
        ("calls to the model", count(|report| report.upstream_calls)),
        ("of them wasted", count(|report| report.wasted_calls)),
        ("total time", seconds),
    ] {
        table.add_row([name, &fixed, &kebne]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn limits(report: &Report) -> String {
    let changes = report.limits.iter();
    let changes = changes.map(|(seconds, limit)| format!("{limit} at {seconds:.1} s"));
    changes.collect::<Vec<_>>().join(", ")
}

/// The progress of one strategy; shown on a terminal, and not in virtual time.
struct Bar(ProgressBar);

impl Bar {
    fn new(name: &'static str, job: Job, fast: bool) -> Self {
        if fast {
            return Self(ProgressBar::hidden());
        }
        let style =
            ProgressStyle::with_template("{prefix:6} {bar:40} {pos:>4}/{len} {elapsed:>4}  {msg}");
        let bar = ProgressBar::new(job.calls as u64);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(name);
        bar.tick();
        Self(bar)
    }

    fn finish(&self) {
        self.0.finish();
    }
}

impl Watcher for Bar {
    fn ended(&self, _success: bool) {
        self.0.inc(1);
    }

    fn limit(&self, limit: u32) {
        self.0.set_message(format!("limit {limit}"));
    }
}

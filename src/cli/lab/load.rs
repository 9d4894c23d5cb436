//! `kebne load`: an open-loop load against a service on this machine, with progress and a report.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::IpAddr,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use kebne_lab::{
    load::{self, Call, End, Latency, LoadError, Plan, PlanError, Report, Target, Watcher},
    sim::script::{Script, ScriptError},
};
use reqwest::Url;
use serde_json::json;

use crate::{
    backend::upstream,
    cli::{CommandError, lab::LabError},
    settings::{Environment, HumanDuration, NotUtf8},
};

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The arguments of `kebne load`.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadArguments {
    /// The service's base URL. Only addresses of this machine are allowed, because an open loop can overload its target.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/v1")]
    pub url: Url,
    /// The name of the model.
    #[arg(long, value_name = "NAME", default_value = "simulated")]
    pub model: String,
    /// The environment variable that holds the API key.
    #[arg(long, value_name = "NAME")]
    pub key_env: Option<String>,
    /// Calls per second at the start, as a Poisson process.
    #[arg(long, value_name = "N", default_value_t = 5.0)]
    pub rate: f64,
    /// Calls per second at the end, reached linearly from `--rate`.
    #[arg(long, value_name = "N")]
    pub rise_to: Option<f64>,
    /// The time for which calls are sent.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub duration: HumanDuration,
    /// The deadline of each call.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub deadline: HumanDuration,
    /// Ask for streamed answers.
    #[arg(long)]
    pub stream: bool,
    /// The largest number of output tokens to ask for.
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u32>,
    /// Seed of the arrivals.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Send the calls of a scenario, such as `S03`, instead of a rate; `kebne simulate --scenario S03` serves it.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["rate", "rise_to", "duration", "deadline", "stream"])]
    pub scenario: Option<String>,
    /// The factor by which the scenario is sped up; 0.1 to 100.
    #[arg(long, value_name = "N", default_value_t = 1.0, requires = "scenario")]
    pub speed: f64,
    /// Compare with the scenario's run in virtual time under this law.
    #[arg(long, value_name = "NAME", requires = "scenario")]
    pub law: Option<String>,
    /// Print JSON instead of the table.
    #[arg(long)]
    pub json: bool,
}

/// The reason why no load was sent.
#[derive(Debug, thiserror::Error)]
pub enum LoadCommandError {
    /// The target is another machine.
    #[error("`--url` must name this machine (127.0.0.1, ::1 or localhost), not `{0}`")]
    NotLoopback(Url),
    /// The variable for the key is not set.
    #[error("the environment variable `{0}` (`--key-env`) is not set")]
    Key(String),
    /// The variable for the key cannot be read.
    #[error(transparent)]
    Unreadable(#[from] NotUtf8),
    /// The scenario cannot be played.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// The calls cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// No law has that name.
    #[error("the law `{0}` does not exist")]
    Law(String),
    /// The HTTP client could not be made.
    #[error("the HTTP client cannot be created: {0}")]
    Client(#[from] reqwest::Error),
    /// The load could not be started.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Sends the load and prints the endings of its calls.
///
/// # Errors
/// Fails if the arguments are wrong, or the output cannot be written. Calls that fail are a result, not an error.
pub fn run(
    arguments: &LoadArguments,
    environment: &dyn Environment,
    output: &mut dyn Write,
) -> Result<(), CommandError> {
    let target = target(arguments, environment).map_err(LabError::from)?;
    let script = arguments
        .scenario
        .as_deref()
        .map(|name| Script::named(name, arguments.speed, arguments.seed))
        .transpose()
        .map_err(LoadCommandError::from)
        .map_err(LabError::from)?;
    let plan = match &script {
        Some(script) => Plan::script(script),
        None => plan(arguments).map_err(LabError::from)?,
    };
    let bar = Bar::new(plan.calls.len());
    let report = actix_rt::System::new()
        .block_on(load::drive(&plan, &target, &bar))
        .map_err(LoadCommandError::from)
        .map_err(LabError::from)?;
    bar.0.finish_and_clear();
    let judged = script.map(|script| Judged::new(&script, &report, arguments.law.as_deref()));
    let judged = judged.transpose().map_err(LabError::from)?;
    if arguments.json {
        let scenario = judged.as_ref().map(Judged::json);
        writeln!(output, "{}", json!({"load": report, "scenario": scenario}))?;
        return Ok(());
    }
    print(&report, output)?;
    if let Some(judged) = judged {
        judged.print(output)?;
    }
    Ok(())
}

fn target(
    arguments: &LoadArguments,
    environment: &dyn Environment,
) -> Result<Target, LoadCommandError> {
    let host = arguments.url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    if !local {
        return Err(LoadCommandError::NotLoopback(arguments.url.clone()));
    }
    let key = arguments.key_env.as_ref().map(|name| {
        let key = environment.get(name)?;
        key.ok_or_else(|| LoadCommandError::Key(name.clone()))
    });
    let tls = arguments.url.scheme() == "https";
    Ok(Target {
        client: upstream::client(CONNECT_TIMEOUT, tls)?,
        url: arguments.url.clone(),
        model: arguments.model.clone(),
        key: key.transpose()?,
    })
}

fn plan(arguments: &LoadArguments) -> Result<Plan, LoadCommandError> {
    let rise_to = arguments.rise_to.unwrap_or(arguments.rate);
    let plan = Plan::poisson(
        (arguments.rate, rise_to),
        arguments.duration.get(),
        arguments.deadline.get(),
        arguments.seed,
    )?;
    Ok(Plan {
        stream: arguments.stream,
        max_tokens: arguments.max_tokens,
        ..plan
    })
}

/// A scenario's load against its oracle, and perhaps against its run in virtual time.
struct Judged {
    title: String,
    goodput: f64,
    virtual_goodput: Option<f64>,
    virtual_offered: Option<f64>,
}

impl Judged {
    fn new(script: &Script, report: &Report, law: Option<&str>) -> Result<Self, LoadCommandError> {
        // The oracle is the same under every law.
        let name = law.unwrap_or("fixed");
        let run = script.in_virtual_time(name);
        let run = run.ok_or_else(|| LoadCommandError::Law(name.to_owned()))?;
        let work: f64 = report.served_ids.iter().map(|id| script.worth(*id)).sum();
        Ok(Self {
            title: script.title(),
            goodput: work / run.oracle.max(1e-9),
            virtual_goodput: law.map(|_| run.goodput),
            virtual_offered: law.map(|_| run.offered),
        })
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "title": self.title, "goodput": self.goodput,
            "virtual_goodput": self.virtual_goodput, "virtual_success_of_offered": self.virtual_offered,
        })
    }

    fn print(&self, output: &mut dyn Write) -> io::Result<()> {
        writeln!(
            output,
            "{}: goodput {:.3} of the oracle's",
            self.title, self.goodput
        )?;
        if let Some(goodput) = self.virtual_goodput {
            writeln!(
                output,
                "in virtual time {goodput:.3}: {:+.1} points",
                100.0 * (self.goodput - goodput)
            )?;
        }
        Ok(())
    }
}

fn print(report: &Report, output: &mut dyn Write) -> io::Result<()> {
    let (offered, served) = (report.offered, report.served);
    let shed: usize = report.shed.values().sum();
    let failed: usize = report.failed.values().sum();
    writeln!(
        output,
        "offered {offered} in {:.1} s: served {served}, shed {shed}, failed {failed}",
        report.seconds
    )?;
    writeln!(
        output,
        "success of offered {:.3}, of admitted {:.3}; {:.1} served per second",
        report.success_of_offered, report.success_of_admitted, report.served_per_second
    )?;
    print_causes("shed", &report.shed, output)?;
    print_causes("failed", &report.failed, output)?;
    print_times("latency", &report.latency, output)?;
    if let Some(first_part) = &report.first_part {
        print_times("first part", first_part, output)?;
    }
    print_times("sent late", &report.sent_late, output)
}

fn print_causes(
    what: &str,
    causes: &BTreeMap<String, usize>,
    output: &mut dyn Write,
) -> io::Result<()> {
    for (cause, count) in causes {
        writeln!(output, "  {what} {cause}: {count}")?;
    }
    Ok(())
}

fn print_times(what: &str, times: &Latency, output: &mut dyn Write) -> io::Result<()> {
    writeln!(
        output,
        "{what:10} p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        times.p50_ms, times.p90_ms, times.p99_ms, times.max_ms
    )
}

/// The load's progress; shown on a terminal only.
struct Bar(ProgressBar);

impl Bar {
    fn new(calls: usize) -> Self {
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {elapsed:>4}  {msg}");
        let bar = ProgressBar::new(u64::try_from(calls).unwrap_or(u64::MAX));
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(250));
        Self(bar)
    }
}

impl Watcher for Bar {
    fn ended(&self, call: &Call, in_flight: usize) {
        self.0.inc(1);
        let end = match &call.end {
            End::Served => "served",
            End::Shed(reason) | End::Failed(reason) => reason,
        };
        self.0
            .set_message(format!("{in_flight} in flight, last {end}"));
    }
}

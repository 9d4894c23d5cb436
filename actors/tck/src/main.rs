//! Runs the conformance suite against one library or all, and prints the matrix.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::SystemTime,
};

use clap::Parser;
use kebne_tck::{
    case::{CaseResult, Failure},
    driver::Library,
    matrix::Matrix,
    registry::{self, AnyCase},
    runner::{self, Runner},
};

/// The page that `--write` writes into.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/conformance.md");

/// Runs Pekko's documented behaviour as cases against actor libraries.
#[derive(Debug, Parser)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
struct Options {
    /// Run every case on every library.
    #[arg(long)]
    all: bool,
    /// Run on this library only.
    #[arg(long)]
    library: Option<String>,
    /// Run this case only.
    #[arg(long)]
    case: Option<String>,
    /// List the cases.
    #[arg(long)]
    list: bool,
    /// Say of each case that failed why.
    #[arg(long)]
    why: bool,
    /// Write the matrix into docs/conformance.md.
    #[arg(long, requires = "all")]
    write: bool,
    /// Run the one case in this process, and tell the verdict in one line.
    #[arg(long, hide = true, requires = "library", requires = "case")]
    in_process: bool,
}

fn main() -> ExitCode {
    // Cases make actors panic on purpose; the verdicts say what matters of it.
    std::panic::set_hook(Box::new(|_| {}));
    match run(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            let _nowhere_left_to_say_it = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<ExitCode> {
    let mut out = io::stdout();
    let named = |asked: &Option<String>, name: &str| asked.as_deref().is_none_or(|a| a == name);
    let mut libraries = registry::libraries();
    libraries.retain(|library| named(&options.library, library.name()));
    let mut cases = registry::cases();
    cases.retain(|case| named(&options.case, case.name));
    if libraries.is_empty() || cases.is_empty() {
        return Err(io::Error::other("no such library or case; see `--list`"));
    }
    if options.list {
        for case in &cases {
            writeln!(
                out,
                "{} {} [{}] {:?}",
                case.level, case.name, case.topic, case.stance
            )?;
        }
        writeln!(out, "{} cases", cases.len())?;
        return Ok(ExitCode::SUCCESS);
    }
    if options.in_process
        && let (Some(library), Some(case)) = (libraries.first(), cases.first())
    {
        writeln!(out, "{}", runner::line_of(&runner::run_here(library, case)))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !(options.all || options.library.is_some() || options.case.is_some()) {
        return Err(io::Error::other(
            "say `--all`, `--library`, `--case` or `--list`",
        ));
    }
    let matrix = run_all(&libraries, cases)?;
    writeln!(
        out,
        "passed / failed / not applicable\n\n{}",
        matrix.summary()
    )?;
    if options.case.is_some() || options.why {
        write!(out, "{}", matrix.failures())?;
    }
    if options.write {
        write_page(&matrix)?;
    }
    let kebne_failed = matrix
        .libraries
        .iter()
        .position(|(name, _)| *name == "kebne");
    let failed = kebne_failed.is_some_and(|column| matrix.counts(column, None).failed > 0);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn write_page(matrix: &Matrix) -> io::Result<()> {
    let page = Path::new(PAGE);
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let today = now.split('T').next().unwrap_or_default();
    let written = matrix.write_into(&std::fs::read_to_string(page)?, today);
    let written =
        written.ok_or_else(|| io::Error::other("the page has no place for the matrix"))?;
    std::fs::write(page, written)
}

/// Runs every case on every library, as many at once as there are processors.
fn run_all(libraries: &[Arc<dyn Library>], cases: Vec<AnyCase>) -> io::Result<Matrix> {
    let runner = Runner::new(std::env::current_exe()?);
    let next = AtomicUsize::new(0);
    let verdicts: Vec<Mutex<CaseResult>> = (0..cases.len() * libraries.len())
        .map(|_| Mutex::new(Err(Failure::Failed("did not run".to_owned()))))
        .collect();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, SeqCst);
                    let Some(verdict) = verdicts.get(index) else {
                        break;
                    };
                    let case = &cases[index / libraries.len()];
                    let library = &libraries[index % libraries.len()];
                    let ended = runner.run(library, case);
                    *verdict.lock().unwrap_or_else(PoisonError::into_inner) = ended;
                }
            });
        }
    });
    let mut verdicts = verdicts
        .into_iter()
        .map(|verdict| verdict.into_inner().unwrap_or_else(PoisonError::into_inner));
    let rows = cases.into_iter().map(|case| {
        let of_case = verdicts.by_ref().take(libraries.len()).collect();
        (case, of_case)
    });
    let rows = rows.collect();
    Ok(Matrix {
        libraries: libraries.iter().map(|l| (l.name(), l.version())).collect(),
        rows,
    })
}

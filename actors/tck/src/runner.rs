//! Runs one case on one library.
//!
//! Each run has a fresh thread with an actix system of its own and paused time, and a watchdog on real
//! time. A case marked `isolated` runs in a process of its own, so that a library that aborts the process or never
//! gives its thread back fails the case and not the suite. Never must a run share anything with another.

use std::{
    any::Any,
    io::Read,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use crate::{
    case::{CaseResult, Failure, Stance},
    driver::Library,
    registry::AnyCase,
};

/// Real time that a run may take. A run takes milliseconds; this is for those that never end, on a machine with
/// much else to do.
const REAL_TIME_MAX: Duration = Duration::from_secs(10);
/// Paused time that a run may take: beyond it the case waits for what never comes.
const PAUSED_TIME_MAX: Duration = Duration::from_hours(10_000);

/// The library that the deliberate differences are of.
const KEBNE: &str = "kebne";

/// Marks the line by which a process of one case tells its verdict.
const PASSED: &str = "verdict: passed";
const FAILED: &str = "verdict: failed: ";
const NOT_APPLICABLE: &str = "verdict: not applicable: ";

/// Runs cases; clones run the same program for isolated ones.
#[derive(Clone, Debug)]
pub struct Runner {
    program: PathBuf,
}

impl Runner {
    /// Makes a runner; `program` is this suite's own program, started anew for isolated cases.
    pub fn new(program: PathBuf) -> Self {
        Self { program }
    }

    /// Runs a case, in a process of its own if it needs that. A case in which Kebne deliberately differs from
    /// Pekko binds nobody else: another library may pass it, but does not fail it.
    ///
    /// # Errors
    /// Says why the case did not pass.
    pub fn run(&self, library: &Arc<dyn Library>, case: &AnyCase) -> CaseResult {
        let verdict = if case.isolated {
            self.run_in_process(library.name(), case.name)
        } else {
            run_here(library, case)
        };
        match (verdict, case.stance) {
            (Err(Failure::Failed(why)), Stance::Different(_)) if library.name() != KEBNE => {
                let why = format!("Pekko asks for something else; and {why}");
                Err(Failure::NotApplicable(why))
            }
            (verdict, _) => verdict,
        }
    }

    fn run_in_process(&self, library: &str, case: &str) -> CaseResult {
        let cannot = |error: std::io::Error| Failure::Failed(format!("no process for it: {error}"));
        let mut process = Command::new(&self.program)
            .args(["--in-process", "--library", library, "--case", case])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(cannot)?;
        let output = process.stdout.take();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let mut text = String::new();
            let read = output.map(|mut output| output.read_to_string(&mut text));
            let _the_watchdog_came_first = tell.send(read.map(|_| text));
        });
        let told = told.recv_timeout(REAL_TIME_MAX);
        if told.is_err() {
            process.kill().map_err(cannot)?;
        }
        let status = process.wait().map_err(cannot)?;
        match told {
            Ok(text) => verdict_of(&text.unwrap_or_default()).unwrap_or_else(|| {
                Err(Failure::Failed(format!("took its process down: {status}")))
            }),
            Err(_) => Err(never_ended()),
        }
    }
}

fn never_ended() -> Failure {
    Failure::Failed(format!(
        "its thread was not given back in {REAL_TIME_MAX:?}"
    ))
}

/// Runs a case in this process, on a thread of its own.
///
/// # Errors
/// Says why the case did not pass.
pub fn run_here(library: &Arc<dyn Library>, case: &AnyCase) -> CaseResult {
    let (tell, told) = mpsc::channel();
    let (library, case) = (Arc::clone(library), case.clone());
    let spawned = thread::Builder::new()
        .name(case.name.to_owned())
        .spawn(move || {
            // The verdict is told before the system goes, whose actors may panic once more as they are dropped.
            let ran = catch_unwind(AssertUnwindSafe(|| in_system(&*library, &case, &tell)));
            if let Err(panic) = ran {
                let why = format!("panicked: {}", text_of(&*panic));
                let _told_before_or_given_up = tell.send(Err(Failure::Failed(why)));
            }
        });
    if let Err(error) = spawned {
        return Err(Failure::Failed(format!("no thread for it: {error}")));
    }
    told.recv_timeout(REAL_TIME_MAX)
        .unwrap_or_else(|_| Err(never_ended()))
}

fn in_system(library: &dyn Library, case: &AnyCase, tell: &mpsc::Sender<CaseResult>) {
    // Paused from the start: a clock that is paused later stands between two ticks of its timer.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let Ok(runtime) = runtime.enable_all().start_paused(true).build() else {
        let _the_watchdog_came_first =
            tell.send(Err(Failure::Failed("no runtime for it".to_owned())));
        return;
    };
    actix_rt::System::with_tokio_rt(move || runtime).block_on(async {
        let verdict = match case.start(library) {
            None => {
                let why = format!(
                    "no driver for {} was written for {}",
                    case.area,
                    library.name()
                );
                Err(Failure::NotApplicable(why))
            }
            Some(running) => match tokio::time::timeout(PAUSED_TIME_MAX, running).await {
                Ok(verdict) => verdict,
                Err(_) => Err(Failure::Failed("waited for what never came".to_owned())),
            },
        };
        let _the_watchdog_came_first = tell.send(verdict);
    });
}

/// Writes a verdict as the line that [`Runner::run`] reads.
pub fn line_of(verdict: &CaseResult) -> String {
    match verdict {
        Ok(()) => PASSED.to_owned(),
        Err(Failure::Failed(why)) => format!("{FAILED}{}", why.replace('\n', " ")),
        Err(Failure::NotApplicable(why)) => format!("{NOT_APPLICABLE}{}", why.replace('\n', " ")),
    }
}

/// Returns the verdict that the output of a process of one case contains, if it ended with one.
pub fn verdict_of(output: &str) -> Option<CaseResult> {
    output.lines().find_map(|line| {
        if line == PASSED {
            return Some(Ok(()));
        }
        let failed = line.strip_prefix(FAILED);
        let failed = failed.map(|why| Failure::Failed(why.to_owned()));
        let not_applicable = || {
            let why = line.strip_prefix(NOT_APPLICABLE)?;
            Some(Failure::NotApplicable(why.to_owned()))
        };
        failed.or_else(not_applicable).map(Err)
    })
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

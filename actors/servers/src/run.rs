//! One run of a server, from its start to the time when nothing is left of it.

use std::{sync::Arc, time::Duration};

use actix::Message;
use kebne_actors::Recipient;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    failure::{Failure, FailureKind},
    health::Health,
    hook::{Hook, Hooks},
    lines::Lines,
    parts::Means,
    process::{Launch, Process, StartError, was_not_run},
    schedule::ServerId,
};

/// The time for one answer to a health check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// The shortest and the longest wait between two checks of a server that starts.
const STARTING: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// The time between two checks of a server that serves.
const SERVING: Duration = Duration::from_secs(10);
/// The failed checks in a row after which a process that serves is restarted. A busy server may miss some.
const FAILURES_MAX: u32 = 6;
/// The failed checks in a row after which a server that another system runs counts as asleep.
const ASLEEP_AFTER: u32 = 2;
/// The waits before a sleep hook that failed is tried again.
const SLEEP_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// The lines of the log that an error ends with.
const ERROR_LINES: usize = 1;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It was to stop.
    Stopped,
    /// A server that another system runs has fallen asleep.
    Asleep,
    /// It was to stop, and its sleep hook failed, so it may still be awake.
    Awake(String),
    /// It failed.
    Failed(Failure),
}

impl Ending {
    pub(crate) fn failed(kind: FailureKind, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::Failed(Failure { kind, detail })
    }
}

/// An event of a run, for the scheduler.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum Told {
    /// The process runs.
    Started {
        server: ServerId,
        run: u64,
        pid: Option<u32>,
    },
    /// It serves.
    Ready { server: ServerId, run: u64 },
    /// Nothing is left of it.
    Ended {
        server: ServerId,
        run: u64,
        ending: Ending,
    },
}

/// What a run needs.
#[derive(Clone)]
pub(crate) struct RunParts {
    pub(crate) server: ServerId,
    /// The number of the run.
    pub(crate) run: u64,
    pub(crate) name: Arc<str>,
    pub(crate) means: Means,
    pub(crate) health: Option<Arc<dyn Health>>,
    pub(crate) lines: Lines,
    pub(crate) suspected: Arc<Notify>,
    pub(crate) scheduler: Recipient<Told>,
    /// Cancelled when it is to stop.
    pub(crate) stop: CancellationToken,
}

impl RunParts {
    pub(crate) async fn run(self) -> Ending {
        match self.means.clone() {
            Means::Process(launch) => self.run_process(&launch).await,
            Means::Hooks {
                hooks,
                start_timeout,
                sleep_timeout,
            } => self.run_hooks(&hooks, start_timeout, sleep_timeout).await,
        }
    }

    async fn run_process(&self, launch: &Launch) -> Ending {
        let mut process = match launch.start() {
            Ok(process) => process,
            Err(StartError::PortTaken(error)) => {
                let port = launch.port();
                let detail = format!("another program uses its port {port}: {error}");
                return Ending::failed(FailureKind::PortTaken, detail);
            }
            Err(StartError::NotStarted(error)) => {
                let detail = format!("it cannot be started: {error}");
                return Ending::failed(FailureKind::NotStarted, detail);
            }
        };
        let pid = process.pid();
        tracing::info!(server = %self.name, pid, port = launch.port(), "the model server was started");
        self.tell(Told::Started {
            server: self.server,
            run: self.run,
            pid,
        });
        self.keep_lines(&mut process);
        let ending = tokio::select! {
            biased;
            () = self.stop.cancelled() => Ending::Stopped,
            status = process.child.wait() => ended(status),
            ending = self.serve(launch.start_timeout(), FAILURES_MAX) => ending,
        };
        if !process.stop().await {
            tracing::warn!(server = %self.name, pid, "the model server did not end by itself and was killed");
        }
        ending
    }

    /// Reads what the process writes. The readers end with it and its children.
    fn keep_lines(&self, process: &mut Process) {
        if let Some(output) = process.child.stdout.take() {
            actix_rt::spawn(self.lines.clone().read(output));
        }
        if let Some(output) = process.child.stderr.take() {
            actix_rt::spawn(self.lines.clone().read(output));
        }
    }

    async fn run_hooks(
        &self,
        hooks: &Hooks,
        start_timeout: Duration,
        sleep_timeout: Duration,
    ) -> Ending {
        tracing::info!(server = %self.name, "the model server is woken");
        let woken = async {
            match timeout(start_timeout, hooks.wake.run()).await {
                Ok(Ok(())) => self.serve(start_timeout, ASLEEP_AFTER).await,
                Ok(Err(error)) => {
                    let detail = format!("the wake hook failed: {error}");
                    Ending::failed(FailureKind::WakeFailed, detail)
                }
                Err(_) => {
                    let detail = format!("the wake hook did not end within {start_timeout:?}");
                    Ending::failed(FailureKind::WakeHung, detail)
                }
            }
        };
        let ending = tokio::select! {
            biased;
            () = self.stop.cancelled() => Ending::Stopped,
            ending = woken => ending,
        };
        let Some(sleep) = hooks.sleep.as_ref().filter(|_| ending == Ending::Stopped) else {
            return ending;
        };
        match put_to_sleep(&**sleep, sleep_timeout).await {
            Ok(()) => Ending::Stopped,
            Err(error) => Ending::Awake(error),
        }
    }

    /// Waits until the server serves, and watches it. Returns when it does not serve.
    async fn serve(&self, start_timeout: Duration, failures_max: u32) -> Ending {
        let mut last = "no answer".to_owned();
        if timeout(start_timeout, self.until_healthy(&mut last))
            .await
            .is_err()
        {
            let detail = format!("it was not healthy within {start_timeout:?}: {last}");
            return Ending::failed(FailureKind::Unhealthy, detail);
        }
        self.tell(Told::Ready {
            server: self.server,
            run: self.run,
        });
        let is_remote = matches!(self.means, Means::Hooks { .. });
        let error = self.until_unhealthy(failures_max, start_timeout).await;
        if is_remote {
            Ending::Asleep
        } else {
            let detail = format!("it does not serve any more: {error}");
            Ending::failed(FailureKind::StoppedServing, detail)
        }
    }

    /// Checks until a check succeeds.
    async fn until_healthy(&self, last: &mut String) {
        let mut wait = STARTING.0;
        while let Err(error) = self.check().await {
            *last = error;
            sleep(wait).await;
            wait = (wait * 2).min(STARTING.1);
        }
    }

    /// Checks now and then, and when a call has met signs that the server does not serve. Returns after so many failures in a
    /// row, with the last reason.
    async fn until_unhealthy(&self, failures_max: u32, start_timeout: Duration) -> String {
        let is_remote = matches!(self.means, Means::Hooks { .. });
        let ready = Instant::now();
        let mut failures = 0;
        loop {
            let is_suspected = tokio::select! {
                () = self.suspected.notified() => true,
                () = sleep(if failures > 0 { STARTING.1 } else { SERVING }) => false,
            };
            // Without a check, the call's word is all there is; until the timeout it may only mean that the server loads.
            let is_loading = ready.elapsed() < start_timeout;
            if self.health.is_none() && is_suspected && is_remote && !is_loading {
                return "a call found it asleep".to_owned();
            }
            match self.check().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    if failures >= failures_max {
                        return error;
                    }
                }
            }
        }
    }

    async fn check(&self) -> Result<(), String> {
        let Some(health) = &self.health else {
            return Ok(());
        };
        let checked = timeout(CHECK_TIMEOUT, health.check()).await;
        checked.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }

    /// Sends an event to the scheduler. One that has stopped needs none.
    fn tell(&self, event: Told) {
        let _needless_if_stopped = self.scheduler.tell(event);
    }

    /// Adds the last line of the log to an error.
    pub(crate) fn with_lines(&self, error: String) -> String {
        match self.lines.last(ERROR_LINES).last() {
            Some(line) => format!("{error} (last line: {line})"),
            None => error,
        }
    }
}

/// Runs a sleep hook; one that fails is tried again, because the server may cost money while it is awake. Calls that come
/// meanwhile wait, and so does the stop of the service.
async fn put_to_sleep(hook: &dyn Hook, limit: Duration) -> Result<(), String> {
    let tries = async {
        let mut waits = SLEEP_AGAIN.into_iter();
        loop {
            let Err(error) = hook.run().await else {
                return Ok(());
            };
            let Some(wait) = waits.next() else {
                return Err(format!("the sleep hook failed: {error}"));
            };
            sleep(wait).await;
        }
    };
    let ended = timeout(limit, tries).await;
    ended.unwrap_or_else(|_| Err(format!("the sleep hook did not end within {limit:?}")))
}

/// Returns the ending of a process that ended by itself.
fn ended(status: std::io::Result<std::process::ExitStatus>) -> Ending {
    match status {
        Ok(status) if was_not_run(status) => {
            Ending::failed(FailureKind::NotStarted, format!("it ended with {status}"))
        }
        Ok(status) => Ending::failed(FailureKind::Ended, format!("it ended with {status}")),
        Err(error) => Ending::failed(FailureKind::Ended, format!("it is lost: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::Pin,
        sync::atomic::{AtomicU32, Ordering::SeqCst},
    };

    use super::*;

    /// Fails so many times, then succeeds; with no times it hangs.
    struct Fails {
        times: Option<u32>,
        runs: AtomicU32,
    }

    impl Hook for Fails {
        fn run(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
            Box::pin(async {
                let run = self.runs.fetch_add(1, SeqCst);
                match self.times {
                    None => std::future::pending().await,
                    Some(times) if run < times => Err("status 500".to_owned()),
                    Some(_) => Ok(()),
                }
            })
        }
    }

    #[actix::test]
    async fn a_sleep_hook_is_tried_three_times_and_not_for_longer_than_its_time() {
        tokio::time::pause();
        for (times, limit, result, runs) in [
            (Some(0), 30, Ok(()), 1),
            (Some(2), 30, Ok(()), 3),
            (Some(3), 30, Err("the sleep hook failed: status 500"), 3),
            (Some(3), 2, Err("the sleep hook did not end within 2s"), 2),
            (None, 30, Err("the sleep hook did not end within 30s"), 1),
        ] {
            let hook = Fails {
                times,
                runs: AtomicU32::new(0),
            };
            let ended = put_to_sleep(&hook, Duration::from_secs(limit)).await;
            assert_eq!(ended, result.map_err(str::to_owned), "{times:?} {limit}");
            assert_eq!(hook.runs.load(SeqCst), runs, "{times:?} {limit}");
        }
    }
}

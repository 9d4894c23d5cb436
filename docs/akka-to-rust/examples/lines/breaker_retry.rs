//! Chapter 13.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use kebne_streams::{
    backoff::Backoff,
    breaker::{BreakerError, BreakerSettings, CircuitBreaker},
    retry::Retry,
};
use tokio::time::sleep;

use crate::{MS, Part, SECOND, say, words};

#[derive(Default)]
struct Provider {
    down: Cell<bool>,
    calls: Cell<u32>,
}

impl Provider {
    async fn call(&self) -> Result<&'static str, &'static str> {
        self.calls.set(self.calls.get() + 1);
        sleep(MS).await;
        if self.down.get() {
            Err("down")
        } else {
            Ok("hello")
        }
    }
}

pub(crate) async fn run() -> Part {
    let provider = Provider::default();
    let breaker = CircuitBreaker::new(BreakerSettings {
        max_failures: 3,
        call_timeout: 10 * SECOND,
        reset_timeout: 30 * SECOND,
        ..BreakerSettings::default()
    })?;
    let retry = Retry::times(2).backoff(Backoff::new(100 * MS, SECOND, 0.0)?);
    let guarded = || retry.run(|| breaker.call(provider.call()));
    let once = async || breaker.call(provider.call()).await.unwrap_or("failed");

    let answer = guarded().await.unwrap_or("failed");
    say(&format!("13 a provider that is up: {answer}"))?;
    provider.down.set(true);
    let completed = guarded().await.is_err();
    let calls = provider.calls.get() - 1;
    say(&format!(
        "13 one call with two retries reaches it: {calls} times, completed: {completed}"
    ))?;
    for _ in 0..10 {
        once().await;
    }
    let calls = provider.calls.get() - 4;
    say(&format!("13 ten calls after that reach it: {calls} times"))?;
    sleep(31 * SECOND).await;
    for _ in 0..10 {
        once().await;
    }
    let calls = provider.calls.get() - 4;
    say(&format!(
        "13 ten calls while it is half-open and down: {calls}"
    ))?;
    provider.down.set(false);
    sleep(31 * SECOND).await;
    let answers = words([once().await, once().await, once().await]);
    say(&format!("13 after a probe that succeeds: {answers}"))?;

    let finished = Arc::new(AtomicBool::new(false));
    let finish = Arc::clone(&finished);
    let slow = async move {
        sleep(15 * SECOND).await;
        finish.store(true, SeqCst);
        Ok::<_, &str>(())
    };
    let late = matches!(breaker.call(slow).await, Err(BreakerError::Timeout { .. }));
    say(&format!("13 a call past its timeout fails: {late}"))?;
    sleep(10 * SECOND).await;
    say(&format!(
        "differs: 13 its work is completed all the same: {}",
        finished.load(SeqCst)
    ))?;
    Ok(())
}

//! Kebne's circuit breaker as the suite sees it.

use std::sync::Arc;

use futures_util::FutureExt;
use kebne_streams::breaker::{self, BreakerError, BreakerSettings, CallEvent, CircuitBreaker};

use crate::{
    case::Failure,
    driver::{
        Offered,
        breaker::{
            Body, Breaker, BreakerDriver, BreakerEvent, BreakerSetup, BreakerState, Call,
            CallFault, Ending, Judge, Listener,
        },
    },
};

/// Makes Kebne's circuit breakers.
#[derive(Debug)]
pub(super) struct KebneBreaker;

struct Guard(CircuitBreaker);

impl BreakerDriver for KebneBreaker {
    fn breaker(&self, setup: BreakerSetup) -> Offered<Box<dyn Breaker>> {
        let breaker = CircuitBreaker::new(BreakerSettings {
            max_failures: setup.max_failures,
            call_timeout: setup.call_timeout,
            reset_timeout: setup.reset_timeout,
            max_reset_timeout: setup.max_reset_timeout,
            backoff_factor: setup.factor,
            random_factor: setup.random_factor,
            seed: setup.seed,
        });
        let breaker = breaker.map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(Box::new(Guard(breaker)))
    }
}

fn fault(error: BreakerError<u64>) -> CallFault {
    match error {
        BreakerError::Open { remaining } => CallFault::Open(remaining),
        BreakerError::Timeout { .. } => CallFault::TimedOut,
        BreakerError::Failed(error) => CallFault::Failed(error),
    }
}

impl Breaker for Guard {
    fn call(&self, body: Body) -> Call {
        let breaker = self.0.clone();
        async move { breaker.call(body).await.map_err(fault) }.boxed_local()
    }

    fn call_judged(&self, body: Body, is_failure: Judge) -> Offered<Call> {
        let breaker = self.0.clone();
        let call = async move {
            let ended = breaker.call_deciding(body, is_failure).await;
            ended.map_err(fault)
        };
        Ok(call.boxed_local())
    }

    fn call_now(&self, body: Box<dyn FnOnce() -> Ending>) -> Offered<Result<u64, CallFault>> {
        Ok(self.0.call_sync(body).map_err(fault))
    }

    fn succeed(&self) -> Offered<()> {
        self.0.succeed();
        Ok(())
    }

    fn fail(&self) -> Offered<()> {
        self.0.fail();
        Ok(())
    }

    fn state(&self) -> Offered<BreakerState> {
        Ok(match self.0.state() {
            breaker::BreakerState::Closed => BreakerState::Closed,
            breaker::BreakerState::Open => BreakerState::Open,
            breaker::BreakerState::HalfOpen => BreakerState::HalfOpen,
        })
    }

    fn failures(&self) -> Offered<u32> {
        Ok(self.0.failures())
    }

    fn listen(&self, listener: Listener) -> Offered<()> {
        let listener: Arc<dyn Fn(BreakerEvent) + Send + Sync> = listener.into();
        let tell = |event| {
            let listener = Arc::clone(&listener);
            move || listener(event)
        };
        self.0.on_open(tell(BreakerEvent::Opened));
        self.0.on_half_open(tell(BreakerEvent::HalfOpened));
        self.0.on_close(tell(BreakerEvent::Closed));
        self.0.on_call(move |event| {
            listener(match event {
                CallEvent::Success(took) => BreakerEvent::Succeeded(took),
                CallEvent::Failure(took) => BreakerEvent::Failed(took),
                CallEvent::Timeout(took) => BreakerEvent::TimedOut(took),
                CallEvent::Refused => BreakerEvent::Refused,
            });
        });
        Ok(())
    }

    fn fail_concurrently(&self, threads: usize, times: usize) -> Offered<()> {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..times {
                        self.0.fail();
                    }
                });
            }
        });
        Ok(())
    }
}

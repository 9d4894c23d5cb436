//! Kebne's stream operators as the suite sees them.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use kebne_streams::{
    BufferPolicy, FlowExt, KillSwitch, MapError, MapOptions, Pace, QueueOffer, RestartSettings,
    SourceQueue, StreamTimeout, TimeoutKind, backoff::Backoff, restart_source, source_queue,
};

use crate::{
    case::Failure,
    driver::{
        Offered,
        streams::{
            Directive, Factory, Fault, Flow, Fold, Mapping, Offer, Overflow, Queue, Restarting,
            StreamClock, StreamDriver, Switch, Throttling, Work,
        },
    },
};

/// Applies Kebne's stream operators.
#[derive(Debug)]
pub(super) struct KebneStreams;

/// A setting that the library does not accept fails the case that asks for it.
fn accepted<T, E: ToString>(setting: Result<T, E>) -> Offered<T> {
    setting.map_err(|error| Failure::Failed(error.to_string()))
}

fn map_fault(error: &MapError<Fault>) -> Fault {
    match error {
        MapError::Failed(fault) => *fault,
        MapError::Panicked(_) => Fault::Panicked,
    }
}

fn timeout_fault(error: StreamTimeout) -> Fault {
    Fault::Timeout(match error.kind {
        TimeoutKind::Initial => StreamClock::Initial,
        TimeoutKind::Idle => StreamClock::Idle,
        TimeoutKind::Completion => StreamClock::Completion,
        TimeoutKind::Backpressure => StreamClock::Backpressure,
    })
}

fn options(mapping: &Mapping) -> MapOptions<Fault> {
    let options = if mapping.ordered {
        MapOptions::ordered(mapping.parallelism)
    } else {
        MapOptions::unordered(mapping.parallelism)
    };
    let Some(resume) = mapping.resume.clone() else {
        return options;
    };
    options.resuming(move |error| resume(&map_fault(error)))
}

impl StreamDriver for KebneStreams {
    fn throttle(&self, flow: Flow, throttling: Throttling) -> Offered<Flow> {
        let mut pace = accepted(Pace::new(throttling.cost, throttling.per))?;
        if let Some(burst) = throttling.burst {
            pace = pace.burst(burst);
        }
        let cost_of = throttling.cost_of;
        let cost = move |item: &Result<u64, Fault>| match (item, cost_of) {
            (Ok(item), Some(cost_of)) => cost_of(*item),
            (Ok(_), None) => 1,
            (Err(_), _) => 0,
        };
        if !throttling.enforcing {
            return Ok(flow.throttle_by(pace, cost).boxed());
        }
        let enforced = flow.throttle_enforcing(pace, cost);
        let enforced = enforced.map(|item| item.unwrap_or(Err(Fault::RateExceeded)));
        Ok(enforced.fail_fast().boxed())
    }

    fn map_async(&self, flow: Flow, mapping: Mapping, mut work: Work) -> Offered<Flow> {
        let mapped = flow.map_async_with(options(&mapping), move |item| match item {
            Ok(item) => work(item),
            Err(fault) => std::future::ready(Err(fault)).boxed(),
        });
        Ok(mapped
            .map(|item| item.map_err(|error| map_fault(&error)))
            .boxed())
    }

    fn map_partitioned(
        &self,
        flow: Flow,
        mapping: Mapping,
        key: fn(u64) -> u64,
        mut work: Work,
    ) -> Offered<Flow> {
        let key = move |item: &Result<u64, Fault>| item.as_ref().ok().map(|item| key(*item));
        let mapped =
            flow.map_async_partitioned(options(&mapping), key, move |item, _| match item {
                Ok(item) => work(item),
                Err(fault) => std::future::ready(Err(fault)).boxed(),
            });
        Ok(mapped
            .map(|item| item.map_err(|error| map_fault(&error)))
            .boxed())
    }

    fn buffer(&self, flow: Flow, size: usize, overflow: Overflow) -> Offered<Flow> {
        let policy = match overflow {
            Overflow::Backpressure => BufferPolicy::Backpressure,
            Overflow::DropHead => BufferPolicy::DropHead,
            Overflow::DropTail => BufferPolicy::DropTail,
            Overflow::DropBuffer => BufferPolicy::DropBuffer,
            Overflow::DropNew => BufferPolicy::DropNew,
            Overflow::Fail => {
                let kept = flow.buffer_or_fail(size);
                let kept = kept.map(|item| item.unwrap_or(Err(Fault::Overflow)));
                return Ok(kept.fail_fast().boxed());
            }
        };
        Ok(flow.buffer(size, policy).boxed())
    }

    fn batch(&self, flow: Flow, max: Option<usize>, mut fold: Fold) -> Offered<Flow> {
        let fold =
            move |folded: Result<u64, Fault>, item: Result<u64, Fault>| Ok(fold(folded?, item?));
        Ok(match max {
            Some(max) => flow.batch(max, |item| item, fold).boxed(),
            None => flow.conflate(fold).boxed(),
        })
    }

    fn grouped_within(&self, flow: Flow, n: usize, within: Duration) -> Offered<Flow<Vec<u64>>> {
        let groups = flow.grouped_within(n, within);
        let groups = groups.map(|group| group.into_iter().collect());
        Ok(groups.fail_fast().boxed())
    }

    fn delay(&self, flow: Flow, delay: fn(u64) -> Duration, size: usize) -> Offered<Flow> {
        let delay = move |item: &Result<u64, Fault>| {
            item.as_ref().map_or(Duration::ZERO, |item| delay(*item))
        };
        Ok(flow
            .delay_with(size, BufferPolicy::Backpressure, delay)
            .boxed())
    }

    fn keep_alive(&self, flow: Flow, idle: Duration, inject: u64) -> Offered<Flow> {
        Ok(flow.keep_alive(idle, move || Ok(inject)).boxed())
    }

    fn timeout(&self, flow: Flow, clock: StreamClock, limit: Duration) -> Offered<Flow> {
        let flat = |item: Result<Result<u64, Fault>, StreamTimeout>| item.map_err(timeout_fault)?;
        Ok(match clock {
            StreamClock::Initial => flow.initial_timeout(limit).map(flat).boxed(),
            StreamClock::Idle => flow.idle_timeout(limit).map(flat).boxed(),
            StreamClock::Completion => flow.completion_timeout(limit).map(flat).boxed(),
            StreamClock::Backpressure => flow.backpressure_timeout(limit).map(flat).boxed(),
        })
    }

    fn restart(&self, restarting: Restarting, factory: Factory) -> Offered<Flow> {
        let backoff = Backoff::new(restarting.min, restarting.max, restarting.random);
        let mut settings = RestartSettings::new(accepted(backoff)?).seed(restarting.seed);
        if let Some((restarts, within)) = restarting.limit {
            settings = settings.max_restarts(restarts, within);
        }
        if !restarting.on_completion {
            settings = settings.on_failures_only();
        }
        let restarted = restart_source(settings, factory);
        Ok(match restarting.restart_on {
            Some(decide) => restarted.restart_on(move |fault| decide(fault)).boxed(),
            None => restarted.boxed(),
        })
    }

    fn recover(&self, flow: Flow, attempts: Option<u32>, mut factory: Factory) -> Offered<Flow> {
        Ok(flow
            .recover_with_retries(attempts, move |_| Some(factory()))
            .boxed())
    }

    fn sum_supervised(&self, flow: Flow, directive: Directive) -> Offered<Flow> {
        let directive = match directive {
            Directive::Stop => kebne_streams::Directive::Stop,
            Directive::Resume => kebne_streams::Directive::Resume,
            Directive::Restart => kebne_streams::Directive::Restart,
        };
        let step = |sum: &u64, item: Result<u64, Fault>| match item? {
            13 => Err(Fault::Scripted("thirteen")),
            item => Ok(sum + item),
        };
        Ok(flow.scan_supervised(0, step, move |_| directive).boxed())
    }

    fn switch(&self) -> Offered<Box<dyn Switch>> {
        Ok(Box::new(Pulled(KillSwitch::new())))
    }

    fn queue(&self, size: usize) -> Offered<(Box<dyn Queue>, Flow)> {
        let (queue, source) = source_queue(size);
        Ok((Box::new(Offering(queue)), source.boxed()))
    }
}

struct Pulled(KillSwitch<Fault>);

impl Switch for Pulled {
    fn via(&self, flow: Flow) -> Flow {
        let killable = flow.via_kill_switch(&self.0);
        killable.map(|item| item?).boxed()
    }

    fn shutdown(&self) {
        self.0.shutdown();
    }

    fn abort(&self, reason: &'static str) {
        self.0.abort(Fault::Scripted(reason));
    }
}

struct Offering(SourceQueue<u64, Fault>);

impl Queue for Offering {
    fn offer(&self, item: u64) -> Offer {
        match self.0.offer(item) {
            QueueOffer::Enqueued => Offer::Enqueued,
            QueueOffer::Dropped(_) => Offer::Dropped,
            QueueOffer::Closed(_) => Offer::Closed,
            QueueOffer::Failed(_, fault) => Offer::Failed(fault),
        }
    }

    fn complete(&self) -> bool {
        self.0.complete().is_ok()
    }

    fn fail(&self, fault: Fault) -> bool {
        self.0.fail(fault).is_ok()
    }

    fn size(&self) -> usize {
        self.0.len()
    }

    fn another(&self) -> Box<dyn Queue> {
        Box::new(Self(self.0.clone()))
    }
}

//! A spec as Kebne's props and strategy.

use std::{fmt, sync::Arc};

use kebne_actors::system::{
    Directive as KebneDirective, Fault, Overflow as KebneOverflow, Props, Strategy,
};

use super::actor::KebnePuppet;
use crate::{
    driver::actors::Shared,
    puppet::{Body, Class, Directive, Overflow, Spec, Supervision, Wish},
};

/// The error by which a puppet fails.
#[derive(Debug)]
pub(super) struct PuppetError(pub(super) Class);

impl fmt::Display for PuppetError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "class {:?}", self.0)
    }
}

impl std::error::Error for PuppetError {}

pub(super) fn props(spec: Spec, shared: &Arc<Shared>) -> Props<KebnePuppet> {
    let template = spec.clone();
    let shared = Arc::clone(shared);
    let mut props = Props::new(move || KebnePuppet {
        body: Body::new(template.clone(), Arc::clone(&shared)),
    });
    if let Some(supervision) = spec.supervision {
        props = props.supervise(strategy(supervision));
    }
    if let Some(capacity) = spec.mailbox {
        props = props.mailbox(capacity);
    }
    if let Some(strategy) = spec.overflow {
        props = props.overflow(overflow(strategy));
    }
    if let Some(answers) = spec.max_in_flight {
        props = props.max_in_flight(answers);
    }
    if let Some(messages) = spec.throughput {
        props = props.throughput(messages);
    }
    if let Some(capacity) = spec.stash {
        props = props.stash(capacity);
    }
    if let Some(limit) = spec.hang_after {
        props = props.hang_after(limit);
    }
    if spec.elsewhere {
        props = props.on_arbiter(actix_rt::Arbiter::new().handle());
    }
    props
}

fn overflow(strategy: Overflow) -> KebneOverflow {
    match strategy {
        Overflow::DropNew => KebneOverflow::DropNew,
        Overflow::DropHead => KebneOverflow::DropHead,
        Overflow::DropTail => KebneOverflow::DropTail,
        Overflow::DropBuffer => KebneOverflow::DropBuffer,
        Overflow::Fail => KebneOverflow::Fail,
        Overflow::Backpressure => KebneOverflow::Backpressure,
    }
}

fn strategy(mut supervision: Supervision) -> Strategy {
    let nested = supervision.nested.take();
    let wishes = std::mem::take(&mut supervision.wishes);
    let limit = supervision.limit;
    let backoff = supervision.backoff;
    let escalate_at_limit = supervision.escalate_at_limit;
    let decide = move |fault: &Fault| match supervision.directive(class_of(fault)) {
        Directive::Resume => KebneDirective::Resume,
        Directive::Restart => KebneDirective::Restart,
        Directive::Stop => KebneDirective::Stop,
        Directive::Escalate => KebneDirective::Escalate,
    };
    let mut strategy = Strategy::decide(decide);
    if let Some((restarts, window)) = limit {
        strategy = strategy.with_limit(restarts, window);
    }
    if escalate_at_limit {
        strategy = strategy.escalate_at_limit();
    }
    if let Some(backoff) = backoff {
        strategy = strategy
            .with_backoff(backoff.min, backoff.max)
            .with_jitter(backoff.jitter);
        if let Some(quiet) = backoff.reset_after {
            strategy = strategy.with_reset_after(quiet);
        }
    }
    for wish in wishes {
        strategy = match wish {
            Wish::KeepChildren => strategy.keep_children(),
            Wish::ResetByHand => strategy.with_manual_reset(),
            Wish::RefuseMeanwhile => strategy.reject_while_restarting(),
            Wish::RestartsMax(restarts) => strategy.with_max_restarts(restarts),
        };
    }
    match nested {
        None => strategy,
        Some((classes, outer)) => {
            let inner = strategy.when(move |fault| classes.contains(&class_of(fault)));
            inner.or_else(self::strategy(*outer))
        }
    }
}

fn class_of(fault: &Fault) -> Class {
    match fault {
        Fault::Error(error) => {
            let puppet_error = error.downcast_ref::<PuppetError>();
            puppet_error.map_or(Class::Panic, |error| error.0)
        }
        Fault::Panic(_) | Fault::Task(_) => Class::Panic,
        Fault::Start(_) => Class::Start,
        Fault::Child { .. } => Class::Child,
        Fault::Hang(_) => Class::Hang,
        Fault::Overflow => Class::Overflow,
        Fault::DeathPact(_) => Class::Pact,
    }
}

//! The state of a lane and of the service in sentences: who waits and why. Pure functions of a sample.

use std::borrow::Cow;

use kebne_lane::{LaneSnapshot, LaneState, Service};

use crate::{
    backend::reason::UNREACHABLE,
    live::sample::{LaneSample, Level, SessionsSample},
};

/// The age from which stale numbers are reported: three samples. On a busy machine, a lane misses one now and then.
const SILENT_AFTER_MS: u64 = 3000;

/// Letters of a name in the state of the service.
const NAME_MAX: usize = 32;

/// Returns the age of a lane's numbers, if its actors do not answer.
pub(super) fn stale_ms(lane: &LaneSnapshot) -> Option<u64> {
    let is_silent = lane.stale && lane.age_ms >= SILENT_AFTER_MS;
    is_silent.then_some(lane.age_ms)
}

/// Returns how urgent the state of a lane is.
pub(super) fn level(
    lane: &LaneSnapshot,
    misconfigured: bool,
    check_failure: Option<&str>,
) -> Level {
    if stale_ms(lane).is_some() || lane.closed.is_some() || misconfigured {
        return Level::Bad;
    }
    if lane.service != Service::Open {
        return Level::Warn;
    }
    match lane.state {
        LaneState::Idle if check_failure.is_some() => Level::Warn,
        LaneState::Idle => Level::Idle,
        LaneState::Cold if is_unreachable(lane) => Level::Warn,
        LaneState::Probe | LaneState::Cold => Level::Busy,
        LaneState::Ramp | LaneState::Steady => Level::Good,
        LaneState::Paused | LaneState::Quota => Level::Warn,
        LaneState::Open => Level::Bad,
    }
}

/// Returns the state of a lane in one or two words.
pub(super) fn label(
    lane: &LaneSnapshot,
    misconfigured: bool,
    check_failure: Option<&str>,
) -> &'static str {
    if stale_ms(lane).is_some() {
        return "not answering";
    }
    if lane.closed.is_some() {
        return "closed";
    }
    match lane.service {
        Service::Open | Service::Closed => {}
        Service::Draining => return "draining",
        Service::Drained => return "drained",
    }
    if misconfigured {
        return "misconfigured";
    }
    match lane.state {
        LaneState::Idle if check_failure.is_some() => "unreachable",
        LaneState::Idle => "asleep or unknown",
        LaneState::Probe => "asking",
        LaneState::Cold if is_unreachable(lane) => "unreachable",
        LaneState::Cold => "loading",
        LaneState::Ramp => "growing",
        LaneState::Steady => "serving",
        LaneState::Open => "broken",
        LaneState::Paused => "paused",
        LaneState::Quota => "out of quota",
    }
}

/// Returns `true` if no connection could be made at the last attempt. The law takes this for a cold start, because a server that
/// starts is not there either.
pub(super) fn is_unreachable(lane: &LaneSnapshot) -> bool {
    let last = lane.last_failure.as_ref();
    last.is_some_and(|last| last.reason == Some(UNREACHABLE))
}

/// Returns who waits at a lane, and why.
pub(super) fn lane(lane: &LaneSample, state: LaneState, refuses: bool) -> String {
    if let Some(age) = lane.stale_ms {
        return format!(
            "The actors of this lane have not answered for {}: its limit, queue and calls in flight are from then.",
            time(age)
        );
    }
    if let Some(reason) = &lane.closed {
        return format!(
            "Closed: {reason}. Its calls go to the next backend of their model, or are refused."
        );
    }
    let text = match state {
        _ if lane.misconfigured => format!(
            "{}: the server does not accept the gateway{}. Calls fail until its key, address or model is corrected.",
            waiting(lane),
            status(lane)
        ),
        LaneState::Idle if lane.queued == 0 && lane.check_failure.is_some() => format!(
            "The health checks cannot reach the server: {}. Calls go there only if no other backend serves.",
            lane.check_failure.as_deref().unwrap_or_default()
        ),
        LaneState::Idle if lane.queued == 0 => {
            "Not asked for a while; the first call finds out whether the backend is awake."
                .to_owned()
        }
        LaneState::Idle | LaneState::Probe => {
            format!(
                "{}: one call asks whether the backend serves.",
                waiting(lane)
            )
        }
        LaneState::Cold if lane.unreachable => {
            format!(
                "{}: the backend cannot be reached; it may be starting.",
                waiting(lane)
            )
        }
        LaneState::Cold => format!("{}: the model loads, {}.", waiting(lane), left(lane)),
        LaneState::Ramp | LaneState::Steady => serving(lane, state),
        LaneState::Open => format!(
            "{}: so many calls failed in a row that only single calls are tried{}.",
            waiting(lane),
            next(lane)
        ),
        LaneState::Paused => {
            format!(
                "{}: the backend asked for a pause{}.",
                waiting(lane),
                ends(lane)
            )
        }
        LaneState::Quota => {
            format!(
                "{}: the quota of the backend is used up{}.",
                waiting(lane),
                next(lane)
            )
        }
    };
    if refuses {
        format!("{text} The lane is drained: new calls go to another backend or are refused.")
    } else {
        text
    }
}

fn serving(lane: &LaneSample, state: LaneState) -> String {
    let places = format!("{} of {} places are taken", lane.in_flight, lane.limit);
    let growing = if state == LaneState::Ramp {
        "; the limit is still growing"
    } else {
        ""
    };
    if lane.queued == 0 {
        return format!("Nobody waits: {places}{growing}.");
    }
    let who = waiting(lane);
    let why = if lane.in_flight >= lane.limit {
        format!("all {} places are taken{growing}", lane.limit)
    } else if lane.held > 0 {
        match lane.queued {
            1 => "the backend refused it for now".to_owned(),
            _ => format!("the backend refused {} of them for now", lane.held),
        }
    } else if lane.retrying >= lane.queued {
        match lane.queued {
            1 => "it failed and is tried again soon".to_owned(),
            _ => "they failed and are tried again soon".to_owned(),
        }
    } else if let Some(rate) = lane.rate {
        format!("the backend takes {rate:.1} calls per second")
    } else {
        "places are free, so they are sent now, or have too little time left to be served"
            .to_owned()
    };
    match lane.predicted_wait_ms.filter(|&wait| wait >= 500) {
        Some(wait) => format!(
            "{who}: {why}. A call that comes now waits about {}.",
            time(wait)
        ),
        None => format!("{who}: {why}."),
    }
}

/// Returns `7 callers wait`, `1 caller waits` or `Nobody waits`.
fn waiting(lane: &LaneSample) -> String {
    match lane.queued {
        0 => "Nobody waits".to_owned(),
        1 => "1 caller waits".to_owned(),
        queued => format!("{queued} callers wait"),
    }
}

/// Returns the status of the last failure, as the end of a clause.
fn status(lane: &LaneSample) -> String {
    let status = lane.last_failure.as_ref().and_then(|last| last.status);
    status.map_or_else(String::new, |status| format!(" (status {status})"))
}

fn left(lane: &LaneSample) -> String {
    match lane.ready_in_ms {
        Some(left) if left >= 1000 => format!("about {} left", time(left)),
        Some(_) => "it should be ready now".to_owned(),
        None => "for a time that is not known yet".to_owned(),
    }
}

fn next(lane: &LaneSample) -> String {
    let wait = lane.next_attempt_in_ms.filter(|&wait| wait >= 1000);
    wait.map_or_else(String::new, |wait| {
        format!("; the next one in {}", time(wait))
    })
}

fn ends(lane: &LaneSample) -> String {
    let wait = lane.next_attempt_in_ms.filter(|&wait| wait >= 1000);
    wait.map_or_else(String::new, |wait| {
        format!(", which ends in {}", time(wait))
    })
}

/// Returns a time as `3 s`, `2 min` or `5 h`, rounded up.
fn time(milliseconds: u64) -> String {
    let seconds = milliseconds.div_ceil(1000);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}

/// Returns the state of the service.
pub(super) fn overall(
    lanes: &[LaneSample],
    expected: usize,
    draining: bool,
    store: &SessionsSample,
) -> (Level, String) {
    let in_flight: u32 = lanes.iter().map(|lane| lane.in_flight).sum();
    let queued: usize = lanes.iter().map(|lane| lane.queued).sum();
    if draining {
        let sentence = format!(
            "The service stops: {} are being finished, new ones are refused.",
            calls(in_flight, queued)
        );
        return (Level::Warn, sentence);
    }
    let named = |wanted: fn(&LaneSample) -> bool| -> Vec<&str> {
        lanes
            .iter()
            .filter(|lane| wanted(lane))
            .map(|lane| &*lane.name)
            .collect()
    };
    let silent = named(|lane| lane.stale_ms.is_some());
    let bad = named(|lane| lane.level == Level::Bad && lane.stale_ms.is_none());
    let warned = named(|lane| lane.level == Level::Warn);
    let loading = named(|lane| lane.level == Level::Busy);
    let mut parts = Vec::new();
    let mut level = Level::Good;
    if lanes.len() < expected {
        parts.push(format!(
            "{} of {expected} backends do not report",
            expected - lanes.len()
        ));
        level = Level::Bad;
    }
    for (names, what, urgency) in [
        (&silent, "not answering", Level::Bad),
        (&bad, "not serving", Level::Bad),
        (&warned, "held up", Level::Warn),
        (&loading, "getting ready", Level::Busy),
    ] {
        if !names.is_empty() {
            level = level.max(urgency);
            parts.push(format!(
                "{} {} {what}",
                listed(names),
                if names.len() == 1 { "is" } else { "are" }
            ));
        }
    }
    if store.store != "available" {
        level = level.max(Level::Warn);
        parts.push("the session store does not answer".to_owned());
    }
    if parts.is_empty() {
        let idle = lanes.iter().all(|lane| lane.level == Level::Idle);
        level = if idle { Level::Idle } else { Level::Good };
        parts.push(if idle {
            "Ready, and nothing is asked".to_owned()
        } else if expected == 1 {
            "The backend serves".to_owned()
        } else {
            format!("No backend of {expected} has a problem")
        });
    }
    let waits = match queued {
        0 => "nobody waits".to_owned(),
        1 => "1 caller waits".to_owned(),
        queued => format!("{queued} callers wait"),
    };
    (
        level,
        format!("{}; {waits}.", capitalized(&parts.join(", "))),
    )
}

fn calls(in_flight: u32, queued: usize) -> String {
    let count = usize::try_from(in_flight)
        .unwrap_or(usize::MAX)
        .saturating_add(queued);
    if count == 1 {
        "1 call".to_owned()
    } else {
        format!("{count} calls")
    }
}

/// Returns at most three names.
fn listed(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| brief(name)).collect();
    match &names[..] {
        [one] => format!("“{one}”"),
        [one, two] => format!("“{one}” and “{two}”"),
        [one, two, three] => format!("“{one}”, “{two}” and “{three}”"),
        [one, two, rest @ ..] => format!("“{one}”, “{two}” and {} others", rest.len()),
        [] => String::new(),
    }
}

/// Returns a name without its middle if it is long: the names of replicas differ at their ends.
fn brief(name: &str) -> Cow<'_, str> {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= NAME_MAX {
        return name.into();
    }
    let (head, _) = letters.split_at(NAME_MAX / 2);
    let (_, tail) = letters.split_at(letters.len() - (NAME_MAX - 1 - NAME_MAX / 2));
    let parts = head.iter().chain(&['…']).chain(tail);
    parts.collect::<String>().into()
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests;

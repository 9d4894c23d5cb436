//! Runs as folds: the decisions of [`Run::next`] without actors.

use super::*;

fn event(seq: u64, at: u64, what: RunEvent) -> Event {
    Event { seq, at, what }
}

fn began(spec: AgentSpec) -> Event {
    let began = Began {
        budget: Budget::of(&spec),
        spec,
        messages: vec![Message::user("Go.")],
        remembered: 0,
        session: None,
        caller: String::new(),
        parent: None,
        depth: 0,
        origin: std::collections::BTreeMap::new(),
        awaited: None,
    };
    event(1, 1000, RunEvent::Began(Box::new(began)))
}

fn call(id: &str, name: &str) -> ToolCall {
    ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: "{}".to_owned(),
    }
}

fn answered(seq: u64, calls: Vec<ToolCall>) -> Event {
    let what = RunEvent::Answered {
        text: if calls.is_empty() { "Done." } else { "" }.to_owned(),
        calls,
        usage: Usage::default(),
    };
    event(seq, 1000 + seq, what)
}

fn next(run: &Run, is_repeatable: bool, mine: &[&str], busy: &[&str]) -> Todo {
    run.next(&View {
        now: 2000,
        kind: &|call| match call.name.as_str() {
            "tool" => CallKind::Tool { is_repeatable },
            _ => CallKind::Missing,
        },
        is_mine: &|id| mine.contains(&id),
        is_busy: &|id| busy.contains(&id),
        is_asking: false,
    })
}

fn run(spec: AgentSpec, events: Vec<Event>) -> Run {
    let all: Vec<Event> = std::iter::once(began(spec)).chain(events).collect();
    Run::of("run_1".into(), "ann".into(), &all).unwrap()
}

fn spec() -> AgentSpec {
    AgentSpec::new("a", "m", "").tool("tool")
}

#[test]
fn a_call_that_must_not_be_repeated_is_written_down_first() {
    let calls = vec![call("1", "tool"), call("2", "tool")];
    let before = run(spec(), vec![answered(2, calls.clone())]);
    let both = vec!["1".to_owned(), "2".to_owned()];
    assert_eq!(next(&before, false, &[], &[]), Todo::Mark(both.clone()));
    assert_eq!(next(&before, true, &[], &[]), Todo::Call(calls.clone()));
    let marked = event(3, 1003, RunEvent::Calling { calls: both });
    let after = run(spec(), vec![answered(2, calls.clone()), marked]);
    assert_eq!(
        next(&after, false, &["1", "2"], &[]),
        Todo::Call(calls.clone())
    );
    assert_eq!(
        next(&after, false, &["1", "2"], &["1"]),
        Todo::Call(vec![calls[1].clone()])
    );
    assert_eq!(next(&after, false, &["1", "2"], &["1", "2"]), Todo::Nothing);
    // Another actor does not know what became of it.
    let Todo::Return(id, CallOutcome::Unknown, _) = next(&after, false, &[], &[]) else {
        panic!("it is not repeated");
    };
    assert_eq!(id, "1");
}

#[test]
fn a_human_decides_whether_an_unknown_call_is_repeated() {
    let spec = AgentSpec {
        unknown: crate::spec::OnUnknown::Hold,
        ..spec()
    };
    let began = vec![
        answered(2, vec![call("1", "tool")]),
        event(
            3,
            1003,
            RunEvent::Calling {
                calls: vec!["1".to_owned()],
            },
        ),
    ];
    let lost = run(spec.clone(), began.clone());
    assert_eq!(next(&lost, false, &[], &[]), Todo::Hold("1".to_owned()));
    let mut held = began;
    held.push(event(
        4,
        1004,
        RunEvent::Held {
            call: "1".to_owned(),
        },
    ));
    let waits = run(spec.clone(), held.clone());
    assert_eq!(waits.waiting()[0].1, WaitsFor::Repetition);
    assert_eq!(next(&waits, false, &[], &[]), Todo::Wait);
    for (approved, expected) in [(true, "mark"), (false, "unknown")] {
        let decision = Decision {
            approved,
            ..Decision::default()
        };
        let mut decided = held.clone();
        let what = RunEvent::Decided {
            call: "1".to_owned(),
            decision,
        };
        decided.push(event(5, 1500, what));
        let found = next(&run(spec.clone(), decided), false, &[], &[]);
        let found = match found {
            Todo::Mark(_) => "mark",
            Todo::Return(_, CallOutcome::Unknown, _) => "unknown",
            _ => "other",
        };
        assert_eq!(found, expected);
    }
}

#[test]
fn a_late_answer_of_an_actor_that_was_restarted_changes_nothing() {
    let calls = vec![call("1", "tool")];
    let once = run(spec(), vec![answered(2, calls.clone())]);
    let twice = run(
        spec(),
        vec![answered(2, calls), answered(3, vec![call("x", "tool")])],
    );
    assert_eq!((once.steps, &once.open), (twice.steps, &twice.open));
    let done = run(
        spec(),
        vec![answered(2, vec![]), answered(3, vec![call("x", "tool")])],
    );
    assert_eq!(
        next(&done, true, &[], &[]),
        Todo::End(Ending::Completed, "Done.".to_owned())
    );
}

#[test]
fn events_that_are_read_twice_are_applied_once_and_survive_json() {
    let events = vec![
        answered(2, vec![call("1", "tool")]),
        event(
            3,
            1003,
            RunEvent::Returned {
                call: "1".to_owned(),
                text: "x".to_owned(),
                outcome: CallOutcome::Done,
                usage: Usage::default(),
            },
        ),
    ];
    let once = run(spec(), events.clone());
    let mut twice = run(spec(), events.clone());
    for event in &events {
        twice.apply(event);
    }
    assert_eq!(once.messages, twice.messages);
    let text = serde_json::to_string(&events).unwrap();
    let back: Vec<Event> = serde_json::from_str(&text).unwrap();
    assert_eq!(back, events);
    assert!(text.contains("\"type\":\"answered\""));
}

#[test]
fn the_budget_of_a_task_is_a_share_of_what_is_left() {
    let budget = Budget {
        steps: 10,
        tokens: 1000,
        cost: Some(Money::from_nano(90)),
        time_ms: 50,
    };
    let share = budget.share(3);
    assert_eq!(
        (share.tokens, share.cost, share.steps),
        (333, Some(Money::from_nano(30)), 10)
    );
    let other = Budget {
        steps: 3,
        tokens: 5000,
        cost: None,
        time_ms: 9,
    };
    let within = other.within(share);
    assert_eq!((within.steps, within.tokens, within.time_ms), (3, 333, 9));
    assert_eq!(within.cost, share.cost);
}

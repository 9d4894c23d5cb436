//! What is done about alerts, in virtual time.

use std::{sync::Arc, time::Duration};

use super::Planner;
use crate::{
    Access, ActionKind, ActionSettings, ActionState, Alert, Command, KeySample, LaneSample, Memory,
    Phase, Policy, Rule, Sample, UndoError,
};

fn planner(policy: Policy) -> Planner {
    Planner::new(ActionSettings {
        prewarm: policy,
        take_out: policy,
        lower_share: policy,
        ..ActionSettings::default()
    })
}

fn lane(name: &str) -> LaneSample {
    LaneSample {
        name: name.into(),
        phase: Phase::Serving,
        has_alternative: true,
        ..LaneSample::default()
    }
}

fn sample(lanes: Vec<LaneSample>) -> Sample {
    Sample {
        lanes,
        ..Sample::default()
    }
}

fn alert(rule: Rule, subject: &str) -> Alert {
    Alert {
        id: 1,
        rule,
        severity: rule.severity(),
        subject: subject.into(),
        since: 0,
        sentence: "Many calls fail.".to_owned(),
        action: rule.action(subject, &Access::default()),
        until: None,
    }
}

/// Lets so many seconds pass; returns the second and the kind of each command, and carries it out.
fn run(
    planner: &mut Planner,
    sample: &mut Sample,
    alerts: &[Alert],
    seconds: u64,
    mut change: impl FnMut(&mut Sample),
) -> Vec<(u64, &'static str)> {
    let mut done = Vec::new();
    for _ in 0..seconds {
        sample.at += Duration::from_secs(1);
        sample.unix_seconds += 1;
        change(sample);
        for command in planner.look(sample, alerts) {
            let mut close = |name: &Arc<str>, reason: Option<Arc<str>>| {
                let mut lanes = sample.lanes.iter_mut();
                lanes.find(|lane| lane.name == *name).unwrap().closed = reason;
            };
            let name = match command {
                Command::Close { lane, reason } => {
                    close(&lane, Some(reason.into()));
                    "close"
                }
                Command::Reopen { lane, .. } => {
                    close(&lane, None);
                    "reopen"
                }
                Command::Prewarm { .. } => "prewarm",
                Command::SetShare { percent, .. } if percent < 100 => "lower",
                Command::SetShare { .. } => "restore",
            };
            done.push((sample.at.as_secs(), name));
        }
    }
    done
}

#[test]
fn a_bad_replica_is_taken_out_and_tried_with_growing_pauses_until_it_serves() {
    let (mut planner, mut sample) = (planner(Policy::Act), sample(vec![lane("a"), lane("b")]));
    let alerts = [alert(Rule::BurnRateFast, "a")];
    // Each time it is let in it fails two calls.
    let done = run(&mut planner, &mut sample, &alerts, 500, |sample| {
        let lane = &mut sample.lanes[0];
        if lane.closed.is_none() {
            lane.failed += 2;
        }
    });
    let expected = [
        (1, "close"),
        (61, "reopen"),
        (62, "close"),
        (182, "reopen"),
        (183, "close"),
        (423, "reopen"),
        (424, "close"),
    ];
    assert_eq!(done, expected);
    assert_eq!(planner.actions().len(), 1, "it is one action");
    assert_eq!(planner.actions()[0].state, ActionState::Active);
    // It serves again.
    let done = run(&mut planner, &mut sample, &[], 1000, |sample| {
        let lane = &mut sample.lanes[0];
        if lane.closed.is_none() {
            lane.succeeded += 5;
        }
    });
    assert_eq!(done, [(904, "reopen")]);
    let action = &planner.actions()[0];
    assert_eq!(
        (action.kind, action.state),
        (ActionKind::TakeOut, ActionState::Over)
    );
    assert!(
        action.reason.contains("Many calls fail."),
        "{}",
        action.reason
    );
}

#[test]
fn the_last_lane_of_a_model_is_never_taken_out_and_nothing_is_done_unless_asked_for() {
    let alerts = [
        alert(Rule::BurnRateFast, "a"),
        alert(Rule::Misconfigured, "a"),
    ];
    let mut alone = sample(vec![lane("a"), lane("b")]);
    alone.lanes[0].has_alternative = false;
    assert_eq!(
        run(&mut planner(Policy::Act), &mut alone, &alerts, 1000, |_| {}),
        []
    );
    let mut two = sample(vec![lane("a"), lane("b")]);
    let mut off = planner(Policy::Off);
    assert_eq!(run(&mut off, &mut two, &alerts, 1000, |_| {}), []);
    assert!(off.actions().is_empty());
    let mut suggests = planner(Policy::Suggest);
    assert_eq!(run(&mut suggests, &mut two, &alerts, 1000, |_| {}), []);
    let actions = suggests.actions();
    assert_eq!(actions.len(), 1, "{actions:?}");
    assert_eq!(actions[0].state, ActionState::Suggested);
    // A backend that is only down gets no calls anyway.
    let down = [alert(Rule::BackendDown, "a")];
    assert_eq!(
        run(&mut planner(Policy::Act), &mut two, &down, 1000, |_| {}),
        []
    );
}

#[test]
fn what_somebody_undid_is_left_alone() {
    let (mut planner, mut sample) = (planner(Policy::Act), sample(vec![lane("a"), lane("b")]));
    let alerts = [alert(Rule::BurnRateFast, "a")];
    assert_eq!(
        run(&mut planner, &mut sample, &alerts, 5, |_| {}),
        [(1, "close")]
    );
    assert_eq!(planner.undo(99, sample.at, 5), Err(UndoError::Unknown));
    let (action, command) = planner.undo(1, sample.at, 5).unwrap();
    assert_eq!((action.state, action.until), (ActionState::Undone, Some(5)));
    assert!(matches!(command, Command::Reopen { lane, .. } if &*lane == "a"));
    assert_eq!(planner.undo(1, sample.at, 5), Err(UndoError::NotActive));
    sample.lanes[0].closed = None;
    let done = run(&mut planner, &mut sample, &alerts, 4000, |_| {});
    assert_eq!(done.first(), Some(&(3605, "close")), "an hour later");
}

#[test]
fn an_action_says_which_command_undoes_it_or_does_what_it_suggests() {
    let alerts = [alert(Rule::Misconfigured, "a")];
    for (policy, expected) in [
        (
            Policy::Act,
            "curl -X POST http://127.0.0.1:8080/v1/alerts/actions/1/undo",
        ),
        (
            Policy::Suggest,
            "curl -X POST http://127.0.0.1:8080/admin/v1/backends/a/disable",
        ),
    ] {
        let mut planner = planner(policy);
        let mut sample = sample(vec![lane("a"), lane("b")]);
        run(&mut planner, &mut sample, &alerts, 5, |_| {});
        let command = |planner: &Planner| {
            let action = planner.actions().swap_remove(0);
            action.with_command(&Access::default()).command
        };
        assert_eq!(command(&planner).as_deref(), Some(expected));
        if policy == Policy::Act {
            planner.undo(1, sample.at, 5).unwrap();
            assert_eq!(command(&planner), None);
        }
    }
}

#[test]
fn a_lane_that_an_operator_opens_is_not_closed_at_once() {
    let (mut planner, mut sample) = (planner(Policy::Act), sample(vec![lane("a"), lane("b")]));
    let alerts = [alert(Rule::BurnRateFast, "a")];
    run(&mut planner, &mut sample, &alerts, 20, |_| {});
    sample.lanes[0].closed = None;
    let done = run(&mut planner, &mut sample, &alerts, 3000, |_| {});
    assert_eq!(done, []);
    assert_eq!(planner.actions()[0].state, ActionState::Undone);
}

#[test]
fn an_idle_backend_is_woken_once_before_a_daily_peak() {
    let (mut planner, mut sample) = (planner(Policy::Act), sample(vec![lane("a")]));
    let mut woken = Vec::new();
    // Four days, a minute at a time, with calls from eight to nine.
    for minute in 0..4 * 1440_u64 {
        let of_day = minute % 1440;
        let is_peak = (480..540).contains(&of_day);
        sample.at = Duration::from_secs(minute * 60);
        sample.unix_seconds = minute * 60;
        sample.lanes[0].phase = if is_peak { Phase::Serving } else { Phase::Idle };
        sample.lanes[0].load_time_p95 = Some(Duration::from_mins(3));
        for command in planner.look(&sample, &[]) {
            assert!(
                matches!(&command, Command::Prewarm { reason, .. } if reason.contains("900 calls")),
                "{command:?}"
            );
            woken.push((minute / 1440, of_day));
        }
        if is_peak {
            sample.lanes[0].calls += 60;
        }
    }
    // The load time and two minutes before eight.
    assert_eq!(woken, [(2, 475), (3, 475)]);
}

#[test]
fn the_share_of_the_key_with_most_calls_is_lowered_while_calls_are_refused() {
    let (mut planner, mut sample) = (planner(Policy::Act), sample(vec![lane("a")]));
    let alerts = [alert(Rule::RefusalsSustained, "a")];
    let key = |name: &str, running| KeySample {
        name: name.into(),
        running,
    };
    sample.keys = vec![key("web", 5), key("batch", 4)];
    assert_eq!(
        run(&mut planner, &mut sample, &alerts, 10, |_| {}),
        [],
        "nobody has most"
    );
    sample.keys = vec![key("web", 5), key("batch", 40)];
    assert_eq!(
        run(&mut planner, &mut sample, &alerts, 10, |_| {}),
        [(11, "lower")]
    );
    assert_eq!(&*planner.actions()[0].subject, "batch");
    assert_eq!(
        run(&mut planner, &mut sample, &[], 10, |_| {}),
        [(21, "restore")]
    );
    assert_eq!(planner.actions()[0].state, ActionState::Over);
}

#[test]
fn the_habits_of_the_day_survive_a_restart_and_what_was_in_force_is_over() {
    let settings = ActionSettings {
        prewarm: Policy::Act,
        take_out: Policy::Act,
        ..ActionSettings::default()
    };
    let mut planner = Planner::new(settings.clone());
    let mut idle = lane("a");
    idle.phase = Phase::Idle;
    let mut now = sample(vec![idle, lane("b")]);
    // Three days with a peak at eight.
    for minute in 0..3 * 1440_u64 {
        now.unix_seconds = minute * 60;
        now.at = Duration::from_mins(minute);
        planner.look(&now, &[]);
        if (480..600).contains(&(minute % 1440)) {
            now.lanes[0].calls += 60;
        }
    }
    let alerts = [alert(Rule::Misconfigured, "b")];
    assert!(matches!(
        planner.look(&now, &alerts)[..],
        [Command::Close { .. }]
    ));
    let mut memory = Memory::default();
    planner.remember(&mut memory);
    let mut planner = Planner::with_memory(settings, &memory);
    now.unix_seconds = 3 * 86400 + 8 * 3600 - 60;
    now.at = Duration::from_secs(1);
    now.lanes[0].calls = 0;
    assert!(matches!(
        planner.look(&now, &[])[..],
        [Command::Prewarm { .. }]
    ));
    let actions = planner.actions();
    let closed = actions
        .iter()
        .find(|action| action.kind == ActionKind::TakeOut)
        .unwrap();
    assert_eq!(
        (closed.state, closed.until),
        (ActionState::Over, Some(now.unix_seconds))
    );
    assert!(actions[0].id > closed.id, "numbers are not used again");
}

#[test]
fn a_suggestion_is_done_once_that_is_allowed_and_ends_when_somebody_follows_it_or_its_cause_is_over()
 {
    let mut planner = planner(Policy::Suggest);
    let mut sample = sample(vec![lane("a")]);
    let alerts = [alert(Rule::Misconfigured, "a")];
    let none = |_: &mut Sample| {};
    assert_eq!(run(&mut planner, &mut sample, &alerts, 5, none), []);
    let state = |planner: &Planner| planner.actions()[0].state;
    assert_eq!(state(&planner), ActionState::Suggested);
    // The operator disables the backend, and opens it again before it is well.
    sample.lanes[0].closed = Some("closed by an operator".into());
    run(&mut planner, &mut sample, &alerts, 1, none);
    assert_eq!(state(&planner), ActionState::Over);
    sample.lanes[0].closed = None;
    run(&mut planner, &mut sample, &alerts, 1, none);
    assert_eq!(state(&planner), ActionState::Suggested);
    run(&mut planner, &mut sample, &[], 1, none);
    assert_eq!(state(&planner), ActionState::Over);
    assert_eq!(planner.actions().len(), 1);
    planner.change(ActionSettings {
        take_out: Policy::Act,
        ..ActionSettings::default()
    });
    let done = run(&mut planner, &mut sample, &alerts, 5, none);
    assert_eq!(done, [(9, "close")]);
    assert_eq!(state(&planner), ActionState::Active);
}

#[test]
fn what_somebody_undid_is_left_alone_after_a_restart_too() {
    let (mut first, mut sample) = (planner(Policy::Act), sample(vec![lane("a"), lane("b")]));
    let alerts = [alert(Rule::Misconfigured, "a")];
    run(&mut first, &mut sample, &alerts, 5, |_| {});
    first.undo(1, sample.at, sample.unix_seconds).unwrap();
    let mut memory = Memory::default();
    first.remember(&mut memory);
    // The next process starts ten minutes later, with a clock of its own.
    sample.at = Duration::ZERO;
    sample.unix_seconds += 600;
    sample.lanes[0].closed = None;
    let mut second = Planner::with_memory(first.settings.clone(), &memory);
    let done = run(&mut second, &mut sample, &alerts, 4000, |_| {});
    assert_eq!(done.first(), Some(&(3000, "close")));
}

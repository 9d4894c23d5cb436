//! Actors, stores, budgets and the log.

use super::*;

#[test]
fn a_budget_that_is_nearly_used_and_a_store_that_fails_are_reported() {
    let mut service = Service::new();
    let budget = |used_permille| crate::BudgetSample {
        account: "group/a".into(),
        period: "month",
        used_permille,
    };
    service.sample.budgets = vec![budget(899), budget(100)];
    service.seconds(60, |_| {});
    assert_eq!(service.changes, []);
    service.sample.budgets = vec![budget(100), budget(934)];
    service.seconds(60, |_| {});
    assert_eq!(service.rules(), [(OPENED, Rule::BudgetNearlyUsed)]);
    assert!(
        service.sentence().contains("to 93 %"),
        "{}",
        service.sentence()
    );
    service.sample.budgets.clear();
    service.sample.account_outage = Some("disk is full".to_owned());
    service.seconds(120, |_| {});
    let closed = (CLOSED, Rule::BudgetNearlyUsed);
    let opened = (OPENED, Rule::AccountStoreDown);
    let rules = service.rules();
    assert!(
        rules.contains(&closed) && rules.contains(&opened),
        "{rules:?}"
    );
}

#[test]
fn each_store_that_fails_has_an_alert_of_its_own() {
    let mut service = Service::new();
    let outage = |name: &str| crate::StoreOutage {
        name: name.into(),
        reason: "disk is full".to_owned(),
    };
    service.sample.stores = vec![outage("prompts")];
    service.seconds(9, |_| {});
    assert_eq!(service.changes, []);
    service.seconds(10, |_| {});
    assert_eq!(service.rules(), [(OPENED, Rule::ContentStoreDown)]);
    assert!(
        service.sentence().contains("store of prompts")
            && service.sentence().contains("disk is full"),
        "{}",
        service.sentence()
    );
    service.sample.stores.push(outage("kept answers"));
    service.seconds(20, |_| {});
    assert_eq!(service.rules().len(), 2);
    service.sample.stores.clear();
    service.seconds(20, |_| {});
    let closed = (CLOSED, Rule::ContentStoreDown);
    let rules = service.rules();
    assert_eq!(rules.iter().filter(|rule| **rule == closed).count(), 2);
}

#[test]
fn an_actor_that_handles_nothing_is_stuck_and_a_busy_one_is_not() {
    let mut service = Service::new();
    service.sample.actors = vec![
        ActorSample {
            path: "/user/busy".into(),
            mailbox: 900,
            handled: 0,
            ..ActorSample::default()
        },
        ActorSample {
            path: "/user/stuck".into(),
            mailbox: 1,
            handled: 7,
            ..ActorSample::default()
        },
        ActorSample {
            path: "/user/idle".into(),
            mailbox: 0,
            handled: 7,
            ..ActorSample::default()
        },
    ];
    service.seconds(100, |sample| sample.actors[0].handled += 1);
    assert_eq!(service.changes, [(31, OPENED, Rule::StuckActor)]);
    assert!(
        service
            .sentence()
            .contains("`/user/stuck` has 1 message waiting"),
        "{}",
        service.sentence()
    );
    service.sample.actors[0].mailbox = 0;
    service.sample.actors[1].mailbox = 0;
    service.seconds(31, |_| {});
    assert_eq!(service.rules()[1..], [(CLOSED, Rule::StuckActor)]);
    // A lane whose actors do not answer: its numbers are zero, which means nothing.
    let mut service = Service::new();
    service.calls(100, 0, 0);
    service.lane().phase = Phase::Silent;
    // Its actors are a part of the same incident.
    service.sample.actors = vec![ActorSample {
        path: "/user/lane-gpu/pool".into(),
        mailbox: 3,
        ..ActorSample::default()
    }];
    service.lane().calls = 0;
    service.lane().succeeded = 0;
    service.seconds(40, |_| {});
    assert_eq!(service.rules(), [(OPENED, Rule::StuckActor)]);
}

#[test]
fn a_thread_that_hangs_is_one_alert_that_names_its_lanes() {
    let mut service = Service::new();
    let lane = service.sample.lanes[0].clone();
    service.sample.lanes = (0..7)
        .map(|number| LaneSample {
            name: format!("gpu-{number}").into(),
            ..lane.clone()
        })
        .collect();
    service.sample.actors = vec![ActorSample {
        path: "/user/other".into(),
        mailbox: 2,
        ..ActorSample::default()
    }];
    service.seconds(10, |sample| {
        for lane in &mut sample.lanes {
            lane.phase = Phase::Silent;
        }
    });
    service.seconds(40, |_| {});
    assert_eq!(service.rules(), [(OPENED, Rule::StuckActor)]);
    let alert = service.watch.active()[0].clone();
    let expected = "The actors of 7 lanes have answered nothing for up to 49 s: `gpu-0`, `gpu-1`, `gpu-2`, `gpu-3`, `gpu-4` and 2 \
        others. The actor `/user/other` has 2 messages waiting and has handled none for 49 s.";
    assert_eq!(alert.sentence, expected);
    for lane in &mut service.sample.lanes[1..] {
        lane.phase = Phase::Serving;
    }
    service.sample.actors.clear();
    service.seconds(1, |_| {});
    let sentence = &service.watch.active()[0].sentence;
    assert!(
        sentence.contains("lane `gpu-0` have answered nothing for 50 s"),
        "{sentence}"
    );
    service.lane().phase = Phase::Serving;
    service.seconds(31, |_| {});
    assert_eq!(service.rules()[1..], [(CLOSED, Rule::StuckActor)]);
    assert!(
        service.sentence().contains("`gpu-0`"),
        "{}",
        service.sentence()
    );
}

#[test]
fn failures_of_a_model_at_a_lane_that_hangs_are_part_of_that_incident() {
    let mut service = Service::new();
    service.sample.models = vec![ModelSample {
        name: "chat".into(),
        ..ModelSample::default()
    }];
    service.lane().phase = Phase::Silent;
    let failed = crate::FailedCalls {
        model: "chat".into(),
        lane: "gpu".into(),
        reason: "upstream_timeout",
        count: 0,
    };
    service.sample.failed = vec![failed];
    service.seconds(120, |sample| {
        sample.models[0].failed += 1;
        sample.failed[0].count += 1;
    });
    assert_eq!(service.rules(), [(OPENED, Rule::StuckActor)]);
}

#[test]
fn restarts_are_counted_over_workers_that_are_alike_and_within_ten_minutes() {
    let mut service = Service::new();
    let actor = |path: &str| ActorSample {
        path: path.into(),
        ..ActorSample::default()
    };
    service.sample.actors = vec![
        actor("/user/gpu/worker-1"),
        actor("/user/gpu/worker-23"),
        actor("/user/context"),
    ];
    let fail = |service: &mut Service, index: usize| {
        service.seconds(1, |sample| {
            sample.actors[index].restarts += 1;
            sample.actors[index].last_failure = Some("the attempt panicked".into());
        });
    };
    for _ in 0..20 {
        fail(&mut service, 2);
        service.seconds(299, |_| {});
    }
    assert_eq!(service.changes, [], "one in five minutes");
    for index in [0, 1, 0, 1] {
        fail(&mut service, index);
    }
    assert_eq!(service.changes, []);
    fail(&mut service, 1);
    assert_eq!(service.rules(), [(OPENED, Rule::ActorRestarts)]);
    assert_eq!(
        service.sentence(),
        "The actor `/user/gpu/worker` was restarted 5 times within 10 minutes. The last failure: the attempt panicked."
    );
    service.seconds(700, |_| {});
    assert_eq!(service.rules()[1..], [(CLOSED, Rule::ActorRestarts)]);
}

#[test]
fn a_store_that_is_gone_restarts_its_actor_and_is_one_alert() {
    let mut service = Service::new();
    service.sample.actors = vec![ActorSample {
        path: "/user/context".into(),
        last_failure: Some("the file is gone".into()),
        ..ActorSample::default()
    }];
    service.sample.store_outage = Some("the file is gone".to_owned());
    service.seconds(100, |sample| sample.actors[0].restarts += 1);
    assert_eq!(service.rules(), [(OPENED, Rule::StoreDown)]);
}

#[test]
fn an_outage_of_the_store_and_lost_lines_are_reported() {
    let mut service = Service::new();
    service.sample.log_lines_dropped = 5;
    service.seconds(10, |_| {});
    assert_eq!(service.changes, [], "lost before the first sample");
    service.sample.log_lines_dropped = 6;
    service.sample.store_outage = Some("the disk is full".to_owned());
    service.seconds(120, |_| {});
    assert_eq!(
        service.changes,
        [
            (11, OPENED, Rule::LogLinesDropped),
            (16, OPENED, Rule::StoreDown),
            (130, CLOSED, Rule::LogLinesDropped)
        ]
    );
}

#[test]
fn a_certificate_is_reported_two_weeks_before_it_expires_until_it_is_renewed() {
    const DAY: u64 = 24 * 60 * 60;
    let mut service = Service::new();
    let expires_in = |service: &mut Service, left: u64| {
        service.seconds(1, |_| {});
        let now = service.sample.unix_seconds;
        service.sample.certificate_expires_at = Some(now + left);
    };
    expires_in(&mut service, 14 * DAY + 60);
    service.seconds(30, |_| {});
    assert_eq!(service.changes, []);
    service.seconds(60, |_| {});
    assert_eq!(service.rules(), [(OPENED, Rule::CertificateExpires)]);
    let sentence = service.sentence();
    assert!(sentence.contains("in 13 days"), "{sentence}");
    expires_in(&mut service, 90 * DAY);
    service.seconds(30, |_| {});
    let closed = (CLOSED, Rule::CertificateExpires);
    assert!(service.rules().contains(&closed), "{:?}", service.rules());
}

#[test]
fn a_server_that_does_not_start_is_reported_until_it_does() {
    let mut service = Service::new();
    let server = |is_failing| crate::ServerSample {
        name: "gpu".into(),
        is_failing,
        serves: !is_failing,
        is_awake: false,
        failures: 2,
        last_error: Some("no such file.".to_owned()),
    };
    service.sample.servers = vec![server(false)];
    service.seconds(60, |_| {});
    assert_eq!(service.changes, []);
    service.sample.servers = vec![server(true)];
    service.seconds(2, |_| {});
    assert_eq!(service.rules(), [(OPENED, Rule::ServerFails)]);
    assert_eq!(
        service.sentence(),
        "The model server `gpu` does not start, 2 times in a row. The last error: no such file."
    );
    service.sample.servers = vec![server(false)];
    service.seconds(30, |_| {});
    assert!(service.rules().contains(&(CLOSED, Rule::ServerFails)));
    let awake = crate::ServerSample {
        is_awake: true,
        last_error: Some("the sleep hook failed: status 500".to_owned()),
        ..server(true)
    };
    service.sample.servers = vec![awake];
    service.seconds(2, |_| {});
    assert_eq!(
        service.sentence(),
        "The model server `gpu` may still be awake, because it was not put to sleep. The last error: the sleep hook failed: status 500."
    );
}

//! The burn rates of lanes and models.

use super::*;

#[test]
fn a_fast_burn_opens_within_seconds_and_closes_minutes_after_its_cause() {
    let mut service = Service::new();
    // 14.4 times the budget of one percent is one call in seven.
    service.calls(3600, 0, 0).calls(7200, 1, 0);
    assert_eq!(
        service.rules(),
        [(OPENED, Rule::BurnRateSlow)],
        "ten percent burn slowly"
    );
    let mut service = Service::new();
    service.lane().last_failure = Some("the server answered 500".into());
    service.calls(600, 0, 0).calls(700, 5, 0);
    // The slow burn is reached earlier.
    let rules = [(OPENED, Rule::BurnRateSlow), (OPENED, Rule::BurnRateFast)];
    assert_eq!(service.rules(), rules);
    let (opened, ..) = service.changes[1];
    // Over the longer window: a seventh of all calls must have failed since the start, with five of ten failing.
    assert!((830..=860).contains(&opened), "{opened}");
    let sentence = service.sentence();
    assert!(
        sentence.contains("`gpu`") && sentence.contains("99 %"),
        "{sentence}"
    );
    assert!(
        sentence.ends_with("The last error: the server answered 500."),
        "{sentence}"
    );
    let healed = service.sample.at.as_secs();
    service.calls(600, 0, 0);
    let (closed, change, rule) = service.changes[2];
    assert_eq!((change, rule), (CLOSED, Rule::BurnRateFast));
    assert!(
        closed > healed + 60 && closed < healed + 400,
        "{closed} {healed}"
    );
}

#[test]
fn few_failures_at_low_traffic_burn_nothing() {
    let mut service = Service::new();
    service.seconds(3600, |sample| {
        let lane = &mut sample.lanes[0];
        if sample.at.as_secs().is_multiple_of(60) {
            lane.calls += 1;
            if sample.at.as_secs().is_multiple_of(120) {
                lane.failed += 1;
            } else {
                lane.succeeded += 1;
            }
        }
    });
    // Half of the calls fail, 15 of 30 in half an hour: slow, not fast.
    assert_eq!(service.rules(), [(OPENED, Rule::BurnRateSlow)]);
}

#[test]
fn a_model_burns_though_its_lane_does_not_and_has_no_alert_of_its_own_if_the_lane_speaks_for_it() {
    let mut service = Service::new();
    let model = |name: &str, only_lane: Option<&str>| ModelSample {
        name: name.into(),
        only_lane: only_lane.map(Arc::from),
        ..ModelSample::default()
    };
    service.sample.models = vec![model("chat", None), model("alone", Some("gpu"))];
    service.seconds(400, |sample| {
        sample.lanes[0].succeeded += 100;
        sample.models[0].succeeded += 9;
        sample.models[0].failed += 1;
        sample.models[1].failed += 1;
    });
    assert_eq!(service.rules(), [(OPENED, Rule::ModelBurnRateSlow)]);
    service.seconds(2000, |sample| {
        sample.models[0].succeeded += 5;
        sample.models[0].failed += 5;
    });
    let opened = (OPENED, Rule::ModelBurnRateFast);
    assert_eq!(service.rules()[1..], [opened]);
    let sentence = service.sentence();
    assert!(
        sentence.contains("calls of the model `chat` in the last 5 minutes failed"),
        "{sentence}"
    );
    service.seconds(600, |sample| sample.models[0].succeeded += 10);
    assert_eq!(service.rules()[2..], [(CLOSED, Rule::ModelBurnRateFast)]);
}

#[test]
fn one_model_that_fails_at_a_backend_that_is_well_is_one_alert_of_the_model() {
    let mut service = Service::new();
    let model = |name: &str| ModelSample {
        name: name.into(),
        ..ModelSample::default()
    };
    service.sample.models = vec![model("good"), model("ill")];
    service.lane().models = 2;
    service.lane().last_failure = Some("status 500, out of memory".into());
    service.sample.failed = vec![crate::FailedCalls {
        model: "ill".into(),
        lane: "gpu".into(),
        reason: "backend_misconfigured",
        count: 0,
    }];
    let run = |service: &mut Service, of_model: bool| {
        service.seconds(120, |sample| {
            let lane = &mut sample.lanes[0];
            lane.calls += 10;
            (lane.succeeded, lane.failed) = (lane.succeeded + 8, lane.failed + 2);
            sample.models[0].succeeded += 8;
            sample.models[1].failed += 2 * u64::from(of_model);
            sample.failed[0].count += 2;
        });
    };
    run(&mut service, true);
    assert_eq!(service.rules(), [(OPENED, Rule::ModelBurnRateFast)]);
    let alert = service.watch.active()[0].clone();
    let cause = "100 % at `gpu` with `backend_misconfigured`. The last error of `gpu`: status 500, out of memory.";
    assert!(alert.sentence.ends_with(cause), "{}", alert.sentence);
    assert!(
        alert.sentence.contains("in the last 2 minutes failed"),
        "the service has run for so long: {}",
        alert.sentence
    );
    assert!(
        alert.action.contains("`upstream` of `ill`"),
        "{}",
        alert.action
    );
    // Another backend answers its calls in the end: only the lane is seen to fail.
    let (sample, mut service) = (service.sample, Service::new());
    service.sample = sample;
    run(&mut service, false);
    assert_eq!(service.rules(), [(OPENED, Rule::BurnRateFast)]);
    let alert = service.watch.active()[0].clone();
    assert!(
        alert.sentence.contains("100 % of the model `ill`"),
        "{}",
        alert.sentence
    );
    assert!(
        alert.action.starts_with("Do not take `gpu` out"),
        "{}",
        alert.action
    );
}

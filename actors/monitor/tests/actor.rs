//! The monitor as an actor: samples in, events and answers out.

use std::time::Duration;

use kebne_actors::{ActorSystem, Offer, testkit::Probe};
use kebne_monitor::{
    ActionSettings, AlertChanged, Change, GetAlerts, GetMemory, LaneSample, Memory, Monitor, Phase,
    Rule, RuleSettings, Sample, Subscribe, TakeSample,
};

const SECOND: Duration = Duration::from_secs(1);

fn sample(second: u64, closed: bool) -> Sample {
    let lane = LaneSample {
        name: "gpu".into(),
        phase: Phase::Serving,
        closed: closed.then(|| "closed by an operator".into()),
        ..LaneSample::default()
    };
    Sample {
        at: Duration::from_secs(second),
        unix_seconds: 1_000_000 + second,
        lanes: vec![lane],
        ..Sample::default()
    }
}

#[actix::test]
async fn subscribers_get_each_change_once_and_the_alerts_can_be_asked_for() {
    let system = ActorSystem::new("test", 1);
    let monitor = system.spawn(
        Monitor::props(
            RuleSettings::default(),
            ActionSettings::default(),
            Memory::default(),
        ),
        "monitor",
    );
    let mut first = Probe::<AlertChanged>::new(&system, "first");
    let mut second = Probe::<AlertChanged>::new(&system, "second");
    for recipient in [first.recipient(), second.recipient()] {
        assert_eq!(monitor.tell(Subscribe(recipient)), Offer::Enqueued);
    }
    for at in 0..5 {
        monitor.post(TakeSample(sample(at, true)));
    }
    for probe in [&mut first, &mut second] {
        let changed = probe.expect_message(SECOND).await;
        assert_eq!(
            (changed.change, changed.alert.rule),
            (Change::Opened, Rule::LaneClosed)
        );
        assert_eq!(changed.alert.since, 1_000_000);
    }
    let alerts = monitor.ask(GetAlerts, SECOND).await.unwrap();
    assert_eq!(alerts.active.len(), 1);
    assert_eq!(&*alerts.active[0].subject, "gpu");
    for at in 5..9 {
        monitor.post(TakeSample(sample(at, false)));
    }
    let changed = first.expect_message(SECOND).await;
    assert_eq!(
        (changed.change, changed.alert.until),
        (Change::Closed, Some(1_000_006))
    );
    assert_eq!(second.expect_message(SECOND).await, changed);
    let alerts = monitor.ask(GetAlerts, SECOND).await.unwrap();
    assert_eq!(
        (alerts.active.len(), alerts.recent.clone()),
        (0, vec![changed.alert])
    );
    let memory = monitor.ask(GetMemory, SECOND).await.unwrap();
    assert_eq!((memory.recent, memory.last_alert), (alerts.recent, 1));
    system.terminate().await;
}

//! Exercise 23. A dashboard reads values that come faster than it draws. When it was covered for a while, it must show the
//! latest value at once, and every alarm that came meanwhile.

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use kebne_streams::{
    FlowExt,
    testkit::{SinkProbe, source_probe},
};

#[derive(Clone, Copy)]
enum Reading {
    Value(u32),
    Alarm(u32),
}

/// What is drawn.
#[derive(Debug, Default, PartialEq)]
struct Shown {
    latest: Option<u32>,
    alarms: Vec<u32>,
}

impl Shown {
    fn of(reading: Reading) -> Self {
        match reading {
            Reading::Value(value) => Self {
                latest: Some(value),
                ..Self::default()
            },
            Reading::Alarm(alarm) => Self {
                alarms: vec![alarm],
                ..Self::default()
            },
        }
    }

    /// What both show together.
    fn and(mut self, newer: Self) -> Self {
        self.latest = newer.latest.or(self.latest);
        self.alarms.extend(newer.alarms);
        self
    }
}

fn dashboard(readings: impl Stream<Item = Reading> + Send + 'static) -> impl Stream<Item = Shown> {
    readings.map(Shown::of).conflate(Shown::and)
}

// The check: leave it as it is.

pub(crate) async fn check() {
    tokio::time::pause();
    let (source, mut feed) = source_probe();
    let mut dashboard = SinkProbe::new(dashboard(source));
    feed.send(Reading::Value(1));
    let first = dashboard.next().await.unwrap();
    assert_eq!((first.latest, first.alarms), (Some(1), vec![]));
    // It is covered while these come.
    for value in 2..=50 {
        feed.send(Reading::Value(value));
        if value % 20 == 0 {
            feed.send(Reading::Alarm(value));
        }
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let next = dashboard.next().await.unwrap();
    assert_eq!(
        next.latest,
        Some(50),
        "exercise 23: the latest value is shown at once"
    );
    assert_eq!(next.alarms, [20, 40], "exercise 23: no alarm is lost");
}

//! The events of alerts.

use kebne_actors::Recipient;
use kebne_events::{AlertClosed, AlertOpened, Data};
use kebne_monitor::{Alert, AlertChanged, Change};

use crate::{
    events::{Events, Happened},
    unix_time,
};

impl Events {
    /// Returns a recipient that emits alerts as events.
    pub fn of_alerts(&self) -> Recipient<AlertChanged> {
        self.recipient()
            .contramap(|changed: AlertChanged| Happened {
                tenant: String::new(),
                session: None,
                at_ms: unix_time::millis(),
                data: data(changed),
            })
    }
}

fn data(AlertChanged { change, alert }: AlertChanged) -> Data {
    let Alert {
        id,
        rule,
        severity,
        subject,
        since,
        sentence,
        action,
        until,
    } = alert;
    let (rule, severity) = (rule.name().to_owned(), severity.name().to_owned());
    match change {
        Change::Opened => Data::AlertOpened(AlertOpened {
            alert: id,
            rule,
            severity,
            about: subject.to_string(),
            since,
            sentence,
            action,
        }),
        Change::Closed => Data::AlertClosed(AlertClosed {
            alert: id,
            rule,
            severity,
            about: subject.to_string(),
            since,
            until,
            sentence,
        }),
    }
}

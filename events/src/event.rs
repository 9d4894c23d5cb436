//! One event, before it is in its envelope.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    cloud_event::{CloudEvent, WriteError},
    data::Data,
    time::rfc3339,
    token::token,
};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The id; the same whenever the event is sent again.
    pub id: String,
    /// When it happened, in milliseconds since 1970.
    pub at_ms: u64,
    /// The tenant that it belongs to; empty for the service itself, and without keys.
    pub tenant: String,
    /// The session that it belongs to.
    pub session: Option<String>,
    /// What happened.
    pub data: Data,
}

impl Event {
    /// Returns the topic: what happened, the tenant and the session, such as `call.ended.acme.-`.
    pub fn topic(&self) -> String {
        let (tenant, session) = (token(&self.tenant), token(self.session()));
        format!("{}.{tenant}.{session}", self.data.kind())
    }

    /// Returns the key within which the order of events is kept: the tenant and the session, or the tenant.
    pub fn key(&self) -> String {
        match self.session() {
            "" => token(&self.tenant),
            session => format!("{}.{}", token(&self.tenant), token(session)),
        }
    }

    fn session(&self) -> &str {
        self.session.as_deref().unwrap_or_default()
    }

    /// Returns the event in its envelope. The tenant is the attribute `tenant`, and the key is the attribute `partitionkey`.
    ///
    /// # Errors
    /// Fails if the data has a number that JSON does not have.
    pub fn to_cloud_event(&self, source: &str) -> Result<CloudEvent, WriteError> {
        let mut extensions = BTreeMap::from([("partitionkey".to_owned(), Value::from(self.key()))]);
        if !self.tenant.is_empty() {
            extensions.insert("tenant".to_owned(), Value::from(self.tenant.as_str()));
        }
        if let Some(session) = &self.session {
            extensions.insert("session".to_owned(), Value::from(session.as_str()));
        }
        let event = CloudEvent {
            id: self.id.clone(),
            source: source.to_owned(),
            kind: self.data.type_name(),
            subject: Some(self.data.subject().to_owned()).filter(|subject| !subject.is_empty()),
            time: Some(rfc3339(self.at_ms)),
            dataschema: Some(self.data.schema_id()),
            extensions,
            ..CloudEvent::default()
        };
        self.data.put_into(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{SessionChange, SessionChanged};

    #[test]
    fn events_of_a_session_have_its_key_and_a_topic_of_safe_parts() {
        let event = Event {
            id: "1".to_owned(),
            at_ms: 0,
            tenant: "acme/eu".to_owned(),
            session: Some("s.1".to_owned()),
            data: Data::SessionChanged(SessionChanged {
                session: "s.1".to_owned(),
                change: SessionChange::TurnAdded,
                turn: Some(3),
            }),
        };
        assert_eq!(event.topic(), "session.changed.acme%2Feu.s%2E1");
        assert_eq!(event.key(), "acme%2Feu.s%2E1");
        let text = event.to_cloud_event("/kebne").unwrap().to_json().unwrap();
        let value: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["type"], "kebne.session.changed.v1");
        assert_eq!(value["dataschema"], "urn:kebne:event:session.changed:1");
        assert_eq!(value["subject"], "s.1");
        assert_eq!(value["tenant"], "acme/eu");
        assert_eq!(value["data"]["change"], "turn_added");
    }
}

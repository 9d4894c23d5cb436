//! The fields of a Responses request that determine whether the response is kept, and what it continues.

use serde_json::{Map, Value, json};

use crate::translate::{Fields, InvalidField, Path};

/// The fields by which a request names what it continues and whether it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The response that this one continues.
    pub previous_response_id: Option<String>,
    /// The conversation that this call belongs to.
    pub conversation: Option<String>,
    /// `true` if the response is to be kept, so that it can be retrieved and continued; `None` if the caller does not say,
    /// which means `true`.
    pub store: Option<bool>,
    /// `true` if old messages of the conversation may be left out to make the call fit.
    pub truncates: bool,
}

impl Terms {
    /// Reads the terms of a request that cannot be translated.
    ///
    /// # Errors
    /// Returns an error if one of the fields has the wrong type, or the request is to be carried out in the background,
    /// which no backend does here.
    pub fn of_request(request: Value) -> Result<Self, InvalidField> {
        let mut fields = Fields::of(request, Path::Root)?;
        fields.refuse("background")?;
        Self::take(&mut fields)
    }

    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, InvalidField> {
        let store = match fields.take("store") {
            None => None,
            Some(Value::Bool(store)) => Some(store),
            Some(_) => return Err(fields.wrong("store", "must be true or false")),
        };
        let previous_response_id = fields.take_text("previous_response_id")?;
        let conversation = conversation(fields)?;
        if conversation.is_some() && previous_response_id.is_some() {
            return Err(fields.wrong("conversation", "cannot stand beside `previous_response_id`"));
        }
        let truncates = match fields.take_text("truncation")?.as_deref() {
            None | Some("disabled") => false,
            Some("auto") => true,
            Some(_) => return Err(fields.wrong("truncation", "must be `disabled` or `auto`")),
        };
        Ok(Self {
            previous_response_id,
            conversation,
            store,
            truncates,
        })
    }

    /// Adds what an answer repeats of them.
    pub(super) fn echo(&self, echo: &mut Map<String, Value>) {
        let mut add = |key: &str, value: Value| echo.insert(key.to_owned(), value);
        add("store", self.store.unwrap_or(true).into());
        add(
            "previous_response_id",
            self.previous_response_id.clone().into(),
        );
        if let Some(id) = &self.conversation {
            add("conversation", json!({"id": id}));
        }
        if self.truncates {
            add("truncation", "auto".into());
        }
    }
}

fn conversation(fields: &mut Fields<'_>) -> Result<Option<String>, InvalidField> {
    match fields.take("conversation") {
        None => Ok(None),
        Some(Value::String(id)) => Ok(Some(id)),
        Some(conversation) => {
            let root = fields.path();
            let mut conversation = Fields::of(conversation, root.key("conversation"))?;
            let id = conversation.require_text("id")?;
            conversation.refuse_rest()?;
            Ok(Some(id))
        }
    }
}

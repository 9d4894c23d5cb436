//! The data of a chat call that goes to a function.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The fields of a request that are not parameters.
const NOT_PARAMETERS: [&str; 4] = ["messages", "model", "stream", "stream_options"];

/// What is known of a chat call besides its body.
#[derive(Clone, Copy, Debug)]
pub struct ChatCall<'a> {
    /// The id of the request.
    pub request_id: &'a str,
    /// The tenant of the caller.
    pub tenant: Option<&'a str>,
    /// The name of the caller's key.
    pub key: Option<&'a str>,
    /// The route and the rule that have led to the function.
    pub route: Option<(&'a str, &'a str)>,
    /// The session of the call and its number of turns.
    pub session: Option<(&'a str, u64)>,
    /// The variables of the session.
    pub variables: Option<&'a BTreeMap<String, String>>,
}

/// Returns the data of a chat call as JSON: the messages, the parameters, and what is known besides. `body` is the call in `OpenAI`'s dialect.
///
/// # Errors
/// Returns an error if the body is not a JSON object.
pub fn chat_data(body: &[u8], call: &ChatCall<'_>) -> Result<Vec<u8>, serde_json::Error> {
    let mut request: Map<String, Value> = serde_json::from_slice(body)?;
    let messages = request.remove("messages").unwrap_or_else(|| json!([]));
    request.retain(|name, _| !NOT_PARAMETERS.contains(&name.as_str()));
    let route = call
        .route
        .map(|(route, rule)| json!({"name": route, "rule": rule}));
    let session = call
        .session
        .map(|(id, turns)| json!({"id": id, "turns": turns}));
    let data = json!({
        "request_id": call.request_id,
        "tenant": call.tenant,
        "key": call.key,
        "route": route,
        "session": session,
        "variables": call.variables.cloned().unwrap_or_default(),
        "messages": messages,
        "parameters": request,
    });
    serde_json::to_vec(&data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_gets_messages_parameters_and_what_is_known_besides() {
        let variables = BTreeMap::from([("city".to_owned(), "Kiruna".to_owned())]);
        let call = ChatCall {
            request_id: "r",
            tenant: Some("shop"),
            key: None,
            route: Some(("support", "weather")),
            session: Some(("s", 3)),
            variables: Some(&variables),
        };
        let body = br#"{"model":"support","stream":true,"temperature":0.5,"messages":[{"role":"user","content":"Hi"}]}"#;
        let data: Value = serde_json::from_slice(&chat_data(body, &call).unwrap()).unwrap();
        let expected = json!({"request_id": "r", "tenant": "shop", "key": null, "route": {"name": "support", "rule": "weather"},
            "session": {"id": "s", "turns": 3}, "variables": {"city": "Kiruna"},
            "messages": [{"role": "user", "content": "Hi"}], "parameters": {"temperature": 0.5}});
        assert_eq!(data, expected);
        assert!(chat_data(b"[]", &call).is_err());
    }
}

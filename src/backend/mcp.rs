//! A server of the Model Context Protocol: a call of one of its tools is an attempt.
//!
//! The connection belongs to the server's keeper (`kebne-mcp`), which all threads share. The lane in front of it decides what is repeated.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use kebne_control::Outcome;
use kebne_lane::{Answer, Attempt, Failure};
use kebne_mcp::{
    Era, Fault, Hold, HttpWay, Launcher, McpServer, OAuth, Options, Pattern, Pins, ProcessWay,
    ToolCall, Way,
};
use kebne_wire::{Endpoint, PassThrough, usage::Usage};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    backend::{
        BuildError, LAUNCH,
        reason::{UNREACHABLE, UNREADABLE},
        upstream::{Secrets, http_client},
    },
    llm::{ModelRequest, ModelResponse, whole_answer},
    settings::{
        BackendSettings, Environment, McpHold, McpProtocol, McpServerSettings, secret_file,
    },
};

/// The time that an attempt waits for a server that begins. The lane, which holds the call, asks again after it.
const BEGINNING: Duration = Duration::from_secs(1);

/// A client of one server.
#[derive(Debug)]
pub struct McpBackend {
    server: McpServer,
    prefix: String,
    secrets: Secrets,
}

/// The body of a call.
#[derive(Deserialize)]
struct Asked {
    name: String,
    #[serde(default)]
    arguments: Map<String, Value>,
}

impl McpBackend {
    /// Creates the client of the settings. It does not connect.
    ///
    /// # Errors
    /// Returns an error if a secret cannot be read, or the value of a setting is not possible.
    pub fn build(
        settings: &BackendSettings,
        environment: &dyn Environment,
    ) -> Result<Self, BuildError> {
        let wrong = |key, reason: String| BuildError::Setting {
            backend: settings.name.clone(),
            key,
            reason,
        };
        let Some(server) = &settings.mcp else {
            let reason = "an MCP server is set in `[[mcp_servers]]`".to_owned();
            return Err(wrong("kind", reason));
        };
        let patterns: Result<Vec<Pattern>, _> =
            server.tools.iter().map(|text| text.parse()).collect();
        let patterns = patterns.map_err(|error| wrong("tools", error.to_string()))?;
        let (way, secrets) = if server.url.is_some() {
            let (url, headers, client) = http_client(settings, environment)?;
            let oauth = oauth(server, environment).map_err(|(key, why)| wrong(key, why))?;
            let mut secrets = Secrets::of(&[&headers], &[&url]);
            secrets.add(oauth.iter().map(|oauth| oauth.client_secret.clone()));
            let way = HttpWay {
                url,
                headers,
                client,
                oauth,
            };
            (Way::Http(way), secrets)
        } else {
            let way = process(server, environment).map_err(|(key, why)| wrong(key, why))?;
            let own = server.env_file.keys();
            let secrets = own.filter_map(|name| way.environment.get(name).cloned());
            let secrets = Secrets::of_values(secrets);
            (Way::Process(way), secrets)
        };
        let options = Options {
            name: server.name.clone(),
            way,
            era: match server.protocol {
                McpProtocol::Auto => Era::Auto,
                McpProtocol::Sessions => Era::Sessions,
                McpProtocol::Stateless => Era::Stateless,
            },
            tools: patterns,
            hold: match server.hold {
                McpHold::Nothing => Hold::Nothing,
                McpHold::Changes => Hold::Changes,
                McpHold::All => Hold::All,
            },
            start_timeout: server.start_timeout.get(),
            refresh: server.refresh.get(),
            answer_size_max: server.answer_size_max.as_usize(),
        };
        Ok(Self {
            server: McpServer::new(options),
            prefix: server.prefix(),
            secrets,
        })
    }

    /// Connects the server, and keeps it connected as long as the backend is there.
    pub(crate) fn start(&self, pins: &Arc<Pins>) {
        self.server.start(Arc::clone(pins), || {});
    }

    /// Returns the server.
    pub(crate) fn server(&self) -> &McpServer {
        &self.server
    }

    /// Returns what leads the names of its tools.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Makes one attempt.
    ///
    /// # Errors
    /// Returns a [`Failure`] with its class.
    pub async fn attempt(
        &self,
        attempt: Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let request = &attempt.request;
        if request.endpoint != Endpoint::PassThrough(PassThrough::Tool) {
            return Err(refused(400, "an MCP server takes only calls of tools"));
        }
        let asked: Asked = serde_json::from_slice(&request.body)
            .map_err(|error| refused(400, &format!("the call is not understood: {error}")))?;
        let call = ToolCall {
            name: asked.name,
            arguments: asked.arguments,
        };
        match self.server.call(call, BEGINNING).await {
            Ok(result) => {
                let body = Bytes::from(result.to_string());
                Ok(whole_answer(body, Usage::default()))
            }
            Err(fault) => {
                let mut failure = failure(&fault);
                self.secrets.hide_in(&mut failure);
                Err(failure)
            }
        }
    }
}

/// Returns how tokens for a server are fetched. An error names its key.
fn oauth(
    server: &McpServerSettings,
    environment: &dyn Environment,
) -> Result<Option<OAuth>, (&'static str, String)> {
    let Some(oauth) = &server.oauth else {
        return Ok(None);
    };
    let secret = match (&oauth.client_secret_file, &oauth.client_secret_env) {
        (Some(path), _) => {
            let secret = secret_file::read(path);
            secret.map_err(|error| ("oauth.client_secret_file", error.to_string()))?
        }
        (None, variable) => {
            let key = "oauth.client_secret_env";
            let name = variable.as_deref().unwrap_or_default();
            let secret = environment.get(name);
            let secret = secret.map_err(|error| (key, error.to_string()))?;
            let missing = || (key, format!("the environment variable `{name}` is not set"));
            secret.ok_or_else(missing)?
        }
    };
    Ok(Some(OAuth {
        token_url: oauth.token_url.clone(),
        client_id: oauth.client_id.clone(),
        client_secret: secret,
        scopes: oauth.scopes.clone(),
    }))
}

/// Returns the process of a server. An error names its key.
fn process(
    server: &McpServerSettings,
    environment: &dyn Environment,
) -> Result<ProcessWay, (&'static str, String)> {
    let mut variables = BTreeMap::new();
    for name in &server.pass_env {
        let value = environment.get(name);
        let value = value.map_err(|error| ("pass_env", error.to_string()))?;
        variables.extend(value.map(|value| (name.clone(), value)));
    }
    variables.extend(server.env.clone());
    for (name, path) in &server.env_file {
        let value = secret_file::read(path);
        let value = value.map_err(|error| ("env_file", error.to_string()))?;
        variables.insert(name.clone(), value);
    }
    Ok(ProcessWay {
        command: server.command.clone().unwrap_or_default(),
        args: server.args.clone(),
        environment: variables,
        cwd: server.cwd.clone(),
        stop_grace: server.stop_grace.get(),
        launcher: environment.program().map(|program| Launcher {
            program,
            args: vec![LAUNCH.to_owned()],
        }),
    })
}

/// Returns a fault as what it is for a lane.
fn failure(fault: &Fault) -> Failure {
    let text = fault.to_string();
    let mut failure = match fault {
        Fault::Begins => Failure::new(Outcome::Cold { estimated: None }, text),
        Fault::Away(_) => {
            let outcome = Outcome::Absent {
                answered: false,
                retry_after: None,
            };
            Failure::new(outcome, text).because(UNREACHABLE)
        }
        Fault::Refused {
            status,
            retry_after,
        } => {
            let (status, retry_after) = (*status, *retry_after);
            let outcome = match (status, retry_after) {
                (429, Some(_)) => Outcome::Rate {
                    retry_after,
                    slow_down: false,
                },
                (429, None) => Outcome::Limit,
                _ => Outcome::Absent {
                    answered: true,
                    retry_after,
                },
            };
            Failure::new(outcome, text).with_status(status)
        }
        Fault::Unauthorized(_) => Failure::new(Outcome::Misconfigured, text).with_status(401),
        Fault::Invalid { .. } => refused(400, &text),
        Fault::NoTool(_) => refused(404, &text),
        Fault::Held(_) => refused(403, &text),
        Fault::Failed(_) | Fault::Lost(_) => Failure::new(Outcome::Fault, text),
        Fault::Unusable(_) | Fault::AsksBack => {
            Failure::new(Outcome::Unusable, text).because(UNREADABLE)
        }
    };
    // A refusal is repeated in any case.
    failure.safe_to_repeat = failure.outcome.is_refusal();
    failure
}

/// Refuses a call that is wrong.
fn refused(status: u16, message: &str) -> Failure {
    let mut failure = Failure::new(Outcome::Client, message).with_status(status);
    let error = json!({"error": {
        "message": message, "type": "invalid_request_error", "param": null, "code": code(status),
    }});
    failure.body = Some(Bytes::from(error.to_string()));
    failure
}

fn code(status: u16) -> Option<&'static str> {
    match StatusCode::from_u16(status) {
        Ok(StatusCode::NOT_FOUND) => Some("unknown_tool"),
        Ok(StatusCode::FORBIDDEN) => Some("tool_held"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_repeated_only_if_nothing_was_done() {
        let of = |fault: Fault| failure(&fault).outcome;
        let text = || "x".to_owned();
        assert!(of(Fault::Begins).is_refusal());
        assert!(of(Fault::Away(text())).is_refusal());
        for status in [429, 503] {
            let refused = Fault::Refused {
                status,
                retry_after: None,
            };
            assert!(of(refused).is_refusal(), "{status}");
        }
        for fault in [Fault::Failed(text()), Fault::Lost(text())] {
            assert_eq!(of(fault), Outcome::Fault);
        }
        for fault in [Fault::NoTool(text()), Fault::Held(text())] {
            assert_eq!(of(fault), Outcome::Client);
        }
        assert_eq!(of(Fault::AsksBack), Outcome::Unusable);
        assert_eq!(of(Fault::Unauthorized(text())), Outcome::Misconfigured);
    }
}

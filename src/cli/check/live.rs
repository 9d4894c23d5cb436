//! `kebne check --live`: asks each backend with one small request, and says of each what is wrong and what to do.

use std::{
    io::{self, Write},
    path::Path,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use http::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::{
    backend::upstream::{Answered, NotReached, Obstacle, Place, Upstream},
    cli::CommandError,
    discovery::Discovery,
    gateway,
    settings::{BackendKind, BackendSettings, Environment, Settings, load},
};

/// Time for the answer of one backend.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The bytes of an answer that are read: lists of models are long at large providers.
const ANSWER_MAX: usize = 4 << 20;
/// The backends that are asked at the same time.
const AT_ONCE: usize = 16;
/// The number of models of a server that a sentence names.
const NAMED_MAX: usize = 5;

/// The reason why the command fails.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// Some backends do not serve as they are set.
    #[error("{wrong} of {all} backends cannot serve as they are set")]
    Wrong {
        /// Their number.
        wrong: usize,
        /// The number of backends.
        all: usize,
    },
    /// The requests could not be made.
    #[error("the client cannot be started: {0}")]
    Client(#[from] io::Error),
}

/// What was found of a backend.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Fine(String),
    /// It may serve later, or could not be judged.
    Unsure(String),
    Wrong(String),
}

/// Validates the settings, asks the backends, and writes one line for each.
///
/// # Errors
/// Fails if the settings are wrong, a backend cannot serve as it is set, or the output cannot be written.
pub fn run(
    config: Option<&Path>,
    environment: &dyn Environment,
    output: &mut dyn Write,
) -> Result<(), CommandError> {
    let loaded = load::load(config, environment)?;
    loaded.refuse(gateway::check(&loaded.settings, environment))?;
    let runtime = actix_rt::Runtime::new().map_err(LiveError::Client)?;
    let found = runtime.block_on(async {
        let discovery = Discovery::start(&loaded.settings).await;
        ask_all(&discovery.settings(), environment).await
    });
    let mut wrong = 0;
    for (name, finding) in &found {
        let (word, sentence) = match finding {
            Finding::Fine(sentence) => ("fine  ", sentence),
            Finding::Unsure(sentence) => ("unsure", sentence),
            Finding::Wrong(sentence) => ("wrong ", sentence),
        };
        wrong += usize::from(matches!(finding, Finding::Wrong(_)));
        writeln!(output, "{word} `{name}` {sentence}")?;
    }
    if wrong > 0 {
        let all = found.len();
        return Err(LiveError::Wrong { wrong, all }.into());
    }
    Ok(())
}

/// Asks all backends; the findings are in the order of the settings.
async fn ask_all(settings: &Settings, environment: &dyn Environment) -> Vec<(String, Finding)> {
    let asked = settings.backends.iter().map(|backend| async move {
        let finding = ask(backend, settings, environment).await;
        (backend.name.clone(), finding)
    });
    stream::iter(asked).buffered(AT_ONCE).collect().await
}

async fn ask(
    backend: &BackendSettings,
    settings: &Settings,
    environment: &dyn Environment,
) -> Finding {
    if backend.kind == BackendKind::Agent {
        return Finding::Fine("is an agent inside this program.".to_owned());
    }
    if !backend.kind.calls_a_server() {
        return Finding::Fine("is a simulated model inside this program.".to_owned());
    }
    if backend.process.is_some() {
        let sentence = "is started by the gateway when it is called; it was not asked.";
        return Finding::Unsure(sentence.to_owned());
    }
    let upstream = match Upstream::build(backend, environment) {
        Ok(upstream) => upstream,
        Err(error) => return Finding::Wrong(format!("cannot be asked: {error}.")),
    };
    let (place, header) = match backend.kind {
        BackendKind::Anthropic => {
            let version = HeaderName::from_static("anthropic-version");
            let header = (version, HeaderValue::from_static("2023-06-01"));
            (Place::Api("models"), Some(header))
        }
        BackendKind::HuggingFace => (Place::Root("/"), None),
        _ => (Place::Api("models"), None),
    };
    let asked = tokio::time::timeout(TIMEOUT, upstream.ask(place, header, ANSWER_MAX)).await;
    match asked {
        Err(_) => Finding::Wrong(too_slow()),
        Ok(Err(error)) => Finding::Wrong(not_reached(backend, &error)),
        Ok(Ok(answer)) => judge(backend, &wanted(backend, settings), &answer),
    }
}

fn too_slow() -> String {
    format!(
        "does not answer within {} s: see whether its server is overloaded, or a firewall drops the connection.",
        TIMEOUT.as_secs()
    )
}

/// Returns the sentence for a server that was not reached.
fn not_reached(backend: &BackendSettings, error: &NotReached) -> String {
    let url = backend.base_url.as_ref().map(ToString::to_string);
    let (url, detail) = (url.unwrap_or_default(), &error.message);
    match error.obstacle {
        Obstacle::Name => format!(
            "cannot be found: the host of `base_url` ({url}) has no address; correct it, or ask from a machine whose DNS knows it."
        ),
        Obstacle::Refused => format!(
            "is not there: nothing listens at {url}; start the server, or correct host and port of `base_url`."
        ),
        Obstacle::Tls => format!(
            "has no TLS connection that is trusted ({detail}); `base_url` must name the host of a valid certificate, or begin with `http://` if the server has none."
        ),
        Obstacle::Slow => too_slow(),
        Obstacle::Other => format!("does not answer ({detail}); look at the log of its server."),
    }
}

/// Returns the names by which the backend is asked for models.
fn wanted(backend: &BackendSettings, settings: &Settings) -> Vec<String> {
    if let Some(model) = &backend.model {
        return vec![model.clone()];
    }
    if settings.models.is_empty() {
        return vec![backend.name.clone()];
    }
    let mut models = settings.models.iter();
    let mut names = Vec::new();
    for model in models.by_ref() {
        if model.backend_names().any(|name| *name == backend.name) {
            let upstream = model.upstream.get(&backend.name);
            names.push(upstream.unwrap_or(&model.name).clone());
        }
    }
    names
}

/// Judges an answer.
fn judge(backend: &BackendSettings, wanted: &[String], answer: &Answered) -> Finding {
    let status = answer.status;
    let key = match (&backend.api_key_env, &backend.api_key_file) {
        (Some(_), _) => Some("api_key_env"),
        (None, Some(_)) => Some("api_key_file"),
        (None, None) => None,
    };
    match (status, key) {
        (401 | 403, Some(key)) => Finding::Wrong(format!(
            "refuses the key ({status}): `{key}` must name a valid one for this server."
        )),
        (401 | 403, None) => Finding::Wrong(format!(
            "asks for a key ({status}): set `api_key_env` or `api_key_file`."
        )),
        (429, _) => Finding::Unsure(
            "is at a rate limit or its quota is used up (429): its key works, and its models were not seen.".to_owned(),
        ),
        (503, _) => Finding::Unsure(
            "is loading, asleep or overloaded (503): calls wait for it; nothing is to be done unless it stays so.".to_owned(),
        ),
        _ if backend.kind == BackendKind::HuggingFace => {
            Finding::Fine(format!("answers ({status}); its models cannot be listed."))
        }
        (200..=299, _) => models(backend, wanted, &answer.body),
        (404 | 405, _) => Finding::Wrong(format!(
            "has no list of models at `base_url` + `/models` ({status}): correct `base_url`; most end with `/v1`."
        )),
        _ => Finding::Wrong(format!("answers {status}: look at the log of its server.")),
    }
}

/// Judges the list of a server's models.
fn models(backend: &BackendSettings, wanted: &[String], body: &[u8]) -> Finding {
    let Some((names, takes_any)) = listed(body) else {
        return Finding::Wrong(
            "answers, but not with a list of models: `base_url` leads to something else than the API of a model server.".to_owned(),
        );
    };
    let has = |wanted: &&String| {
        names
            .iter()
            .any(|name| name == *wanted || name.strip_suffix(":latest") == Some(wanted))
    };
    let missing: Vec<_> = wanted.iter().filter(|wanted| !has(wanted)).collect();
    let Some(first) = missing.first() else {
        let models = wanted.iter().map(|name| format!("`{name}`"));
        let models = models.collect::<Vec<_>>().join(", ");
        return Finding::Fine(format!("answers and has {models}."));
    };
    if takes_any {
        return Finding::Fine("answers; it serves its one model under any name.".to_owned());
    }
    let more = if names.len() > NAMED_MAX { ", …" } else { "" };
    let known = names.iter().take(NAMED_MAX).map(|name| format!("`{name}`"));
    let known = known.collect::<Vec<_>>().join(", ");
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known
    };
    let key = if backend.model.is_some() {
        "`model`"
    } else {
        "`upstream` of the model"
    };
    Finding::Wrong(format!(
        "does not have the model `{first}` (it has {known}{more}): load it there, or set {key} to its name there."
    ))
}

/// Returns the names in a list of models, and `true` if the server does not look at the name of a call; `None` if it is not such
/// a list.
fn listed(body: &[u8]) -> Option<(Vec<String>, bool)> {
    let list: Value = serde_json::from_slice(body).ok()?;
    let data = list.get("data")?.as_array()?.iter();
    let is_llama = |model: &Value| {
        model
            .get("owned_by")
            .is_some_and(|owner| owner == "llamacpp")
    };
    let takes_any = data.clone().any(is_llama);
    let names = data.filter_map(|model| model.get("id")?.as_str().map(str::to_owned));
    Some((names.collect(), takes_any))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(status: u16, body: &str, key: bool) -> Finding {
        let backend = BackendSettings {
            kind: BackendKind::OpenAi,
            api_key_env: key.then(|| "KEY".to_owned()),
            ..BackendSettings::default()
        };
        let answer = Answered {
            status,
            body: body.to_owned().into(),
        };
        judge(&backend, &["m".to_owned()], &answer)
    }

    fn text(finding: &Finding) -> &str {
        match finding {
            Finding::Fine(text) | Finding::Unsure(text) | Finding::Wrong(text) => text,
        }
    }

    #[test]
    fn a_sentence_names_what_is_wrong_and_the_key_to_correct() {
        for (status, body, key, expected) in [
            (401, "", false, "set `api_key_env`"),
            (403, "", true, "refuses the key (403)"),
            (404, "", true, "`base_url`"),
            (500, "", true, "answers 500"),
            (200, "<html>", true, "something else"),
            (
                200,
                r#"{"data":[{"id":"a"},{"id":"b"}]}"#,
                true,
                "it has `a`, `b`",
            ),
            (200, r#"{"data":[]}"#, true, "it has none"),
        ] {
            let finding = found(status, body, key);
            assert!(matches!(finding, Finding::Wrong(_)), "{finding:?}");
            assert!(text(&finding).contains(expected), "{finding:?}");
        }
        for status in [429, 503] {
            assert!(matches!(found(status, "", true), Finding::Unsure(_)));
        }
        for body in [
            r#"{"data":[{"id":"m"}]}"#,
            r#"{"data":[{"id":"m:latest"}]}"#,
            r#"{"data":[{"id":"/models/x.gguf","owned_by":"llamacpp"}]}"#,
        ] {
            let finding = found(200, body, false);
            assert!(matches!(finding, Finding::Fine(_)), "{finding:?}");
        }
    }
}

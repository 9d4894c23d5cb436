//! Asks a service, or a moderation model of this gateway, about texts.
//!
//! A service gets `{"guard", "side", "model", "key", "request_id", "texts"}` and answers with 200 and `{"action":
//! "pass" | "refuse" | "tag", "rules": ["…"]}`. A model is called through its lane with a moderation request. Any other
//! answer, and none within the time, counts as gone.

use std::sync::Arc;

use http::header::VIA;
use kebne_accounts::Denied;
use kebne_guard::{Action, CheckSettings, Guard, Hit, Hits, Side, WhenGone};
use kebne_wire::{PassThrough, request::Endpoint};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    backend::upstream::Clients,
    gateway::{
        Gateway,
        behalf::Behalf,
        inner::{self, InnerCall, InnerError, Keeps, Purpose},
    },
    guards::CHECK,
    settings::Environment,
    surface::error::ApiError,
    via,
};

/// The largest answer of a service that is read.
const ANSWER_MAX: usize = 64 << 10;
/// The most labels of an answer that are reported, and the longest.
const LABELS_MAX: usize = 8;
const LABEL_SIZE_MAX: usize = 64;

/// The check of one guard.
#[derive(Debug)]
pub(crate) struct Checker {
    guard: Arc<str>,
    settings: CheckSettings,
    service: Option<Service>,
}

#[derive(Debug)]
struct Service {
    clients: Clients,
    url: Url,
    token: Option<String>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) side: Side,
    /// The model by its own name.
    pub(crate) model: Arc<str>,
    /// The caller. What a model takes for its check counts in the accounts of its key.
    pub(crate) behalf: Behalf,
    pub(crate) texts: Vec<String>,
}

/// An answer.
#[derive(Debug, Default)]
struct Verdict {
    action: Option<Action>,
    labels: Vec<String>,
}

/// The reason why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Gone {
    #[error("there was no answer in time")]
    Slow,
    #[error("{0}")]
    NoAnswer(#[source] reqwest::Error),
    #[error("it answered {0}")]
    Status(u16),
    #[error("its answer is not the expected JSON")]
    Unreadable,
    #[error("it leads back to a gateway that has sent the call")]
    Loop,
    #[error("the model did not answer: {0}")]
    Model(String),
    #[error("a limit of the key, or of a group above it, has no room for the check")]
    Denied(Denied),
}

impl Checker {
    /// Creates the check of a guard; `None` if it has none.
    ///
    /// # Errors
    /// Returns the reason why it cannot be made.
    pub(super) fn new(
        guard: &Guard,
        environment: &dyn Environment,
    ) -> Result<Option<Self>, String> {
        let settings = guard.check.clone();
        let at = |error: &dyn std::fmt::Display| format!("`{}`: check: {error}", guard.name);
        let service = match &settings.url {
            Some(url) => {
                let url = Url::parse(url).map_err(|error| at(&error))?;
                let is_tls = url.scheme() == "https";
                let timeout = settings.timeout.0;
                let clients = Clients::start(timeout, is_tls);
                let clients = clients.map_err(|error| at(&error.without_url()))?;
                let token = settings.token_env.as_deref().map(|name| {
                    let token = environment.get(name).map_err(|error| at(&error))?;
                    let token = token.map(|token| token.trim().to_owned());
                    let missing = || {
                        at(&format!(
                            "the environment variable `{name}` is not set or empty"
                        ))
                    };
                    token.filter(|token| !token.is_empty()).ok_or_else(missing)
                });
                let token = token.transpose()?;
                Some(Service {
                    clients,
                    url,
                    token,
                })
            }
            None if settings.model.is_some() => None,
            None => return Ok(None),
        };
        Ok(Some(Self {
            guard: Arc::clone(&guard.name),
            settings,
            service,
        }))
    }

    /// Returns `true` if texts of a side are checked.
    pub(crate) fn covers(&self, side: Side) -> bool {
        self.settings.covers(side)
    }

    /// Returns the characters of a stream that are checked together.
    pub(crate) fn step(&self) -> usize {
        self.settings.step
    }

    /// Checks texts. What was found is added to the hits.
    ///
    /// # Errors
    /// Returns an error if they are refused, or if there is no answer and the check is closed in that case.
    pub(crate) async fn check(
        &self,
        gateway: &Gateway,
        question: &Question,
        hits: &mut Hits,
    ) -> Result<(), ApiError> {
        let asked = async {
            match &self.service {
                Some(service) => self.ask_service(service, question).await,
                None => self.ask_model(gateway, question).await,
            }
        };
        let timeout = self.settings.timeout.0;
        let answer = tokio::time::timeout(timeout, asked).await;
        let verdict = match answer.unwrap_or(Err(Gone::Slow)) {
            Ok(verdict) => verdict,
            Err(Gone::Denied(denied)) => return Err(ApiError::over_limit(&denied)),
            Err(gone) => return self.gone(&gone, question.side, hits),
        };
        let Some(action) = verdict.action else {
            return Ok(());
        };
        let rule = if verdict.labels.is_empty() {
            CHECK.to_owned()
        } else {
            format!("{CHECK}:{}", verdict.labels.join("+"))
        };
        let rule: Arc<str> = rule.into();
        self.hit(Arc::clone(&rule), action, question.side, hits);
        if action == Action::Refuse {
            return Err(ApiError::filtered(&self.guard, &rule, question.side));
        }
        Ok(())
    }

    fn gone(&self, gone: &Gone, side: Side, hits: &mut Hits) -> Result<(), ApiError> {
        let guard = &*self.guard;
        let is_open = self.settings.when_gone == WhenGone::Open;
        tracing::warn!(guard, is_open, error = %gone, "the check of a guard gave no answer");
        let action = if is_open { Action::Tag } else { Action::Refuse };
        self.hit(format!("{CHECK}:gone").into(), action, side, hits);
        if is_open {
            return Ok(());
        }
        if matches!(gone, Gone::Loop) {
            return Err(ApiError::loop_detected());
        }
        Err(ApiError::guard_unavailable(guard, gone))
    }

    fn hit(&self, rule: Arc<str>, action: Action, side: Side, hits: &mut Hits) {
        hits.insert(Hit {
            side,
            guard: Arc::clone(&self.guard),
            rule,
            action,
        });
    }

    async fn ask_service(&self, service: &Service, question: &Question) -> Result<Verdict, Gone> {
        #[derive(Deserialize)]
        struct Answer {
            action: String,
            #[serde(default)]
            rules: Vec<String>,
        }
        let body = json!({
            "guard": &*self.guard,
            "side": question.side,
            "model": &*question.model,
            "key": &*question.behalf.payer.key,
            "request_id": &*question.behalf.request_id,
            "texts": question.texts,
        });
        let no_answer = |error: reqwest::Error| Gone::NoAnswer(error.without_url());
        let client = service.clients.get().map_err(no_answer)?;
        let mut request = client
            .post(service.url.clone())
            .header("content-type", "application/json")
            .header(VIA, via::own())
            .body(body.to_string());
        if let Some(gateways) = &question.behalf.via {
            request = request.headers((**gateways).clone());
        }
        if let Some(token) = &service.token {
            request = request.bearer_auth(token);
        }
        let mut answer = request.send().await.map_err(no_answer)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::LOOP_DETECTED => return Err(Gone::Loop),
            status => return Err(Gone::Status(status.as_u16())),
        }
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(no_answer)? {
            body.extend_from_slice(&part);
            if body.len() > ANSWER_MAX {
                return Err(Gone::Unreadable);
            }
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| Gone::Unreadable)?;
        let action = match answer.action.as_str() {
            "pass" => None,
            "refuse" => Some(Action::Refuse),
            "tag" => Some(Action::Tag),
            _ => return Err(Gone::Unreadable),
        };
        let labels = labels(answer.rules.iter().map(String::as_str));
        Ok(Verdict { action, labels })
    }

    async fn ask_model(&self, gateway: &Gateway, question: &Question) -> Result<Verdict, Gone> {
        let model = self.settings.model.as_deref().unwrap_or_default();
        let call = InnerCall {
            purpose: Purpose::Moderation,
            model,
            endpoint: Endpoint::PassThrough(PassThrough::Moderations),
            body: json!({"model": model, "input": question.texts}),
            time: self.settings.timeout.0,
            priority: 0,
            behalf: &question.behalf,
            // An answer is checked whatever it costs: its call was admitted.
            keeps: match question.side {
                Side::Input => Keeps::AllLimits,
                Side::Output => Keeps::NoLimit,
            },
        };
        let asked = inner::ask(gateway, call, |answer| self.moderated(answer));
        asked.await.map_err(|error| match error {
            InnerError::Slow => Gone::Slow,
            InnerError::Denied(denied) => Gone::Denied(denied),
            InnerError::NoAnswer { message, .. } => Gone::Model(message),
            InnerError::Invalid(_) | InnerError::Unreadable => Gone::Unreadable,
        })
    }

    /// Reads the answer of a moderation model.
    fn moderated(&self, answer: &Value) -> Option<Verdict> {
        let results = answer["results"]
            .as_array()
            .filter(|list| !list.is_empty())?;
        let mut found = Vec::new();
        let mut is_flagged = false;
        for result in results {
            if !result["flagged"].as_bool()? {
                continue;
            }
            is_flagged = true;
            let categories = result["categories"].as_object().into_iter().flatten();
            let flagged = categories.filter(|(_, is_found)| is_found.as_bool() == Some(true));
            found.extend(flagged.map(|(name, _)| name.as_str()));
        }
        found.sort_unstable();
        found.dedup();
        Some(Verdict {
            action: is_flagged.then_some(self.settings.action),
            labels: labels(found.into_iter()),
        })
    }
}

/// Returns the labels that can be reported: short ones of plain letters.
fn labels<'a>(all: impl Iterator<Item = &'a str>) -> Vec<String> {
    let plain = |label: &&str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        !label.is_empty() && label.len() <= LABEL_SIZE_MAX && label.bytes().all(is_plain)
    };
    all.filter(plain)
        .take(LABELS_MAX)
        .map(str::to_owned)
        .collect()
}

//! Prompts: their list, versions, labels and shares, previews of their text, and outcomes of calls.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use kebne_context::prompts::{
    self, CallId, Chosen, Entry, Estimate, Origin, Outcome, PROMPT_SIZE_MAX, PromptChange,
    PromptInput, StoredPrompt, StoredVersion, Tally, check_name,
};
use kebne_lane::Ending;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    http::{json_body, visit::Visit},
    stages::dry_run,
    state::State,
    surface::error::ApiError,
};

/// The largest body of a preview, in bytes; it is parsed into a tree.
const PREVIEW_MAX: usize = 1 << 20;
/// The largest body of an outcome or of a change, in bytes.
const SMALL_MAX: usize = 64 << 10;
/// The longest label, of a version or of an outcome, in bytes.
const LABEL_MAX: usize = 64;
/// The largest template, in bytes.
const TEMPLATE_MAX: usize = 256 << 10;

/// The values of a preview; all of them are optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Preview {
    /// The session whose metadata is used.
    session: Option<String>,
    /// Metadata in place of the session's.
    metadata: Option<serde_json::Map<String, Value>>,
    /// The call's body.
    request: serde_json::Map<String, Value>,
    /// The text of the caller's last message.
    input: String,
}

/// A new version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewVersion {
    name: String,
    template: String,
    #[serde(default)]
    labels: Vec<String>,
}

/// A change of labels and shares.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NewLabels {
    labels: BTreeMap<String, Option<u64>>,
    /// Shares; none of them, or `null`, end the split.
    #[serde(deserialize_with = "shares")]
    split: Option<BTreeMap<u64, f64>>,
}

/// The outcome of a call.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NewOutcome {
    request_id: Option<String>,
    session: Option<String>,
    value: Option<f64>,
    label: Option<String>,
}

/// Reads the shares of a split that is present; `null` is one without shares.
fn shares<'de, D>(deserializer: D) -> Result<Option<BTreeMap<u64, f64>>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let shares: Option<BTreeMap<u64, f64>> = Option::deserialize(deserializer)?;
    Ok(Some(shares.unwrap_or_default()))
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    json_body::object(body)
}

/// `GET /v1/prompts`.
pub(super) async fn list(visit: Visit) -> Result<HttpResponse, ApiError> {
    visit.state.read_prompts().await?;
    let prompts = visit.state.prompts.get();
    let data: Vec<Value> = prompts
        .list()
        .iter()
        .map(|entry| {
            let live = prompts.choose(&entry.name, "");
            let uses = live.map(|chosen| prompts.variables(&chosen));
            let mut shown = shown(entry);
            shown["variables"] = json!(uses.unwrap_or_default());
            shown
        })
        .collect();
    let list = json!({"object": "list", "data": data, "has_more": false});
    Ok(HttpResponse::Ok().json(list))
}

fn shown(entry: &Entry) -> Value {
    let origin = match entry.origin {
        Origin::Settings => "settings",
        Origin::Stored => "stored",
    };
    let split: BTreeMap<&str, f64> = entry
        .split
        .iter()
        .map(|(version, share)| (version.as_str(), *share))
        .collect();
    json!({
        "object": "prompt", "name": entry.name, "source": origin,
        "versions": entry.versions, "labels": entry.labels, "split": split,
    })
}

/// `POST /v1/prompts`: adds a version of a prompt.
pub(super) async fn create(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    // Each character of JSON may be written with six bytes.
    let body = visit.body_of_at_most(6 * TEMPLATE_MAX + SMALL_MAX).await?;
    let new: NewVersion = read(&body)?;
    let wrong = |key: &str, message: String| ApiError::bad_request(Some(key), message);
    check_name(&new.name).map_err(|message| wrong("name", message.to_owned()))?;
    refuse_settings(&visit.state, &new.name)?;
    for label in &new.labels {
        check_label(label, "labels")?;
    }
    if new.template.is_empty() || new.template.len() > TEMPLATE_MAX.min(PROMPT_SIZE_MAX) {
        let message = format!("`template` must be a text of 1 to {TEMPLATE_MAX} bytes");
        return Err(wrong("template", message));
    }
    let NewVersion {
        name,
        template,
        labels,
    } = new;
    // A large template takes longer than other calls may wait.
    let size = template.len();
    let check = move || prompts::check(&template).map(|()| template);
    let checked = visit.state.off_loop.read(size, check).await?;
    let template = checked.map_err(|message| wrong("template", message))?;
    let store = visit.state.gateway.prompts();
    let author = &visit.caller.name;
    let version = store.add_version(&name, template, labels, author).await?;
    visit.state.prompts_changed();
    let stored = stored(&visit.state, &name)?;
    Ok(HttpResponse::Ok().json(version_shown(&stored, version)))
}

/// Refuses to change a prompt of the settings.
fn refuse_settings(state: &State, name: &str) -> Result<(), ApiError> {
    let prompts = state.prompts.get();
    let entry = prompts.find(name);
    if entry.is_some_and(|entry| entry.origin == Origin::Settings) {
        let message = format!("`{name}` is a prompt of the settings; change it there");
        return Err(ApiError::conflict(message));
    }
    Ok(())
}

/// Checks a label. One of digits only could be taken for a version.
fn check_label(label: &str, key: &str) -> Result<(), ApiError> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let is_number = label.chars().all(|letter| letter.is_ascii_digit());
    if label.is_empty() || label.len() > LABEL_MAX || !label.chars().all(plain) || is_number {
        let message = format!(
            "a label consists of 1 to {LABEL_MAX} letters, digits, `-`, `_` and `.`, not of digits only"
        );
        return Err(ApiError::bad_request(Some(key), message));
    }
    Ok(())
}

fn stored(state: &State, name: &str) -> Result<StoredPrompt, ApiError> {
    let all = state.gateway.prompts().stored();
    let found = all.iter().find(|prompt| prompt.name == name);
    let missing = || ApiError::not_found(format!("there is no stored prompt `{name}`"));
    found.cloned().ok_or_else(missing)
}

fn version_shown(prompt: &StoredPrompt, number: u64) -> Value {
    let labels = prompt.labels.iter();
    let labels = labels.filter(|(_, version)| **version == number);
    let labels: Vec<&String> = labels.map(|(label, _)| label).collect();
    let version = prompt.versions.get(&number);
    let StoredVersion {
        template,
        created,
        author,
    } = version.cloned().unwrap_or_default();
    json!({
        "object": "prompt.version", "name": prompt.name, "version": number,
        "reference": format!("{}@{number}", prompt.name), "labels": labels,
        "created_at": created / 1000, "created_by": author, "template": template,
    })
}

/// `GET /v1/prompts/{name}`: what is known of each version.
pub(super) async fn show(visit: Visit) -> Result<HttpResponse, ApiError> {
    visit.state.read_prompts().await?;
    let name = visit.parameter();
    let prompts = visit.state.prompts.get();
    let entry = prompts.find(&name);
    let missing = || ApiError::not_found(format!("there is no prompt `{name}`"));
    let entry = entry.ok_or_else(missing)?;
    let tallies = visit.state.gateway.prompts().outcomes(&name).await?;
    let mut shown = shown(entry);
    let figures = entry.versions.iter().map(|version| {
        let chosen = Chosen {
            name: name.clone(),
            version: version.clone(),
        };
        let tally = tallies.get(version).cloned().unwrap_or_default();
        (version.clone(), figures_of(&visit.state, &chosen, &tally))
    });
    shown["figures"] = figures.collect::<serde_json::Map<_, _>>().into();
    Ok(HttpResponse::Ok().json(shown))
}

/// Returns what was counted of a version since the start, and the outcomes that are kept.
fn figures_of(state: &State, chosen: &Chosen, tally: &Tally) -> Value {
    let calls = state.prompt_calls.of(chosen);
    let endings = Ending::ALL.iter().zip(calls.endings);
    let endings: BTreeMap<&str, u64> = endings
        .filter(|(_, count)| *count > 0)
        .map(|(ending, count)| (ending.label(), count))
        .collect();
    let estimate = |estimate: Option<Estimate>| {
        estimate.map(
            |estimate| json!({"mean": estimate.mean, "low": estimate.low, "high": estimate.high}),
        )
    };
    let labels = tally.labels.iter().map(|(label, count)| {
        let share = estimate(tally.share(label));
        (label.clone(), json!({"count": count, "share": share}))
    });
    let labels: serde_json::Map<String, Value> = labels.collect();
    json!({
        "since_start": {
            "calls": calls.calls(), "endings": endings,
            "input_tokens": calls.input_tokens, "output_tokens": calls.output_tokens,
            "cost": kebne_quota::Money::from_nano(calls.cost_nano),
            "mean_ms": calls.mean_time().and_then(|time| u64::try_from(time.as_millis()).ok()),
        },
        "outcomes": {"values": tally.values, "mean": estimate(tally.mean()), "labels": labels},
    })
}

/// `GET /v1/prompts/{name}/versions`: with their templates.
pub(super) async fn versions(visit: Visit) -> Result<HttpResponse, ApiError> {
    visit.state.read_prompts().await?;
    let stored = stored(&visit.state, &visit.parameter())?;
    let numbers = stored.versions.keys().rev();
    let data: Vec<Value> = numbers
        .map(|number| version_shown(&stored, *number))
        .collect();
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": data, "has_more": false})))
}

/// `GET /v1/prompts/{name}/history`.
pub(super) async fn history(visit: Visit) -> Result<HttpResponse, ApiError> {
    visit.state.read_prompts().await?;
    let name = visit.parameter();
    stored(&visit.state, &name)?;
    let events = visit.state.gateway.prompts().history(&name).await?;
    let data: Vec<Value> = events
        .into_iter()
        .map(|event| json!({"at": event.at / 1000, "by": event.author, "change": event.change}))
        .collect();
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": data, "has_more": false})))
}

/// `POST /v1/prompts/{name}`: sets labels and shares.
pub(super) async fn change(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    refuse_settings(&visit.state, &name)?;
    let body = visit.body_of_at_most(SMALL_MAX).await?;
    let new: NewLabels = read(&body)?;
    for label in new.labels.keys() {
        check_label(label, "labels")?;
    }
    let split = new.split;
    if let Some(split) = &split {
        check_split(split)?;
    }
    let change = PromptChange {
        labels: new.labels,
        split,
    };
    let store = visit.state.gateway.prompts();
    store.change(&name, change, &visit.caller.name).await?;
    visit.state.prompts_changed();
    show(visit).await
}

fn check_split(split: &BTreeMap<u64, f64>) -> Result<(), ApiError> {
    let is_share = |share: &f64| (0.0..=1.0).contains(share);
    let sum: f64 = split.values().sum();
    if split.is_empty() || (split.values().all(is_share) && (sum - 1.0).abs() < 1e-6) {
        return Ok(());
    }
    let message = "`split` must give versions shares from 0 to 1, which are together 1";
    Err(ApiError::bad_request(Some("split"), message))
}

/// `DELETE /v1/prompts/{name}`.
pub(super) async fn remove(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    refuse_settings(&visit.state, &name)?;
    visit.state.gateway.prompts().remove(&name).await?;
    visit.state.prompts_changed();
    let gone = json!({"object": "prompt.deleted", "name": name, "deleted": true});
    Ok(HttpResponse::Ok().json(gone))
}

/// `POST /v1/prompts/{name}/render`. The name may have a label or a version. A caller who may not read prompts is told the number of tokens in
/// place of the text, as by a dry run.
pub(super) async fn render(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    let body = visit.body_of_at_most(PREVIEW_MAX).await?;
    let preview: Preview = if body.is_empty() {
        Preview::default()
    } else {
        read(&body)?
    };
    let context = &visit.state.context;
    let of_session = match &preview.session {
        Some(id) => Some(context.read(visit.owner(), id).await?),
        None => None,
    };
    let metadata = match (preview.metadata, of_session) {
        (Some(metadata), _) => metadata.into(),
        (None, Some(session)) => json!(session.details.metadata),
        (None, None) => json!({}),
    };
    let input = PromptInput {
        session: metadata,
        request: preview.request.into(),
        input: preview.input,
    };
    let prompts = visit.state.prompts.get();
    let failed = |error| ApiError::prompt(&error);
    let sticks_to = preview.session.as_deref().unwrap_or_default();
    let chosen = prompts.choose(&name, sticks_to).map_err(failed)?;
    let text = prompts.render(&chosen, &input).map_err(failed)?;
    let tokenizer = visit.state.context_settings.tokenizer;
    let (text, tokens) = visit
        .state
        .off_loop
        .read(text.len(), move || {
            let tokens = tokenizer.count(&text);
            (text, tokens)
        })
        .await?;
    let text = if dry_run::may_read_prompts(&visit.caller) {
        text
    } else {
        dry_run::in_place_of(&chosen.reference(), tokens)
    };
    let shown = json!({
        "object": "prompt.rendered", "name": chosen.name, "version": chosen.version, "text": text, "tokens": tokens,
    });
    Ok(HttpResponse::Ok().json(shown))
}

/// `POST /v1/prompts/{name}/outcomes`: how a call of the caller turned out.
pub(super) async fn report(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    let body = visit.body_of_at_most(SMALL_MAX).await?;
    let new: NewOutcome = read(&body)?;
    let wrong = |key: &str, message: &str| Err(ApiError::bad_request(Some(key), message));
    let call = match (new.request_id, new.session) {
        (Some(id), None) => CallId::Request(id),
        (None, Some(id)) => CallId::Session(id),
        _ => return wrong("request_id", "give either `request_id` or `session`"),
    };
    let outcome = match (new.value, new.label) {
        (Some(value), None) if (-1.0..=1.0).contains(&value) => Outcome::Value(value),
        (Some(_), None) => return wrong("value", "`value` must be a number from -1 to 1"),
        (None, Some(label)) => {
            check_label(&label, "label")?;
            Outcome::Label(label)
        }
        _ => return wrong("value", "give either `value` or `label`"),
    };
    let store = visit.state.gateway.prompts();
    let version = store.report(visit.owner(), &name, call, outcome).await?;
    let shown = json!({"object": "prompt.outcome", "name": name, "version": version});
    Ok(HttpResponse::Ok().json(shown))
}

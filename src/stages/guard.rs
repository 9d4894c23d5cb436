//! Checks what a model is asked, and prepares the check of what it answers.
//!
//! The guards of a call are those of its key, of its groups and of its model, so the stage comes after the model is known.
//! A call without guards costs a look-up. The checks see the call as it is sent, with the prompt and the history; what is
//! masked is masked in every form in which the call is sent or kept.

mod output;

use actix_web::web::Data;
use bytes::Bytes;
use kebne_guard::{Edit, Hits, Refused, Rules, Side, Size};
use kebne_wire::texts::{self, Replacement, RequestTexts};

use crate::{
    guards::{Applied, Question, refusal},
    stages::{Stage, route::Routed, shape::Shaped},
    state::State,
    surface::error::ApiError,
};

pub(super) use output::{GuardedStream, OutputGuard, Step, StreamCheck};

/// Checks a call before anything is reserved or sent for it.
pub(super) struct Guard<'a> {
    state: &'a Data<State>,
}

/// What the rules make of a body.
struct Masked {
    texts: RequestTexts,
    edits: Vec<Edit>,
    hits: Hits,
    refused: Option<Refused>,
}

impl<'a> Guard<'a> {
    pub(super) fn new(state: &'a Data<State>) -> Self {
        Self { state }
    }
}

impl Stage for Guard<'_> {
    type In = Routed;
    type Out = Routed;

    async fn run(&self, mut routed: Routed) -> Result<Routed, ApiError> {
        let shaped = &mut routed.shaped;
        let guards = self.state.guards.get();
        if guards.is_empty() && shaped.caller.guards.is_empty() {
            return Ok(routed);
        }
        let gateway = &self.state.gateway;
        let Some(model) = gateway.canonical(&shaped.model) else {
            return Ok(routed);
        };
        let Some(applied) = guards.of(&shaped.caller, &model)? else {
            return Ok(routed);
        };
        routed.guards = applied.fingerprint();
        let question = Question {
            side: Side::Input,
            model: model.as_str().into(),
            behalf: shaped.behalf(),
            texts: Vec::new(),
        };
        let reads = applied.guards().any(kebne_guard::Guard::reads_input);
        // Forms are files with names; their texts are not checked.
        if reads && shaped.request.form.is_none() {
            self.check_input(shaped, &applied, &question).await?;
        }
        let notes = shaped.call.notes.clone();
        routed.guard = OutputGuard::new(&applied, question, notes, self.state);
        Ok(routed)
    }
}

impl Guard<'_> {
    async fn check_input(
        &self,
        shaped: &mut Shaped,
        applied: &Applied,
        question: &Question,
    ) -> Result<(), ApiError> {
        let notes = shaped.call.notes.clone();
        let rules = applied.rules(Side::Input);
        let is_free = shaped.call.surface.calls_functions();
        let masked = self.masked((&shaped.request.body, is_free), &rules).await?;
        notes.add_hits(masked.hits);
        if let Some(refused) = masked.refused {
            return Err(refusal(&refused, Side::Input));
        }
        check_form(&masked.texts, applied, shaped)?;
        let checkers = applied.checkers(Side::Input);
        if !checkers.is_empty() {
            let asked = Question {
                texts: texts_after(&masked.texts, &masked.edits),
                ..question.clone()
            };
            for checker in checkers {
                let mut hits = Hits::new();
                let checked = checker.check(&self.state.gateway, &asked, &mut hits).await;
                notes.add_hits(hits);
                checked?;
            }
        }
        self.replace(shaped, &masked.edits, &rules).await
    }

    /// Applies the rules to a body, beside the event loop if it is large. Each string of a body that `is_free` is a text.
    async fn masked(
        &self,
        (body, is_free): (&Bytes, bool),
        rules: &Rules,
    ) -> Result<Masked, ApiError> {
        let (size, body, rules) = (body.len(), body.clone(), rules.clone());
        let work = move || {
            let texts = if is_free {
                texts_of_json(&body)
            } else {
                texts::of_request(&body).ok()
            };
            let cannot = || ApiError::bad_request(None, "the body cannot be checked");
            let texts = texts.ok_or_else(cannot)?;
            let mut hits = Hits::new();
            let edits = rules.edits(&texts.texts, &mut hits);
            let (edits, refused) = match edits {
                Ok(edits) => (edits, None),
                Err(refused) => (Vec::new(), Some(refused)),
            };
            Ok(Masked {
                texts,
                edits,
                hits,
                refused,
            })
        };
        self.state.off_loop.read(size, work).await?
    }

    /// Masks the call in every form in which it is sent or kept.
    async fn replace(
        &self,
        shaped: &mut Shaped,
        edits: &[Edit],
        rules: &Rules,
    ) -> Result<(), ApiError> {
        let request = &mut shaped.request;
        if !edits.is_empty() {
            let body = texts::replaced(&request.body, edits).into();
            request.model_span = texts::moved(&request.model_span, edits);
            request.body = self.state.bodies.hold(body)?;
        }
        if let Some(native) = &mut request.native {
            let masked = self.masked((&native.body, false), rules).await?;
            refuse(masked.refused)?;
            if !masked.edits.is_empty() {
                let body = texts::replaced(&native.body, &masked.edits).into();
                native.model_span = texts::moved(&native.model_span, &masked.edits);
                native.body = self.state.bodies.hold(body)?;
            }
        }
        if let Some(follow) = &mut shaped.follow
            && let Some(body) = self.masked_body(follow.body(), rules).await?
        {
            follow.set_body(&body)?;
        }
        if let Some(keep) = &mut shaped.keep
            && let Some(body) = self.masked_body(keep.request(), rules).await?
        {
            keep.set_request(body);
        }
        let replace = |text: &str| rules.plain(text, &mut Hits::new()).unwrap_or_default();
        shaped.writer.replace_repeated(&replace);
        Ok(())
    }

    /// Returns a body with its matches masked; `None` if nothing changes.
    async fn masked_body(&self, body: &Bytes, rules: &Rules) -> Result<Option<Bytes>, ApiError> {
        let masked = self.masked((body, false), rules).await?;
        refuse(masked.refused)?;
        if masked.edits.is_empty() {
            return Ok(None);
        }
        let body = texts::replaced(body, &masked.edits).into();
        self.state.bodies.hold(body).map(Some)
    }
}

/// Returns the strings and long numbers of any JSON.
fn texts_of_json(body: &[u8]) -> Option<RequestTexts> {
    let texts = texts::of_json(str::from_utf8(body).ok()?)?;
    Some(RequestTexts {
        texts,
        ..RequestTexts::default()
    })
}

fn refuse(refused: Option<Refused>) -> Result<(), ApiError> {
    refused.map_or(Ok(()), |refused| Err(refusal(&refused, Side::Input)))
}

/// Checks the sizes of a call, and that it consists of texts.
fn check_form(texts: &RequestTexts, applied: &Applied, shaped: &Shaped) -> Result<(), ApiError> {
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let characters = || {
        let asked = texts.texts.iter().filter(|text| !text.is_aside);
        let each = asked.map(|text| text.value.chars().count());
        count(each.sum())
    };
    let options = &shaped.options;
    for guard in applied.guards() {
        if texts.has_token_ids && !guard.allows_token_ids {
            let why = "a text that is given as the numbers of its tokens cannot be checked";
            return Err(ApiError::guard_refused(&guard.name, why));
        }
        let size = Size {
            characters: guard.sizes.characters_max.map_or(0, |_| characters()),
            messages: count(texts.messages),
            tokens: options.cost.saturating_sub(options.cost_uncertain).into(),
            images: count(texts.images),
        };
        if let Some((bound, max)) = guard.sizes.exceeded(&size) {
            let what = bound.trim_end_matches("_max");
            let why = format!("it has more than {max} {what}");
            return Err(ApiError::guard_refused(&guard.name, &why));
        }
    }
    Ok(())
}

/// Returns what the model is asked, as it is sent.
fn texts_after(texts: &RequestTexts, edits: &[Edit]) -> Vec<String> {
    let mut edits = edits.iter().peekable();
    let after = texts.texts.iter().filter_map(|text| {
        let edit = edits.next_if(|(span, _)| *span == text.span);
        let value = match edit {
            Some((_, Replacement::Text(masked))) => masked,
            _ => &text.value,
        };
        (!text.is_aside).then(|| value.clone())
    });
    after.collect()
}

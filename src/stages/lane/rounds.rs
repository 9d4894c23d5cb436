//! The answer of a call that is answered in rounds: what was sent with it and how it is kept are those of every call, but it has no lane of its own.

use actix_web::{body::BoxBody, http::header::CONTENT_TYPE, web::Data};

use super::{
    Answer, Finish, JSON, PendingCall, Started, WholeBody, announce, number_header, streamed,
};
use crate::{
    stages::{
        shape::Shaped,
        tools::{Plan, Rounds},
    },
    state::State,
    surface::error::ApiError,
};

/// Answers a call.
pub(super) async fn answer(
    state: &Data<State>,
    shaped: Shaped,
    plan: Plan,
) -> Result<Answer, ApiError> {
    let rounds = Rounds::new(state, &shaped, plan);
    let Shaped {
        call,
        request,
        follow,
        keep,
        sent,
        omitted,
        retrieved,
        writer,
        ..
    } = shaped;
    let mut finish = Finish {
        follow,
        keep,
        writer,
    };
    let mut headers = announce(sent, &omitted);
    headers.extend(retrieved);
    call.notes.set_sent();
    if request.stream {
        let pending: PendingCall =
            Box::pin(async move { Ok(Started::Rounds(Box::new(rounds.stream().begun().await?))) });
        return streamed(state, (call, finish, None), pending, headers).await;
    }
    let (parts, body) = rounds.whole().await?;
    let (body, number) = finish.rounds(parts, body).await?;
    if let Some(number) = number {
        headers.push(number_header("x-kebne-session-turn", number));
    }
    headers.push((CONTENT_TYPE, JSON));
    let body = BoxBody::new(WholeBody::without_lane(body, call.notes));
    Ok(Answer { headers, body })
}

//! The puppet as an actor of Kebne.

use std::time::Duration;

use actix::{
    Actor, AsyncContext, Handler, Message,
    dev::MessageResponse,
    fut::{ActorFutureExt, wrap_future},
};
use futures_util::FutureExt;
use kebne_actors::system::{Context, Listing, StopCause, Terminated};
use tokio::{sync::oneshot, time::sleep};

use super::{props::PuppetError, stage::OnKebne};
use crate::puppet::{Answer, Body, Performed, Script, blow_up, receive};

pub(super) struct KebnePuppet {
    pub(super) body: Body,
}

/// A script told.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Tell(pub(super) Script);

/// A script asked.
#[derive(Message)]
#[rtype(result = "Answer")]
pub(super) struct Ask(pub(super) Script);

/// An event of a topic: red or not.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Event<const RED: bool>(pub(super) i64);

/// How an ask is answered.
pub(super) enum Response {
    Now(Answer),
    Later(Duration, Answer),
    Within(Duration, Option<Answer>),
    Never,
}

impl<M: Message<Result = Answer>> MessageResponse<KebnePuppet, M> for Response {
    fn handle(self, ctx: &mut Context<KebnePuppet>, answer: Option<oneshot::Sender<Answer>>) {
        let Some(sender) = answer else { return };
        match self {
            Self::Now(answer) => {
                let _an_asker_may_have_left = sender.send(answer);
            }
            Self::Later(delay, answer) => {
                actix_rt::spawn(async move {
                    sleep(delay).await;
                    let _an_asker_may_have_left = sender.send(answer);
                });
            }
            Self::Within(delay, answer) => {
                let slept = wrap_future::<_, KebnePuppet>(sleep(delay));
                ctx.spawn(slept.map(move |(), _, _| match answer {
                    Some(answer) => {
                        let _an_asker_may_have_left = sender.send(answer);
                    }
                    None => blow_up("in the future of an answer"),
                }));
            }
            Self::Never => {}
        }
    }
}

impl Actor for KebnePuppet {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let mut stage = OnKebne(ctx);
        let performed = self.body.started(&mut stage).now_or_never();
        if let Some(Performed::Failed(class)) = performed {
            ctx.fail(PuppetError(class));
        }
    }

    fn stopped(&mut self, ctx: &mut Context<Self>) {
        let mut stage = OnKebne(ctx);
        let _never_waits = self.body.stopped(&mut stage).now_or_never();
    }
}

impl KebnePuppet {
    /// Obeys; no command waits on Kebne's stage.
    pub(super) fn obey(&mut self, script: Script, ctx: &mut Context<Self>) -> Response {
        let mut stage = OnKebne(ctx);
        match receive(&mut self.body, &mut stage, script).now_or_never() {
            Some(Performed::Answer(answer)) => Response::Now(answer),
            Some(Performed::Later(delay, answer)) => Response::Later(delay, answer),
            Some(Performed::Within(delay, answer)) => Response::Within(delay, answer),
            Some(Performed::Failed(class)) => {
                ctx.fail(PuppetError(class));
                Response::Never
            }
            Some(Performed::Never) | None => Response::Never,
        }
    }
}

impl Handler<Tell> for KebnePuppet {
    type Result = ();

    fn handle(&mut self, Tell(script): Tell, ctx: &mut Context<Self>) {
        self.obey(script, ctx);
    }
}

impl Handler<Ask> for KebnePuppet {
    type Result = Response;

    fn handle(&mut self, Ask(script): Ask, ctx: &mut Context<Self>) -> Response {
        self.obey(script, ctx)
    }
}

impl<const RED: bool> Handler<Event<RED>> for KebnePuppet {
    type Result = ();

    fn handle(&mut self, Event(number): Event<RED>, _: &mut Context<Self>) {
        let topic = if RED { "red" } else { "blue" };
        self.body.note(&format!("{topic} {number}"));
    }
}

impl Handler<Listing<Tell>> for KebnePuppet {
    type Result = ();

    fn handle(&mut self, listing: Listing<Tell>, _: &mut Context<Self>) {
        self.body.note(&format!("lists {}", listing.0.len()));
    }
}

impl Handler<Terminated> for KebnePuppet {
    type Result = ();

    fn handle(&mut self, terminated: Terminated, _: &mut Context<Self>) {
        let name = terminated.path.rsplit('/').next().unwrap_or_default();
        let how = match terminated.cause {
            StopCause::Stopped => "stop",
            _ => "fail",
        };
        self.body.note(&format!("saw {name} {how}"));
    }
}

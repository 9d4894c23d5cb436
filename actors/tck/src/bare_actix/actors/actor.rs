//! The puppet as an actor of actix.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{
    Actor, AsyncContext, Context, Handler, Message, SpawnHandle, Supervised,
    dev::MessageResponse,
    fut::{ActorFutureExt, wrap_future},
};
use actix_broker::BrokerSubscribe;
use futures_util::FutureExt;
use tokio::{sync::oneshot, time::sleep};

use super::stage::OnActix;
use crate::{
    driver::actors::Topic,
    puppet::{Answer, Body, Performed, Script, blow_up, receive},
};

pub(super) struct ActixPuppet {
    pub(super) body: Body,
    /// The running timers, by key.
    pub(super) timers: BTreeMap<&'static str, SpawnHandle>,
}

impl ActixPuppet {
    pub(super) fn new(body: Body) -> Self {
        Self {
            body,
            timers: BTreeMap::new(),
        }
    }
}

/// A script told.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Tell(pub(super) Script);

/// A script asked.
#[derive(Message)]
#[rtype(result = "Answer")]
pub(super) struct Ask(pub(super) Script);

/// How an ask is answered.
pub(super) enum Response {
    Now(Answer),
    Later(Duration, Answer),
    Within(Duration, Option<Answer>),
    Never,
}

impl<M: Message<Result = Answer>> MessageResponse<ActixPuppet, M> for Response {
    fn handle(self, ctx: &mut Context<ActixPuppet>, answer: Option<oneshot::Sender<Answer>>) {
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
                let slept = wrap_future::<_, ActixPuppet>(sleep(delay));
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

impl Actor for ActixPuppet {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let mut stage = OnActix {
            ctx,
            timers: &mut self.timers,
        };
        let _never_waits = self.body.started(&mut stage).now_or_never();
    }

    fn stopped(&mut self, ctx: &mut Context<Self>) {
        let mut stage = OnActix {
            ctx,
            timers: &mut self.timers,
        };
        let _never_waits = self.body.stopped(&mut stage).now_or_never();
    }
}

impl Supervised for ActixPuppet {
    fn restarting(&mut self, _: &mut Context<Self>) {
        // Actix keeps the value; an application that wants it fresh does so here.
        self.timers.clear();
        self.body = Body::new(self.body.spec.clone(), Arc::clone(&self.body.shared));
    }
}

impl ActixPuppet {
    /// Obeys; no command waits on actix's stage.
    pub(super) fn obey(&mut self, script: Script, ctx: &mut Context<Self>) -> Response {
        let mut stage = OnActix {
            ctx,
            timers: &mut self.timers,
        };
        match receive(&mut self.body, &mut stage, script).now_or_never() {
            Some(Performed::Answer(answer)) => Response::Now(answer),
            Some(Performed::Later(delay, answer)) => Response::Later(delay, answer),
            Some(Performed::Within(delay, answer)) => Response::Within(delay, answer),
            Some(Performed::Failed(_) | Performed::Never) | None => Response::Never,
        }
    }
}

/// Has a puppet subscribe to a topic, which only an actor itself can.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Subscribe(pub(super) Topic);

impl Handler<Subscribe> for ActixPuppet {
    type Result = ();

    fn handle(&mut self, Subscribe(topic): Subscribe, ctx: &mut Context<Self>) {
        match topic {
            Topic::Red => self.subscribe_system_async::<Red>(ctx),
            Topic::Blue => self.subscribe_system_async::<Blue>(ctx),
        }
    }
}

/// An event of the red topic.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Red(pub(super) i64);

/// An event of the blue topic.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Blue(pub(super) i64);

impl Handler<Red> for ActixPuppet {
    type Result = ();

    fn handle(&mut self, Red(number): Red, _: &mut Context<Self>) {
        self.body.note(&format!("red {number}"));
    }
}

impl Handler<Blue> for ActixPuppet {
    type Result = ();

    fn handle(&mut self, Blue(number): Blue, _: &mut Context<Self>) {
        self.body.note(&format!("blue {number}"));
    }
}

impl Handler<Tell> for ActixPuppet {
    type Result = ();

    fn handle(&mut self, Tell(script): Tell, ctx: &mut Context<Self>) {
        self.obey(script, ctx);
    }
}

impl Handler<Ask> for ActixPuppet {
    type Result = Response;

    fn handle(&mut self, Ask(script): Ask, ctx: &mut Context<Self>) -> Response {
        self.obey(script, ctx)
    }
}

//! A handler's context in actix as the stage of a puppet.

use std::{collections::BTreeMap, future::ready, time::Duration};

use actix::{
    ActorContext, AsyncContext, Context, SpawnHandle,
    fut::{ActorFutureExt, wrap_future},
};
use tokio::time::sleep;

use super::{
    actor::{ActixPuppet, Ask, Tell},
    reference::ActixHandle,
};
use crate::{
    driver::{Unsupported, actors::Puppet},
    puppet::{Did, PipedOutcome, Repeat, Script, Stage, blow_up, told_of},
};

pub(super) struct OnActix<'a> {
    pub(super) ctx: &'a mut Context<ActixPuppet>,
    pub(super) timers: &'a mut BTreeMap<&'static str, SpawnHandle>,
}

impl Stage for OnActix<'_> {
    fn stop(&mut self) -> Did {
        self.ctx.stop();
        Ok(())
    }

    fn can_answer_within(&self) -> Did {
        Ok(())
    }

    fn tell_myself(&mut self, script: Script) -> Did {
        self.ctx.notify(Tell(script));
        Ok(())
    }

    fn start_timer(
        &mut self,
        key: &'static str,
        after: Duration,
        repeat: Repeat,
        script: Script,
    ) -> impl Future<Output = Did> + Send {
        let handle = match repeat {
            Repeat::Once => self.ctx.run_later(after, move |actor, ctx| {
                actor.timers.remove(key);
                actor.obey(script, ctx);
            }),
            Repeat::Delay | Repeat::Rate => self.ctx.run_interval(after, move |actor, ctx| {
                actor.obey(script.clone(), ctx);
            }),
        };
        if let Some(old) = self.timers.insert(key, handle) {
            self.ctx.cancel_future(old);
        }
        std::future::ready(Ok(()))
    }

    fn cancel_timer(&mut self, key: &'static str) -> Result<bool, Unsupported> {
        let handle = self.timers.remove(key);
        Ok(handle.is_some_and(|handle| self.ctx.cancel_future(handle)))
    }

    fn pipe(&mut self, after: Duration, outcome: PipedOutcome) -> Did {
        let address = self.ctx.address();
        actix_rt::spawn(async move {
            sleep(after).await;
            match outcome {
                PipedOutcome::Value(script) | PipedOutcome::Error(script) => {
                    address.do_send(Tell(script));
                }
                PipedOutcome::Panic => blow_up("in a piped future"),
            }
        });
        Ok(())
    }

    fn ask_and_pipe(&mut self, other: &Puppet, script: Script, timeout: Duration) -> Did {
        let other = ActixHandle::of(other)?.address();
        let address = self.ctx.address();
        actix_rt::spawn(async move {
            let answer = other.send(Ask(script)).timeout(timeout).await;
            address.do_send(Tell(told_of(answer.as_ref().ok())));
        });
        Ok(())
    }

    fn spawn_future(&mut self, after: Duration, script: Script) -> Did {
        let future = wrap_future::<_, ActixPuppet>(sleep(after));
        let future = future.map(|(), actor, ctx| {
            actor.obey(script, ctx);
        });
        self.ctx.spawn(future);
        Ok(())
    }

    fn hold(&mut self, time: Duration) -> impl Future<Output = Did> + Send {
        self.ctx.wait(wrap_future(sleep(time)));
        ready(Ok(()))
    }

    fn end_thread(&mut self) -> Did {
        actix_rt::Arbiter::current().stop();
        Ok(())
    }

    fn myself(&mut self) -> Result<Puppet, Unsupported> {
        Ok(ActixHandle::puppet(self.ctx.address(), false))
    }
}

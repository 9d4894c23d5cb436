//! A handler's context in Kebne as the stage of a puppet.

use std::{
    future::{Ready, ready},
    sync::Arc,
    time::Duration,
};

use actix::{AsyncContext, fut::ActorFutureExt};
use kebne_actors::system::{ActorRef, Context, TaskPanicked};
use tokio::time::sleep;

use super::{
    actor::{Ask, KebnePuppet, Tell},
    props::props,
    reference,
    reference::puppet,
};
use crate::{
    driver::{
        Unsupported,
        actors::{Puppet, Shared},
    },
    puppet::{Did, PipedOutcome, Repeat, Script, Spec, Stage, blow_up, told_of},
};

pub(super) struct OnKebne<'a>(pub(super) &'a mut Context<KebnePuppet>);

impl OnKebne<'_> {
    fn watching(
        &mut self,
        other: &Puppet,
        watch: impl FnOnce(&mut Context<KebnePuppet>, &ActorRef<KebnePuppet>),
    ) -> Ready<Did> {
        ready(reference(other).map(|other| watch(self.0, other)))
    }
}

impl Stage for OnKebne<'_> {
    fn stop(&mut self) -> Did {
        self.0.stop();
        Ok(())
    }

    fn can_fail(&self) -> Did {
        Ok(())
    }

    fn can_answer_within(&self) -> Did {
        Ok(())
    }

    fn tell_myself(&mut self, script: Script) -> Did {
        let _a_full_mailbox_is_for_the_case_to_see = self.0.self_ref().tell(Tell(script));
        Ok(())
    }

    fn spawn(
        &mut self,
        spec: Spec,
        shared: &Arc<Shared>,
    ) -> impl Future<Output = Result<Puppet, Unsupported>> + Send {
        let name = spec.name;
        let child = self.0.spawn_child(props(spec, shared), name);
        ready(Ok(puppet(child)))
    }

    fn stop_child(&mut self, child: &Puppet) -> Result<bool, Unsupported> {
        Ok(self.0.stop_child(reference(child)?))
    }

    fn children(&mut self) -> Result<Vec<String>, Unsupported> {
        let names = self.0.children().filter_map(|path| path.rsplit('/').next());
        Ok(names.map(str::to_owned).collect())
    }

    fn watch(&mut self, other: &Puppet) -> impl Future<Output = Did> + Send {
        self.watching(other, Context::watch)
    }

    fn watch_with(&mut self, other: &Puppet, script: Script) -> Did {
        self.0.watch_with(reference(other)?, Tell(script));
        Ok(())
    }

    fn watch_or_die(&mut self, other: &Puppet) -> impl Future<Output = Did> + Send {
        self.watching(other, Context::watch_or_die)
    }

    fn unwatch(&mut self, other: &Puppet) -> impl Future<Output = Did> + Send {
        self.watching(other, Context::unwatch)
    }

    fn start_timer(
        &mut self,
        key: &'static str,
        after: Duration,
        repeat: Repeat,
        script: Script,
    ) -> impl Future<Output = Did> + Send {
        let message = Tell(script);
        match repeat {
            Repeat::Once => self.0.start_timer(key, message, after),
            Repeat::Delay => self.0.start_timer_with_fixed_delay(key, message, after),
            Repeat::Rate => self.0.start_timer_at_fixed_rate(key, message, after),
        }
        ready(Ok(()))
    }

    fn cancel_timer(&mut self, key: &'static str) -> Result<bool, Unsupported> {
        Ok(self.0.cancel_timer(key))
    }

    fn is_timer_active(&mut self, key: &'static str) -> Result<bool, Unsupported> {
        Ok(self.0.is_timer_active(key))
    }

    fn receive_timeout(&mut self, timeout: Duration, script: Script) -> Did {
        self.0.set_receive_timeout(timeout, Tell(script));
        Ok(())
    }

    fn no_receive_timeout(&mut self) -> Did {
        self.0.cancel_receive_timeout();
        Ok(())
    }

    fn stash(&mut self, script: Script) -> Result<bool, Unsupported> {
        Ok(self.0.stash(Tell(script)).is_ok())
    }

    fn unstash_some(&mut self, messages: usize) -> Did {
        self.0.unstash(messages);
        Ok(())
    }

    fn reset_backoff(&mut self) -> Did {
        self.0.reset_backoff();
        Ok(())
    }

    fn unstash(&mut self) -> Did {
        self.0.unstash_all();
        Ok(())
    }

    fn pipe(&mut self, after: Duration, outcome: PipedOutcome) -> Did {
        let future = async move {
            sleep(after).await;
            match outcome {
                PipedOutcome::Value(script) => Ok(script),
                PipedOutcome::Error(script) => Err(script),
                PipedOutcome::Panic => blow_up("in a piped future"),
            }
        };
        self.0.try_pipe_to_self(future, |result| match result {
            Ok(Ok(script) | Err(script)) => Tell(script),
            Err(TaskPanicked(_)) => Tell(Script(Vec::new())),
        });
        Ok(())
    }

    fn ask_and_pipe(&mut self, other: &Puppet, script: Script, timeout: Duration) -> Did {
        let other = reference(other)?.clone();
        let asked = async move { other.ask(Ask(script), timeout).await };
        self.0
            .pipe_to_self(asked, |answer| Tell(told_of(answer.as_ref().ok())));
        Ok(())
    }

    fn spawn_future(&mut self, after: Duration, script: Script) -> Did {
        let future = actix::fut::wrap_future::<_, KebnePuppet>(sleep(after));
        let future = future.map(|(), actor, ctx| {
            actor.obey(script, ctx);
        });
        self.0.spawn(future);
        Ok(())
    }

    fn hold(&mut self, time: Duration) -> impl Future<Output = Did> + Send {
        self.0.wait(actix::fut::wrap_future(sleep(time)));
        ready(Ok(()))
    }

    fn note_when_abandoned(&mut self, shared: &Arc<Shared>, note: &'static str) -> Did {
        let token = self.0.asker();
        let shared = Arc::clone(shared);
        actix_rt::spawn(async move {
            token.cancelled().await;
            shared.note(note);
        });
        Ok(())
    }

    fn end_thread(&mut self) -> Did {
        actix_rt::Arbiter::current().stop();
        Ok(())
    }

    fn path(&mut self) -> Result<String, Unsupported> {
        Ok(self.0.path().to_owned())
    }

    fn myself(&mut self) -> Result<Puppet, Unsupported> {
        Ok(puppet(self.0.self_ref()))
    }
}

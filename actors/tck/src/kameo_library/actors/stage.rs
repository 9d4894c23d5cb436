//! What a handler of kameo gives a puppet.

use std::{sync::Arc, time::Duration};

use kameo::actor::{ActorRef, WeakActorRef};
use kameo_actors::scheduler::SetInterval;
use tokio::{
    task::AbortHandle,
    time::{MissedTickBehavior, sleep},
};

use super::{
    actor::{KameoPuppet, Tell, Ties},
    reference::{KameoHandle, ask},
    spawn_under,
};
use crate::{
    driver::{
        Unsupported,
        actors::{Puppet, Shared},
    },
    puppet::{Did, Directive, PipedOutcome, Repeat, Script, Spec, Stage, blow_up, told_of},
};

/// Which of the actor's functions runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Starting,
    Running,
    Stopping,
}

pub(super) struct OnKameo {
    myself: Option<ActorRef<KameoPuppet>>,
    ties: Arc<Ties>,
    moment: Moment,
    stops: bool,
}

impl OnKameo {
    fn new(myself: Option<ActorRef<KameoPuppet>>, ties: Arc<Ties>, moment: Moment) -> Self {
        Self {
            myself,
            ties,
            moment,
            stops: false,
        }
    }

    pub(super) fn starting(myself: ActorRef<KameoPuppet>, ties: Arc<Ties>) -> Self {
        Self::new(Some(myself), ties, Moment::Starting)
    }

    pub(super) fn running(myself: ActorRef<KameoPuppet>, ties: Arc<Ties>) -> Self {
        Self::new(Some(myself), ties, Moment::Running)
    }

    pub(super) fn stopping(myself: &WeakActorRef<KameoPuppet>, ties: Arc<Ties>) -> Self {
        Self::new(myself.upgrade(), ties, Moment::Stopping)
    }

    /// Returns `true` if the handler is to stop its actor.
    pub(super) fn stops(&self) -> bool {
        self.stops
    }

    fn me(&self) -> Result<ActorRef<KameoPuppet>, Unsupported> {
        let me = self.myself.clone();
        me.ok_or(Unsupported("reference to oneself in the stop hook"))
    }

    async fn link(&self, other: &Puppet) -> Did {
        let other = KameoHandle::of(other)?.actor();
        if !other.is_alive() {
            return Err(Unsupported("link to an actor that has stopped"));
        }
        self.me()?.link(other).await;
        Ok(())
    }
}

impl OnKameo {
    /// Has the scheduler tell a tick again and again.
    async fn interval(
        &self,
        me: &ActorRef<KameoPuppet>,
        period: Duration,
        missed: MissedTickBehavior,
        tick: Tell,
    ) -> Result<AbortHandle, Unsupported> {
        let interval = SetInterval::new(me.downgrade(), period, tick)
            .start_delay(period)
            .set_missed_tick_behaviour(missed);
        let asked = self.ties.aides.scheduler.ask(interval).await;
        asked.map_err(|_| Unsupported("answer of a scheduler that stopped"))
    }
}

impl Stage for OnKameo {
    fn stop(&mut self) -> Did {
        if self.moment != Moment::Running {
            return Err(Unsupported("stop within a hook"));
        }
        self.stops = true;
        Ok(())
    }

    fn can_fail(&self) -> Did {
        Ok(())
    }

    fn tell_myself(&mut self, script: Script) -> Did {
        let _a_full_mailbox_is_for_the_case_to_see = self.me()?.tell(Tell(script)).try_send();
        Ok(())
    }

    async fn spawn(&mut self, spec: Spec, shared: &Arc<Shared>) -> Result<Puppet, Unsupported> {
        let escalates = spec.supervision.as_ref();
        let escalates = escalates.is_some_and(|s| s.otherwise == Directive::Escalate);
        let child = spawn_under(&self.me()?, spec, shared, &self.ties.aides).await?;
        if escalates {
            let id = KameoHandle::of(&child)?.actor().id();
            self.ties.bonds().escalating.insert(id);
        }
        Ok(child)
    }

    async fn watch(&mut self, other: &Puppet) -> Did {
        let handle = KameoHandle::of(other)?;
        self.ties
            .bonds()
            .watched
            .insert(handle.actor().id(), handle.name);
        self.link(other).await
    }

    async fn watch_or_die(&mut self, other: &Puppet) -> Did {
        let id = KameoHandle::of(other)?.actor().id();
        self.ties.bonds().pacts.insert(id);
        self.link(other).await
    }

    async fn unwatch(&mut self, other: &Puppet) -> Did {
        let other = KameoHandle::of(other)?.actor();
        {
            let mut bonds = self.ties.bonds();
            bonds.watched.remove(&other.id());
            bonds.pacts.remove(&other.id());
        }
        self.me()?.unlink(other).await;
        Ok(())
    }

    async fn start_timer(
        &mut self,
        key: &'static str,
        after: Duration,
        repeat: Repeat,
        script: Script,
    ) -> Did {
        let (me, tick) = (self.me()?, Tell(script));
        let timer = match repeat {
            Repeat::Once => me.tell(tick).send_after(after).abort_handle(),
            Repeat::Delay => {
                self.interval(&me, after, MissedTickBehavior::Delay, tick)
                    .await?
            }
            Repeat::Rate => {
                self.interval(&me, after, MissedTickBehavior::Burst, tick)
                    .await?
            }
        };
        if let Some(old) = self.ties.bonds().timers.insert(key, timer) {
            old.abort();
        }
        Ok(())
    }

    fn cancel_timer(&mut self, key: &'static str) -> Result<bool, Unsupported> {
        let timer = self.ties.bonds().timers.remove(key);
        Ok(timer.inspect(AbortHandle::abort).is_some())
    }

    fn pipe(&mut self, after: Duration, outcome: PipedOutcome) -> Did {
        let me = self.me()?;
        tokio::spawn(async move {
            sleep(after).await;
            match outcome {
                PipedOutcome::Value(script) | PipedOutcome::Error(script) => {
                    let _it_may_have_stopped = me.tell(Tell(script)).send().await;
                }
                PipedOutcome::Panic => blow_up("in a piped future"),
            }
        });
        Ok(())
    }

    fn ask_and_pipe(&mut self, other: &Puppet, script: Script, timeout: Duration) -> Did {
        let other = KameoHandle::of(other)?.actor().clone();
        let me = self.me()?;
        tokio::spawn(async move {
            let answer = ask(other, true, script, timeout).await;
            let told = Tell(told_of(answer.as_ref().ok()));
            let _it_may_have_stopped = me.tell(told).send().await;
        });
        Ok(())
    }

    async fn hold(&mut self, time: Duration) -> Did {
        sleep(time).await;
        Ok(())
    }

    fn myself(&mut self) -> Result<Puppet, Unsupported> {
        Ok(KameoHandle::puppet(self.me()?, "me", true))
    }
}

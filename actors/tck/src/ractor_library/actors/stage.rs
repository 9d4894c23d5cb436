//! What a handler of ractor gives a puppet.

use std::{sync::Arc, time::Duration};

use ractor::ActorRef;
use tokio::{task::AbortHandle, time::sleep};

use super::{
    actor::{Order, Ties},
    reference::{RactorHandle, ask},
    spawn_under,
};
use crate::{
    driver::{
        Unsupported,
        actors::{Puppet, Shared},
    },
    puppet::{Did, PipedOutcome, Repeat, Script, Spec, Stage, blow_up, told_of},
};

pub(super) struct OnRactor<'a> {
    myself: ActorRef<Order>,
    ties: &'a mut Ties,
}

impl<'a> OnRactor<'a> {
    pub(super) fn new(myself: ActorRef<Order>, ties: &'a mut Ties) -> Self {
        Self { myself, ties }
    }

    /// Has the events of another come here: those of a child do so already.
    fn follow(&self, other: &ActorRef<Order>) {
        let id = other.get_id();
        let children = self.myself.get_children();
        if !children.iter().any(|child| child.get_id() == id) {
            self.myself.monitor(other.get_cell());
        }
    }
}

impl Stage for OnRactor<'_> {
    fn stop(&mut self) -> Did {
        self.myself.stop(None);
        Ok(())
    }

    fn can_fail(&self) -> Did {
        Ok(())
    }

    fn tell_myself(&mut self, script: Script) -> Did {
        let _a_stopping_actor_hears_nothing = self.myself.send_message(Order::Tell(script));
        Ok(())
    }

    async fn spawn(&mut self, spec: Spec, shared: &Arc<Shared>) -> Result<Puppet, Unsupported> {
        let directory = Arc::clone(&self.ties.directory);
        spawn_under(self.myself.get_cell(), spec, shared, &directory).await
    }

    fn stop_child(&mut self, child: &Puppet) -> Result<bool, Unsupported> {
        let id = RactorHandle::of(child)?.get_id();
        let children = self.myself.get_children();
        let child = children.iter().find(|child| child.get_id() == id);
        Ok(child.inspect(|child| child.stop(None)).is_some())
    }

    fn children(&mut self) -> Result<Vec<String>, Unsupported> {
        let mut children = self.myself.get_children();
        children.sort_by_key(|child| child.get_id().pid());
        let names = self.ties.directory.names();
        let named = children
            .iter()
            .filter_map(|child| names.get(&child.get_id()));
        Ok(named.map(|name| (*name).to_owned()).collect())
    }

    async fn watch(&mut self, other: &Puppet) -> Did {
        let other = RactorHandle::of(other)?;
        self.ties.watched.insert(other.get_id());
        self.follow(other);
        Ok(())
    }

    async fn watch_or_die(&mut self, other: &Puppet) -> Did {
        let other = RactorHandle::of(other)?;
        self.ties.pacts.insert(other.get_id());
        self.follow(other);
        Ok(())
    }

    async fn unwatch(&mut self, other: &Puppet) -> Did {
        let other = RactorHandle::of(other)?;
        self.ties.watched.remove(&other.get_id());
        self.ties.pacts.remove(&other.get_id());
        self.myself.unmonitor(other.get_cell());
        Ok(())
    }

    async fn start_timer(
        &mut self,
        key: &'static str,
        after: Duration,
        repeat: Repeat,
        script: Script,
    ) -> Did {
        let timer = match repeat {
            Repeat::Once => {
                let send = self.myself.send_after(after, move || Order::Tell(script));
                send.abort_handle()
            }
            Repeat::Delay | Repeat::Rate => {
                let send = move || Order::Tell(script.clone());
                self.myself.send_interval(after, send).abort_handle()
            }
        };
        if let Some(old) = self.ties.timers.insert(key, timer) {
            old.abort();
        }
        Ok(())
    }

    fn cancel_timer(&mut self, key: &'static str) -> Result<bool, Unsupported> {
        let timer = self.ties.timers.remove(key);
        Ok(timer.inspect(AbortHandle::abort).is_some())
    }

    fn pipe(&mut self, after: Duration, outcome: PipedOutcome) -> Did {
        let myself = self.myself.clone();
        tokio::spawn(async move {
            sleep(after).await;
            match outcome {
                PipedOutcome::Value(script) | PipedOutcome::Error(script) => {
                    let _it_may_have_stopped = myself.send_message(Order::Tell(script));
                }
                PipedOutcome::Panic => blow_up("in a piped future"),
            }
        });
        Ok(())
    }

    fn ask_and_pipe(&mut self, other: &Puppet, script: Script, timeout: Duration) -> Did {
        let other = RactorHandle::of(other)?.clone();
        let myself = self.myself.clone();
        tokio::spawn(async move {
            let answer = ask(other, script, timeout).await;
            let told = Order::Tell(told_of(answer.as_ref().ok()));
            let _it_may_have_stopped = myself.send_message(told);
        });
        Ok(())
    }

    async fn hold(&mut self, time: Duration) -> Did {
        sleep(time).await;
        Ok(())
    }

    fn myself(&mut self) -> Result<Puppet, Unsupported> {
        Ok(RactorHandle::puppet(self.myself.clone()))
    }
}

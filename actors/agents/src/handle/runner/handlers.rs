//! What the actor of a run does with its messages. A result for an instance before a restart is ignored.

use actix::{Actor, Handler};
use kebne_actors::Context;

use crate::{
    handle::runner::{
        Again, Asked, Asking, Called, Due, Equipped, FAILURES_MAX, Halt, Leave, Loaded, Look,
        Released, Runner, Storing, WRITE_AGAIN, Wrote, carry,
    },
    live::Live,
    run::{Ending, Run, RunEvent},
    store::{Appended, StoreError},
};

impl Actor for Runner {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // An instance before a restart may have rested.
        self.agents.rests(&self.lease, false);
        self.load(ctx);
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Handler<Loaded> for Runner {
    type Result = ();

    fn handle(&mut self, Loaded(instance, loaded): Loaded, ctx: &mut Context<Self>) {
        if instance != self.instance {
            return;
        }
        match loaded {
            Ok((events, tools)) => {
                self.run = Run::of(self.lease.id.clone(), self.lease.owner.clone(), &events);
                self.tools = Some(tools);
                if std::mem::take(&mut self.must_look) {
                    return self.look(ctx);
                }
                self.drive(ctx);
            }
            // It was erased.
            Err(StoreError::NotFound(_)) => ctx.stop(),
            Err(error) => {
                tracing::warn!(run = %self.lease.id, %error, "a run cannot be read yet");
                ctx.start_timer("due", Due, WRITE_AGAIN);
            }
        }
    }
}

impl Handler<Equipped> for Runner {
    type Result = ();

    fn handle(&mut self, Equipped(instance, tools): Equipped, ctx: &mut Context<Self>) {
        if instance == self.instance {
            self.tools = Some(tools);
            self.drive(ctx);
        }
    }
}

impl Handler<Wrote> for Runner {
    type Result = ();

    fn handle(&mut self, Wrote(instance, written, result): Wrote, ctx: &mut Context<Self>) {
        if instance != self.instance {
            return;
        }
        self.storing = Storing::Idle;
        match result {
            Ok(Appended::Done(events)) => {
                for (_, event) in &written {
                    if let RunEvent::Returned { call, .. } = event {
                        self.busy.remove(call);
                    }
                }
                self.take(&events, ctx);
                self.note(&events, &written);
                if std::mem::take(&mut self.must_look) {
                    return self.look(ctx);
                }
                self.drive(ctx);
            }
            Ok(Appended::Lost) => ctx.stop(),
            Err(error) => {
                tracing::warn!(run = %self.lease.id, %error, "a step of a run is not stored yet");
                let later = std::mem::replace(&mut self.queue, written);
                self.queue.extend(later);
                ctx.start_timer("due", Due, WRITE_AGAIN);
            }
        }
    }
}

impl Handler<Asked> for Runner {
    type Result = ();

    fn handle(&mut self, Asked(instance, asked): Asked, ctx: &mut Context<Self>) {
        if instance != self.instance {
            return;
        }
        self.asking = Asking::Idle;
        if self.stop.is_cancelled() {
            return self.drive(ctx);
        }
        match asked {
            Ok(reply) => {
                self.failures = 0;
                let step = self.run.as_ref().map_or(0, |run| run.steps) + 1;
                self.put(carry::answered(step, reply), ctx);
            }
            Err(error) => {
                self.failures += 1;
                match error.again_after {
                    Some(after) if self.failures < FAILURES_MAX => {
                        self.asking = Asking::Pausing;
                        ctx.start_timer("again", Again, after);
                        self.drive(ctx);
                    }
                    _ => {
                        let text = format!("the model did not answer: {}", error.message);
                        self.end(Ending::Failed, text, error.code, ctx);
                    }
                }
            }
        }
    }
}

impl Handler<Again> for Runner {
    type Result = ();

    fn handle(&mut self, _: Again, ctx: &mut Context<Self>) {
        self.asking = Asking::Idle;
        self.drive(ctx);
    }
}

impl Handler<Called> for Runner {
    type Result = ();

    fn handle(&mut self, Called(instance, id, carried): Called, ctx: &mut Context<Self>) {
        if instance != self.instance {
            return;
        }
        if self.stop.is_cancelled() {
            self.busy.remove(&id);
            return self.drive(ctx);
        }
        self.put(carried.event(id), ctx);
    }
}

impl Handler<Released> for Runner {
    type Result = ();

    fn handle(&mut self, Released(instance, released): Released, ctx: &mut Context<Self>) {
        if instance != self.instance {
            return;
        }
        self.storing = Storing::Idle;
        match released {
            Ok(true) => {
                // Who waits until it rests learns of it now, because its last event came before its state.
                let seq = self.run.as_ref().map_or(0, |run| run.seq);
                self.agents
                    .followers()
                    .tell(&self.lease.id, Live::Written(seq));
                ctx.stop();
            }
            // There are events that it does not know.
            Ok(false) => self.load(ctx),
            Err(_) => ctx.start_timer("due", Due, WRITE_AGAIN),
        }
    }
}

impl Handler<Due> for Runner {
    type Result = ();

    fn handle(&mut self, _: Due, ctx: &mut Context<Self>) {
        if self.run.is_none() {
            return self.load(ctx);
        }
        self.drive(ctx);
    }
}

impl Handler<Look> for Runner {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Context<Self>) {
        self.look(ctx);
    }
}

impl Handler<Halt> for Runner {
    type Result = ();

    fn handle(&mut self, _: Halt, ctx: &mut Context<Self>) {
        self.is_halting = true;
        self.drive(ctx);
    }
}

impl Handler<Leave> for Runner {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

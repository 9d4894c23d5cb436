//! Scenes of an actor's life: how it stops, what it spawns, waits for and cancels, and its timers.

use actix::{
    ActorContext, ActorFutureExt, AsyncContext, ContextFutureSpawner, SpawnHandle, fut::wrap_future,
};
use futures_util::stream;
use std::future::ready;
use tokio::time::{Instant, sleep};

use super::{Ask, Home, Host, Note, Stage, ms, noting};

scenes! {
    stop(stage, true) {
        stage.act(|host, ctx| {
            host.note("a");
            ctx.stop();
            host.note("b");
        });
        stage.host.do_send(Note("behind the stop"));
        stage.after(ms(1)).await
    }
    terminate(stage, true) {
        stage.act(|host, ctx| {
            ctx.terminate();
            host.log.note(format!("{:?}", ctx.state()));
        });
        stage.host.do_send(Note("behind the stop"));
        stage.after(ms(1)).await
    }
    state(stage, true) {
        stage.act(|host, ctx| {
            host.log.note(format!("{:?}", ctx.state()));
            ctx.stop();
            host.log.note(format!("{:?}", ctx.state()));
        });
        stage.after(ms(1)).await
    }
    address(stage, false) {
        stage.act(|host, ctx| {
            host.log.note(format!("same {}", ctx.address() == ctx.address()));
            ctx.address().do_send(Note("by its own address"));
        });
        stage.answered(stage.host.send(Ask(7)).await);
        stage.after(ms(1)).await
    }
    address_closes(stage, false) {
        stage.act(|_, ctx| ctx.stop());
        stage.after(ms(1)).await;
        stage.answered(stage.host.send(Ask(7)).await);
        stage.log.note(format!("connected {}", stage.host.connected()));
        stage.after(ms(1)).await
    }
    address_takes_all(stage, false) {
        for _ in 0..10_000 {
            stage.host.do_send(Ask(1));
        }
        stage.after(ms(1)).await;
        stage.answered(stage.host.send(Ask(0)).await);
        stage.log.entries()
    }
    spawn(stage, false) {
        stage.act(|host, ctx| {
            let first = AsyncContext::spawn(ctx, noting(ms(2), "second"));
            let second = AsyncContext::spawn(ctx, noting(ms(1), "first"));
            host.log.note(format!("two handles {}", first != second));
        });
        stage.act(|host, _| host.note("a message meanwhile"));
        stage.after(ms(5)).await
    }
    spawn_ends_with_the_actor(stage, false) {
        stage.act(|_, ctx| {
            AsyncContext::spawn(ctx, noting(ms(2), "never"));
            ctx.run_later(ms(1), |_, ctx| ctx.stop());
        });
        stage.after(ms(5)).await
    }
    spawn_many(stage, false) {
        stage.act(|_, ctx| {
            for _ in 0..10_000 {
                let slept = wrap_future::<_, Host<H>>(sleep(ms(1)));
                AsyncContext::spawn(ctx, slept.map(|(), host: &mut Host<H>, _: &mut H::Context| host.sum += 1));
            }
        });
        stage.after(ms(10)).await;
        stage.answered(stage.host.send(Ask(0)).await);
        stage.log.entries()
    }
    wait(stage, false) {
        stage.act(|_, ctx| {
            AsyncContext::spawn(ctx, noting(ms(1), "a future"));
            ctx.run_later(ms(2), |host, _| host.note("a timer"));
            AsyncContext::wait(ctx, noting(ms(5), "the wait"));
        });
        stage.host.do_send(Note("a message"));
        let mut entries = stage.after(ms(20)).await;
        // What was held back comes in no promised order.
        if let Some(behind) = entries.get_mut(1..) {
            behind.sort();
        }
        entries
    }
    wait_twice(stage, false) {
        stage.act(|_, ctx| {
            AsyncContext::wait(ctx, noting(ms(1), "first given"));
            AsyncContext::wait(ctx, noting(ms(1), "last given"));
        });
        stage.host.do_send(Note("a message"));
        stage.after(ms(20)).await
    }
    wait_within_a_wait(stage, false) {
        stage.act(|_, ctx| {
            let outer = noting::<H>(ms(1), "outer");
            AsyncContext::wait(ctx, outer.map(|(), _, ctx: &mut H::Context| {
                AsyncContext::wait(ctx, noting(ms(1), "inner"));
            }));
        });
        stage.host.do_send(Note("a message"));
        stage.after(ms(20)).await
    }
    wait_that_stops(stage, false) {
        stage.act(|_, ctx| {
            let waited = wrap_future::<_, Host<H>>(sleep(ms(1)));
            AsyncContext::wait(ctx, waited.map(|(), host: &mut Host<H>, ctx: &mut H::Context| {
                host.note("stops");
                ctx.stop();
            }));
        });
        stage.host.do_send(Note("never"));
        stage.after(ms(5)).await
    }
    waiting(stage, false) {
        stage.act(|host, ctx| {
            host.log.note(format!("at first {}", ctx.waiting()));
            AsyncContext::wait(ctx, wrap_future(ready(())));
            host.log.note(format!("with a wait {}", ctx.waiting()));
        });
        stage.act(|host, ctx| {
            host.log.note(format!("behind it {}", ctx.waiting()));
            ctx.stop();
            host.log.note(format!("with a stop {}", ctx.waiting()));
        });
        stage.after(ms(1)).await
    }
    waiting_in_a_full_turn(stage, false) {
        for _ in 0..1000 {
            stage.act(|host, ctx| {
                if ctx.waiting() {
                    host.note("waiting");
                }
            });
        }
        stage.after(ms(1)).await
    }
    cancel_future(stage, false) {
        stage.act(|host, ctx| {
            let handles: Vec<SpawnHandle> = vec![
                AsyncContext::spawn(ctx, noting(ms(1), "a future")),
                ctx.run_later(ms(1), |host, _| host.note("a delay")),
                ctx.run_interval(ms(1), |host, _| host.note("an interval")),
                ctx.notify_later(Note("a message"), ms(1)),
                ctx.add_stream(stream::once(async {
                    sleep(ms(1)).await;
                    "an item"
                })),
            ];
            let cancelled = handles.into_iter().filter(|handle| ctx.cancel_future(*handle));
            host.log.note(format!("cancelled {}", cancelled.count()));
        });
        stage.after(ms(5)).await
    }
    cancel_by_itself(stage, false) {
        stage.act(|_, ctx| {
            let handle = std::rc::Rc::new(std::cell::Cell::new(SpawnHandle::default()));
            let own = std::rc::Rc::clone(&handle);
            handle.set(ctx.run_interval(ms(1), move |host, ctx| {
                host.log.note_time("tick");
                if host.log.entries().len() == 2 {
                    ctx.cancel_future(own.get());
                }
            }));
        });
        stage.after(ms(10)).await
    }
    notify(stage, false) {
        stage.act(|host, ctx| {
            ctx.notify(Note("notified"));
            host.note("before");
        });
        stage.after(ms(1)).await
    }
    notify_later(stage, false) {
        stage.act(|_, ctx| {
            ctx.notify_later(Note("second"), ms(2));
            ctx.notify_later(Note("first"), ms(1));
        });
        stage.after(ms(5)).await
    }
    run_later(stage, false) {
        stage.act(|_, ctx| {
            ctx.run_later(ms(2), |host, _| host.log.note_time("second"));
            ctx.run_later(ms(1), |host, _| host.log.note_time("first"));
            ctx.run_later(ms(3), |_, ctx| ctx.stop());
            ctx.run_later(ms(4), |host, _| host.note("never"));
        });
        stage.after(ms(10)).await
    }
    run_interval(stage, false) {
        stage.act(|_, ctx| {
            ctx.run_interval(ms(10), |host, _| host.log.note_time("tick"));
            ctx.run_later(ms(35), |_, ctx| ctx.stop());
        });
        stage.after(ms(100)).await
    }
    run_interval_makes_up(stage, false) {
        stage.act(|_, ctx| {
            ctx.run_interval(ms(10), |host, _| host.log.note_time("tick"));
            AsyncContext::wait(ctx, wrap_future(sleep(ms(35))));
            ctx.run_later(ms(45), |_, ctx| ctx.stop());
        });
        stage.after(ms(100)).await
    }
    run_interval_at(stage, false) {
        stage.act(|_, ctx| {
            let start = Instant::now() + ms(5);
            ctx.run_interval_at(start, ms(10), |host, _| host.log.note_time("tick"));
            ctx.run_later(ms(20), |_, ctx| ctx.stop());
        });
        stage.after(ms(100)).await
    }
    spawner(stage, false) {
        stage.act(|_, ctx| {
            noting::<H>(ms(1), "spawned").spawn(ctx);
            noting::<H>(ms(5), "waited").wait(ctx);
        });
        stage.after(ms(20)).await
    }
}

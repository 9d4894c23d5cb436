//! Scenes of what flows: streams given to an actor, wrapped futures and streams, answers of every kind.

use std::future::ready;

use actix::{
    ActorContext, ActorFutureExt, ActorStreamExt, ActorTryFutureExt, AsyncContext,
    ContextFutureSpawner,
    fut::{wrap_future, wrap_stream},
};
use futures_util::{StreamExt as _, future::join_all, stream};
use tokio::time::sleep;

use super::{
    Alone, Ask, Beside, Do, Home, Host, Note, Opaque, STOPS, Stage, WAITS, Within, hold, ms,
};

scenes! {
    add_stream(stage, false) {
        stage.act(|_, ctx| {
            ctx.add_stream(stream::iter(1..=3_u32));
        });
        stage.after(ms(1)).await
    }
    add_stream_of_many(stage, false) {
        stage.act(|_, ctx| {
            ctx.add_stream(stream::iter(1..=100_000_u32));
        });
        stage.after(ms(1)).await
    }
    add_stream_whose_handler_waits(stage, false) {
        stage.act(|_, ctx| {
            ctx.add_stream(stream::iter([WAITS; 100]));
        });
        stage.after(ms(1000)).await
    }
    add_stream_whose_handler_stops(stage, false) {
        stage.act(|_, ctx| {
            let counted = stream::iter([1, STOPS, 3]).inspect(|_| {});
            ctx.add_stream(counted);
        });
        stage.after(ms(1)).await;
        stage.log.note(format!("connected {}", stage.host.connected()));
        stage.log.entries()
    }
    add_stream_with_its_default_end(stage, true) {
        stage.act(|_, ctx| {
            ctx.add_stream(stream::iter(["item"]));
        });
        stage.after(ms(1)).await
    }
    add_two_streams(stage, false) {
        stage.act(|_, ctx| {
            ctx.add_stream(stream::iter(1..=1000_u32));
            ctx.add_stream(stream::iter(1..=1000_u32));
        });
        stage.after(ms(1)).await;
        stage.answered(stage.host.send(Ask(0)).await);
        stage.log.entries().into_iter().next_back().into_iter().collect()
    }
    add_stream_beside_messages(stage, false) {
        stage.act(|_, ctx| {
            ctx.add_stream(stream::repeat(1_u32));
        });
        for _ in 0..10 {
            let answer = stage.host.send(Ask(0)).await;
            if answer.is_ok() {
                stage.log.note("answered");
            }
        }
        stage.act(|_, ctx| ctx.stop());
        stage.after(ms(1)).await
    }
    add_message_stream(stage, false) {
        stage.act(|_, ctx| {
            ctx.add_message_stream(stream::iter(["1", "2", "3"].map(Note)));
        });
        stage.after(ms(1)).await;
        stage.answered(stage.host.send(Ask(7)).await);
        stage.log.entries()
    }
    add_message_stream_of_many(stage, false) {
        stage.act(|_, ctx| {
            ctx.add_message_stream(stream::iter((0..100_000).map(|_| Ask(1))));
        });
        stage.after(ms(1)).await;
        stage.answered(stage.host.send(Ask(0)).await);
        stage.log.entries()
    }
    add_message_stream_whose_handler_waits(stage, false) {
        stage.act(|_, ctx| {
            let messages = (0..100).map(|_| Do::<H>(Box::new(|host, ctx| {
                host.sum += 1;
                hold(host, ctx);
            })));
            ctx.add_message_stream(stream::iter(messages));
        });
        stage.after(ms(1000)).await;
        stage.answered(stage.host.send(Ask(0)).await);
        stage.log.entries()
    }
    add_message_stream_without_end(stage, false) {
        stage.act(|_, ctx| {
            ctx.add_message_stream(stream::repeat_with(|| Ask(1)));
        });
        for _ in 0..10 {
            tokio::task::yield_now().await;
            stage.log.note("a turn");
        }
        stage.act(|_, ctx| ctx.stop());
        stage.after(ms(1)).await
    }
    futures(stage, false) {
        stage.act(|_, ctx| {
            let four = wrap_future::<_, Host<H>>(ready(2)).map(|two, _, _| 2 * two);
            let chained = four.then(|four, host: &mut Host<H>, _: &mut H::Context| {
                host.log.note(format!("then {four}"));
                wrap_future(async move { four + 1 })
            });
            chained
                .map(|five, host: &mut Host<H>, _: &mut H::Context| host.log.note(format!("map {five}")))
                .spawn(ctx);
            let late = wrap_future::<_, Host<H>>(sleep(ms(10))).timeout(ms(1));
            late.map(|ended, host: &mut Host<H>, _: &mut H::Context| {
                host.log.note(format!("timeout {}", ended.is_err()));
            })
            .spawn(ctx);
        });
        stage.after(ms(20)).await
    }
    futures_of_results(stage, false) {
        stage.act(|_, ctx| {
            let fine = wrap_future::<_, Host<H>>(ready(Ok::<i64, i64>(1)));
            fine.map_ok(|one, _: &mut Host<H>, _: &mut H::Context| one + 1)
                .and_then(|two, _, _| wrap_future(ready(Err::<i64, i64>(two + 1))))
                .map_err(|three, _: &mut Host<H>, _: &mut H::Context| three + 1)
                .map(|result, host: &mut Host<H>, _: &mut H::Context| host.log.note(format!("{result:?}")))
                .spawn(ctx);
        });
        stage.after(ms(1)).await
    }
    streams(stage, false) {
        stage.act(|_, ctx| {
            wrap_stream::<_, Host<H>>(stream::iter(1..=1000_i64))
                .map(|item, host: &mut Host<H>, _: &mut H::Context| host.sum += item)
                .finish()
                .map(|(), host: &mut Host<H>, _: &mut H::Context| host.log.note(format!("sum {}", host.sum)))
                .spawn(ctx);
            wrap_stream::<_, Host<H>>(stream::iter(1..=10_i64))
                .skip_while(|item: &i64, _: &mut Host<H>, _: &mut H::Context| wrap_future(ready(*item < 3)))
                .take_while(|item: &i64, _: &mut Host<H>, _: &mut H::Context| wrap_future(ready(*item < 6)))
                .then(|item: i64, _: &mut Host<H>, _: &mut H::Context| wrap_future(ready(10 * item)))
                .collect::<Vec<_>>()
                .map(|items: Vec<i64>, host: &mut Host<H>, _: &mut H::Context| host.log.note(format!("{items:?}")))
                .spawn(ctx);
            wrap_stream::<_, Host<H>>(stream::iter(1..=4_i64))
                .fold(0_i64, |sum, item, _: &mut Host<H>, _: &mut H::Context| wrap_future(ready(sum + item)))
                .map(|sum, host: &mut Host<H>, _: &mut H::Context| host.log.note(format!("fold {sum}")))
                .spawn(ctx);
        });
        let mut entries = stage.after(ms(1)).await;
        entries.sort();
        entries
    }
    response_future(stage, false) {
        let asked = (1..=3).map(|number| stage.host.send(Beside(number)));
        for answer in join_all(asked).await {
            stage.answered(answer);
        }
        stage.log.note_time("all");
        stage.log.entries()
    }
    response_of_each_kind(stage, false) {
        stage.answered(stage.host.send(Opaque(0)).await);
        stage.answered(stage.host.send(Opaque(2)).await);
        stage.answered(stage.host.send(Ask(3)).await);
        stage.log.entries()
    }
    response_of_the_actor(stage, false) {
        let asked = (1..=3).map(|number| stage.host.send(Within(number)));
        let answered = join_all(asked).await.into_iter().flatten();
        stage.log.note_time(&format!("{} answered", answered.count()));
        stage.answered(stage.host.send(Ask(0)).await);
        stage.log.entries()
    }
    response_alone(stage, false) {
        let asked = (1..=3).map(|number| stage.host.send(Alone(number)));
        for answer in join_all(asked).await {
            stage.answered(answer);
        }
        stage.log.note_time("all");
        stage.log.entries()
    }
    response_future_that_panics(stage, false) {
        stage.answered(stage.host.send(Ask(5)).await);
        stage.answered(stage.host.send(Beside(13)).await);
        stage.answered(stage.host.send(Ask(0)).await);
        stage.log.entries()
    }
    response_that_panics(stage, false) {
        stage.answered(stage.host.send(Ask(5)).await);
        stage.answered(stage.host.send(Opaque(13)).await);
        stage.answered(stage.host.send(Ask(0)).await);
        stage.log.entries()
    }
}

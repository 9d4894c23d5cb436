//! Exercise 19. An office computes reports, which takes long. Meanwhile it must answer how many there were.

use std::{sync::mpsc, time::Duration};

use actix::{Actor, Arbiter, Handler, Message, ResponseFuture};
use kebne_actors::{ActorSystem, Context, Props};

/// A report that is computed once its figures are there.
#[derive(Message)]
#[rtype(result = "u32")]
struct Report(mpsc::Receiver<u32>);

#[derive(Message)]
#[rtype(result = "u32")]
struct Count;

/// Waits for the figures and computes: it holds its thread.
fn compute(figures: &mpsc::Receiver<u32>) -> u32 {
    figures.recv().map_or(0, |figure| figure * 2)
}

struct Office {
    reports: u32,
}

impl Actor for Office {
    type Context = Context<Self>;
}

impl Handler<Report> for Office {
    type Result = ResponseFuture<u32>;

    fn handle(&mut self, Report(figures): Report, _: &mut Context<Self>) -> Self::Result {
        self.reports += 1;
        Box::pin(async move {
            let computed = tokio::task::spawn_blocking(move || compute(&figures));
            computed.await.unwrap_or(0)
        })
    }
}

impl Handler<Count> for Office {
    type Result = u32;

    fn handle(&mut self, _: Count, _: &mut Context<Self>) -> u32 {
        self.reports
    }
}

// The check: leave it as it is.

pub(crate) async fn check() {
    let system = ActorSystem::new("exercise", 1);
    let props = Props::new(|| Office { reports: 0 });
    let office = system.spawn(props.on_arbiter(Arbiter::new().handle()), "office");
    let (figures, report) = mpsc::channel();
    let asked = actix::spawn({
        let office = office.clone();
        async move { office.ask(Report(report), Duration::from_mins(1)).await }
    });
    tokio::task::yield_now().await;
    let counted = office.ask(Count, Duration::from_secs(2)).await;
    figures.send(21).unwrap();
    assert_eq!(asked.await.unwrap(), Ok(42));
    assert_eq!(
        counted,
        Ok(1),
        "exercise 19: it answers while a report is computed"
    );
}

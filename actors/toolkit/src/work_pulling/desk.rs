//! The actor between producers and workers: a thin shell around the [`Book`].
//!
//! Its messages use the control queue. Their number is bounded by the permits, the deliveries in progress and the
//! workers.

use std::{collections::BTreeMap, sync::Arc};

use actix::{Actor, Handler, Message};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    GivenBack, RequestNext, WorkPulling,
    book::{ActorId, Book, Fitness, HandId, Lost},
    delivery::{Delivery, Progress},
    permits::{Permit, Permits},
};
use crate::system::{ActorRef, ActorState, Context, Listing, MessageRef, Offer, Recipient};

/// Offers a job.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Submit<T> {
    pub(super) job: Arc<T>,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) permit: Permit,
    /// The request that this job answers.
    pub(super) request: Option<u64>,
}

/// Sent when a producer drops the request of that number because it has no job.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Declined(pub(super) u64);

/// Registers a producer.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StartProducer<T: Send + Sync + 'static>(pub(super) Recipient<RequestNext<T>>);

/// Registers a worker.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Register<T: Send + Sync + 'static>(pub(super) MessageRef<Delivery<T>>);

/// Removes a worker that was deregistered or has stopped.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Strike(pub(super) ActorId);

/// Sent when a worker has done its job.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Confirmed(pub(super) HandId);

/// Sent when a worker dropped its job.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct GivenUp(pub(super) HandId);

/// Requests the counts.
#[derive(Message)]
#[rtype(result = "WorkStats")]
pub(super) struct GetStats;

/// The counts of a desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, actix::MessageResponse)]
pub struct WorkStats {
    /// Workers that are registered.
    pub workers: usize,
    /// Workers that wait for a job.
    pub idle: usize,
    /// Jobs that wait for a worker.
    pub waiting: usize,
    /// Jobs that workers have and have not confirmed.
    pub in_work: usize,
}

/// A job with what the desk keeps for it.
pub(super) struct Held<T> {
    job: Arc<T>,
    progress: watch::Sender<Progress>,
    /// Cancelled when the job is taken from the worker that has it.
    withdrawn: CancellationToken,
    /// Returned when the job ends.
    _permit: Permit,
}

/// The parts of a desk.
pub(super) struct Parts<T: Send + Sync + 'static> {
    pub(super) deliveries_max: Option<u32>,
    pub(super) given_back: Option<Recipient<GivenBack<T>>>,
    pub(super) permits: Permits,
}

/// The actor between producers and workers.
pub(super) struct Desk<T: Send + Sync + 'static> {
    book: Book<Held<T>>,
    workers: BTreeMap<ActorId, MessageRef<Delivery<T>>>,
    /// The workers that are registered because a key lists them.
    listed: Vec<ActorId>,
    producer: Option<Recipient<RequestNext<T>>>,
    /// The request for which the producer has not sent a job yet.
    requested: Option<u64>,
    last_request: u64,
    parts: Parts<T>,
}

impl<T: Send + Sync + 'static> Desk<T> {
    pub(super) fn new(parts: Parts<T>) -> Self {
        Self {
            book: Book::new(parts.deliveries_max),
            workers: BTreeMap::new(),
            listed: Vec::new(),
            producer: None,
            requested: None,
            last_request: 0,
            parts,
        }
    }
}

impl<T: Send + Sync + 'static> Actor for Desk<T> {
    type Context = Context<Self>;

    fn stopped(&mut self, ctx: &mut Context<Self>) {
        for held in self.book.abandon() {
            held.withdrawn.cancel();
            note_dead::<T>(ctx);
        }
    }
}

impl<T: Send + Sync + 'static> Handler<Submit<T>> for Desk<T> {
    type Result = ();

    fn handle(&mut self, submit: Submit<T>, ctx: &mut Context<Self>) {
        self.answered(submit.request);
        self.book.accept(Held {
            job: submit.job,
            progress: submit.progress,
            withdrawn: CancellationToken::new(),
            _permit: submit.permit,
        });
        self.dispatch(ctx);
    }
}

impl<T: Send + Sync + 'static> Handler<StartProducer<T>> for Desk<T> {
    type Result = ();

    fn handle(&mut self, StartProducer(producer): StartProducer<T>, ctx: &mut Context<Self>) {
        self.producer = Some(producer);
        self.requested = None;
        self.dispatch(ctx);
    }
}

impl<T: Send + Sync + 'static> Handler<Declined> for Desk<T> {
    type Result = ();

    /// Sends no new request at once. Otherwise a producer without jobs would receive requests without end.
    fn handle(&mut self, Declined(request): Declined, _ctx: &mut Context<Self>) {
        self.answered(Some(request));
    }
}

impl<T: Send + Sync + 'static> Handler<Register<T>> for Desk<T> {
    type Result = ();

    fn handle(&mut self, Register(worker): Register<T>, ctx: &mut Context<Self>) {
        self.register(worker, ctx);
        self.dispatch(ctx);
    }
}

impl<T: Send + Sync + 'static> Handler<Strike> for Desk<T> {
    type Result = ();

    fn handle(&mut self, Strike(worker): Strike, ctx: &mut Context<Self>) {
        self.strike(worker, ctx);
        self.dispatch(ctx);
    }
}

impl<T: Send + Sync + 'static> Handler<Listing<Delivery<T>>> for Desk<T> {
    type Result = ();

    fn handle(&mut self, Listing(services): Listing<Delivery<T>>, ctx: &mut Context<Self>) {
        let listed: Vec<_> = services
            .iter()
            .map(|service| ActorId(service.actor.id()))
            .collect();
        for gone in std::mem::replace(&mut self.listed, listed) {
            if !self.listed.contains(&gone) {
                self.strike(gone, ctx);
            }
        }
        for service in services {
            self.register(service.actor, ctx);
        }
        self.dispatch(ctx);
    }
}

impl<T: Send + Sync + 'static> Handler<Confirmed> for Desk<T> {
    type Result = ();

    fn handle(&mut self, Confirmed(hand): Confirmed, ctx: &mut Context<Self>) {
        if let Some((held, deliveries)) = self.book.confirm(hand) {
            held.progress
                .send_replace(Progress::Confirmed { deliveries });
        }
        self.dispatch(ctx);
    }
}

impl<T: Send + Sync + 'static> Handler<GivenUp> for Desk<T> {
    type Result = ();

    fn handle(&mut self, GivenUp(hand): GivenUp, ctx: &mut Context<Self>) {
        if let Some(lost) = self.book.give_up(hand) {
            self.settle(lost, ctx);
        }
        self.dispatch(ctx);
    }
}

impl<T: Send + Sync + 'static> Handler<GetStats> for Desk<T> {
    type Result = WorkStats;

    fn handle(&mut self, _: GetStats, _ctx: &mut Context<Self>) -> WorkStats {
        WorkStats {
            workers: self.book.workers(),
            idle: self.book.idle(),
            waiting: self.book.waiting(),
            in_work: self.book.in_work(),
        }
    }
}

impl<T: Send + Sync + 'static> Desk<T> {
    fn register(&mut self, worker: MessageRef<Delivery<T>>, ctx: &mut Context<Self>) {
        let id = ActorId(worker.id());
        if worker.is_alive() && self.book.register(id) {
            ctx.watch_narrow(&worker, Strike(id));
            self.workers.insert(id, worker);
        }
    }

    fn strike(&mut self, worker: ActorId, ctx: &mut Context<Self>) {
        self.workers.remove(&worker);
        for held in self.book.held_by(worker) {
            held.withdrawn.cancel();
        }
        for lost in self.book.strike(worker) {
            self.settle(lost, ctx);
        }
    }

    /// Gives a lost job back if it was lost too often.
    fn settle(&mut self, lost: Lost<Held<T>>, ctx: &mut Context<Self>) {
        let Lost::GivenBack {
            payload,
            deliveries,
        } = lost
        else {
            return;
        };
        tracing::warn!(
            desk = ctx.path(),
            deliveries,
            "a job was lost as often as its limit allows"
        );
        payload
            .progress
            .send_replace(Progress::GivenBack { deliveries });
        let given_back = GivenBack {
            job: payload.job,
            deliveries,
        };
        let given = self.parts.given_back.as_ref().map(|to| to.tell(given_back));
        if !given.is_some_and(Offer::is_enqueued) {
            note_dead::<T>(ctx);
        }
    }

    /// Hands out jobs while a worker is idle, and sends the producer a request if a worker is left over.
    fn dispatch(&mut self, ctx: &mut Context<Self>) {
        loop {
            let workers = &self.workers;
            let Some(hand) = self.book.hand_out(|id| fitness(workers.get(&id))) else {
                break;
            };
            let held = hand.payload;
            held.withdrawn = CancellationToken::new();
            held.progress.send_replace(Progress::Taken {
                delivery: hand.delivery,
            });
            let delivery = Delivery::new(
                Arc::clone(&held.job),
                hand.delivery,
                held.withdrawn.clone(),
                end_of(ctx.self_ref(), hand.number),
            );
            let (id, number) = (hand.worker, hand.number);
            let offer = workers.get(&id).map(|worker| worker.control(delivery));
            if !offer.is_some_and(Offer::is_enqueued) {
                self.book.retract(number);
                self.workers.remove(&id);
            }
        }
        self.request(ctx);
    }

    fn request(&mut self, ctx: &mut Context<Self>) {
        let Some(producer) = &self.producer else {
            return;
        };
        if self.requested.is_some() || self.book.demand() == 0 {
            return;
        }
        // The permit is taken now, so that the job of this request is accepted.
        let Some(permit) = self.parts.permits.take() else {
            return;
        };
        self.last_request += 1;
        let work = WorkPulling::new(ctx.self_ref(), self.parts.permits.clone(), ctx.system());
        let request = RequestNext::new(work, self.last_request, permit);
        match producer.tell(request) {
            Offer::Enqueued => self.requested = Some(self.last_request),
            Offer::Closed => self.producer = None,
            Offer::Dropped | Offer::Failed => {}
        }
    }

    fn answered(&mut self, request: Option<u64>) {
        if request.is_some() && self.requested == request {
            self.requested = None;
        }
    }
}

/// Returns the function that ends the delivery of that number. It has no effect if the desk has stopped, which has
/// counted its jobs.
fn end_of<T: Send + Sync + 'static>(
    desk: ActorRef<Desk<T>>,
    number: HandId,
) -> Box<dyn FnOnce(bool) + Send + Sync> {
    Box::new(move |is_confirmed| {
        if !desk.is_alive() {
            return;
        }
        if is_confirmed {
            desk.inform(Confirmed(number));
        } else {
            desk.inform(GivenUp(number));
        }
    })
}

fn fitness<T: Send + Sync + 'static>(worker: Option<&MessageRef<Delivery<T>>>) -> Fitness {
    match worker.map(MessageRef::state) {
        Some(ActorState::Running) => Fitness::Ready,
        Some(ActorState::Starting | ActorState::Restarting) => Fitness::Later,
        Some(ActorState::Stopping | ActorState::Stopped) | None => Fitness::Gone,
    }
}

/// Counts a job that will not be done as a dead letter.
fn note_dead<T: Send + Sync + 'static>(ctx: &Context<Desk<T>>) {
    let path: Arc<str> = ctx.path().into();
    let dead_letters = ctx.system().dead_letter_box();
    dead_letters.note_dropped::<T>(&path);
}

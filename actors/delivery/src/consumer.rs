//! The actor on the consumer's side: a thin shell around the state machine.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorRef, ActorSystem, Context, MessageRef, Props, Strategy};

use crate::{
    frame::{ToConsumer, ToProducer},
    link::Link,
    receiving::Receiving,
};

/// Messages that may be sent and not confirmed, as Pekko's `flow-control-window`.
const WINDOW: u64 = 50;
/// The first and the longest silence after which the producer is asked again, as Pekko's `resend-interval`.
const RESEND: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// The receiving side of a reliable delivery: Pekko's `ConsumerController`. Clones share it.
pub struct Consumer<T: Send + Sync + 'static> {
    actor: ActorRef<Controller<T>>,
}

/// A builder of a consumer.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerBuilder<T> {
    window: u64,
    resend: (Duration, Duration),
    message: PhantomData<fn() -> T>,
}

impl<T> Default for ConsumerBuilder<T> {
    fn default() -> Self {
        Self {
            window: WINDOW,
            resend: RESEND,
            message: PhantomData,
        }
    }
}

impl<T: Send + Sync + 'static> ConsumerBuilder<T> {
    /// Sets the number of messages that may be sent and not confirmed; at least 1, default 50.
    #[must_use]
    pub fn window(mut self, messages: u32) -> Self {
        self.window = u64::from(messages.max(1));
        self
    }

    /// Sets the silence after which the producer is asked again for what is missing: it begins with `min`, default 2 s,
    /// and doubles up to `max`, default 30 s.
    #[must_use]
    pub fn resend_interval(mut self, min: Duration, max: Duration) -> Self {
        self.resend = (min, max.max(min));
        self
    }

    /// Starts the consumer as an actor under `/user`.
    pub fn spawn(self, system: &ActorSystem, name: &str) -> Consumer<T> {
        let props = Props::new(move || Controller {
            receiving: Receiving::new(self.window),
            link: None,
            worker: None,
            worker_number: 0,
            hand: 0,
            is_in_hand: false,
            resend: self.resend,
            wait: self.resend.0,
        });
        // Only a link, which is the application's, can panic here; the messages must stay.
        let actor = system.spawn(props.supervise(Strategy::resume()), name);
        Consumer { actor }
    }
}

impl<T: Send + Sync + 'static> Consumer<T> {
    /// Returns a builder.
    pub fn builder() -> ConsumerBuilder<T> {
        ConsumerBuilder::default()
    }

    /// Sets the way to the producer, at the start and after the loss of the last one.
    pub fn connect(&self, link: impl Link<ToProducer>) {
        self.actor.inform(Connect(Arc::new(link)));
    }

    /// Hands over what has arrived from the producer.
    pub fn receive(&self, frame: ToConsumer<T>) {
        self.actor.inform(Arrived(frame));
    }

    /// Sets the actor that handles the messages, one at a time, in their order: Pekko's `ConsumerController.Start`.
    /// Deliveries use its control queue. When it stops, its message waits for the next one.
    pub fn start<W>(&self, worker: &ActorRef<W>)
    where
        W: Actor<Context = Context<W>> + Handler<Delivery<T>>,
    {
        self.actor.inform(Start(worker.narrow()));
    }

    /// Stops the consumer. What is not confirmed is sent to the next one that registers with the producer.
    pub fn stop(&self) {
        self.actor.stop();
    }
}

/// A message for the actor that handles them, which confirms it. If the delivery is dropped without confirmation (because
/// the actor panics, restarts, stops or forgets it), the message is delivered again.
pub struct Delivery<T: Send + Sync + 'static> {
    message: Arc<T>,
    sequence: u64,
    /// `None` once the delivery has ended.
    end: Option<Box<dyn FnOnce(bool) + Send + Sync>>,
}

impl<T: Send + Sync + 'static> Message for Delivery<T> {
    type Result = ();
}

impl<T: Send + Sync + 'static> Delivery<T> {
    /// Returns the message.
    pub fn message(&self) -> &Arc<T> {
        &self.message
    }

    /// Returns the number of the message, from 1 in each session of the producer.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Confirms that the message is handled; the next one follows.
    pub fn confirm(mut self) {
        if let Some(end) = self.end.take() {
            end(true);
        }
    }
}

impl<T: Send + Sync + 'static> Drop for Delivery<T> {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end(false);
        }
    }
}

/// Sets the link.
#[derive(Message)]
#[rtype(result = "()")]
struct Connect(Arc<dyn Link<ToProducer>>);

/// Something from the producer.
#[derive(Message)]
#[rtype(result = "()")]
struct Arrived<T>(ToConsumer<T>);

/// Sets the worker.
#[derive(Message)]
#[rtype(result = "()")]
struct Start<T: Send + Sync + 'static>(MessageRef<Delivery<T>>);

/// The worker of this number has stopped.
#[derive(Message)]
#[rtype(result = "()")]
struct WorkerStopped(u64);

/// A delivery has ended.
#[derive(Message)]
#[rtype(result = "()")]
struct Ended {
    hand: u64,
    session: u64,
    sequence: u64,
    is_confirmed: bool,
}

/// Asks the producer if nothing has come.
#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Tick;

/// The actor.
struct Controller<T: Send + Sync + 'static> {
    receiving: Receiving<T>,
    link: Option<Arc<dyn Link<ToProducer>>>,
    worker: Option<MessageRef<Delivery<T>>>,
    /// Counts the workers.
    worker_number: u64,
    /// The number of the last delivery; only it can be confirmed.
    hand: u64,
    is_in_hand: bool,
    resend: (Duration, Duration),
    /// The silence that is allowed now.
    wait: Duration,
}

impl<T: Send + Sync + 'static> Actor for Controller<T> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.start_timer("tick", Tick, self.wait);
    }
}

impl<T: Send + Sync + 'static> Controller<T> {
    fn send(&self, frame: Option<ToProducer>) {
        if let (Some(link), Some(frame)) = (&self.link, frame) {
            link.send(frame);
        }
    }

    /// Delivers the oldest message if the worker has none.
    fn deliver(&mut self, ctx: &mut Context<Self>) {
        if self.is_in_hand {
            return;
        }
        let (Some(worker), Some((session, sequence, message))) =
            (&self.worker, self.receiving.next())
        else {
            return;
        };
        self.hand += 1;
        let (hand, controller) = (self.hand, ctx.self_ref());
        let end = move |is_confirmed| {
            controller.inform(Ended {
                hand,
                session,
                sequence,
                is_confirmed,
            });
        };
        let delivery = Delivery {
            message: Arc::clone(message),
            sequence,
            end: Some(Box::new(end)),
        };
        self.is_in_hand = worker.control(delivery).is_enqueued();
        if !self.is_in_hand {
            self.worker = None;
        }
    }
}

impl<T: Send + Sync + 'static> Handler<Connect> for Controller<T> {
    type Result = ();

    fn handle(&mut self, Connect(link): Connect, _: &mut Context<Self>) {
        self.link = Some(link);
        // What was sent on the last link may be lost.
        let frame = self.receiving.ask_anew();
        self.send(Some(frame));
    }
}

impl<T: Send + Sync + 'static> Handler<Arrived<T>> for Controller<T> {
    type Result = ();

    fn handle(&mut self, Arrived(frame): Arrived<T>, ctx: &mut Context<Self>) {
        let session = self.receiving.session();
        let answer = self.receiving.receive(&frame);
        if self.receiving.session() != session {
            // What the worker has belongs to an earlier session and can no longer be confirmed.
            self.is_in_hand = false;
        }
        self.send(answer);
        self.deliver(ctx);
    }
}

impl<T: Send + Sync + 'static> Handler<Start<T>> for Controller<T> {
    type Result = ();

    fn handle(&mut self, Start(worker): Start<T>, ctx: &mut Context<Self>) {
        self.worker_number += 1;
        ctx.watch_narrow(&worker, WorkerStopped(self.worker_number));
        self.worker = Some(worker);
        self.is_in_hand = false;
        self.deliver(ctx);
    }
}

impl<T: Send + Sync + 'static> Handler<WorkerStopped> for Controller<T> {
    type Result = ();

    fn handle(&mut self, WorkerStopped(number): WorkerStopped, _: &mut Context<Self>) {
        if number == self.worker_number {
            self.worker = None;
            self.is_in_hand = false;
        }
    }
}

impl<T: Send + Sync + 'static> Handler<Ended> for Controller<T> {
    type Result = ();

    fn handle(&mut self, ended: Ended, ctx: &mut Context<Self>) {
        if ended.hand != self.hand || !self.is_in_hand {
            return;
        }
        self.is_in_hand = false;
        if ended.is_confirmed {
            let answer = self.receiving.confirm(ended.session, ended.sequence);
            self.send(answer);
        }
        self.deliver(ctx);
    }
}

impl<T: Send + Sync + 'static> Handler<Tick> for Controller<T> {
    type Result = ();

    fn handle(&mut self, _: Tick, ctx: &mut Context<Self>) {
        let frame = self.receiving.silence();
        self.wait = match frame {
            Some(_) => self.resend.1.min(self.wait * 2),
            None => self.resend.0,
        };
        self.send(frame);
        ctx.start_timer("tick", Tick, self.wait);
    }
}

impl<T: Send + Sync + 'static> Clone for Consumer<T> {
    fn clone(&self) -> Self {
        Self {
            actor: self.actor.clone(),
        }
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Consumer<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.actor.path();
        formatter.debug_tuple("Consumer").field(&path).finish()
    }
}

impl<T: Send + Sync + fmt::Debug + 'static> fmt::Debug for Delivery<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Delivery")
            .field("message", &self.message)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

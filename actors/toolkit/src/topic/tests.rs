//! Topics: who receives what.

use std::sync::{Arc, Mutex};

use super::*;
use crate::{AskError, Props, Strategy};

#[derive(Clone, Message)]
#[rtype(result = "()")]
struct News(&'static str);
#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

type Read = Arc<Mutex<Vec<String>>>;

struct Reader(&'static str, Read);
impl Actor for Reader {
    type Context = Context<Self>;
}
impl Handler<News> for Reader {
    type Result = ();
    fn handle(&mut self, News(text): News, _: &mut Context<Self>) {
        self.1.lock().unwrap().push(format!("{} {text}", self.0));
    }
}
impl Handler<Panic> for Reader {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
        panic!("on purpose");
    }
}

fn reader(system: &ActorSystem, name: &'static str, read: &Read) -> ActorRef<Reader> {
    let read = Arc::clone(read);
    let props = Props::new(move || Reader(name, Arc::clone(&read)));
    system.spawn(props.supervise(Strategy::restart()), name)
}

#[actix::test]
async fn what_is_published_reaches_all_subscribers_of_the_name_in_order() {
    tokio::time::pause();
    let (system, read) = (ActorSystem::new("test", 1), Read::default());
    let (one, other) = (Topic::new(&system, "a"), Topic::new(&system, "a"));
    let elsewhere = Topic::<News>::new(&system, "b");
    let (a, b) = (reader(&system, "a", &read), reader(&system, "b", &read));
    one.subscribe(&a);
    other.subscribe(&b);
    one.subscribe(&a);
    assert_eq!((one.subscribers(), elsewhere.subscribers()), (2, 0));
    assert_eq!(other.publish(&News("x")), 2);
    assert!(one.recipient().tell(News("y")).is_enqueued());
    assert_eq!(elsewhere.publish(&News("z")), 0);
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    let mut all = read.lock().unwrap().clone();
    all.sort();
    assert_eq!(all, ["a x", "a y", "b x", "b y"]);
}

#[actix::test]
async fn a_subscription_outlives_a_restart_and_ends_with_the_actor_or_when_it_is_ended() {
    tokio::time::pause();
    let (system, read) = (ActorSystem::new("test", 1), Read::default());
    let topic = Topic::new(&system, "a");
    let (a, b) = (reader(&system, "a", &read), reader(&system, "b", &read));
    topic.subscribe(&a);
    topic.subscribe(&b);
    let second = std::time::Duration::from_secs(1);
    assert_eq!(a.ask(Panic, second).await, Err(AskError::Failed));
    assert_eq!(topic.publish(&News("x")), 2);
    b.stop();
    b.when_stopped().await;
    assert_eq!(topic.publish(&News("y")), 1);
    topic.unsubscribe(&a);
    assert_eq!((topic.publish(&News("z")), topic.subscribers()), (0, 0));
}

//! Kebne's context, where an application written for actix finds its own.

use kebne_actors::{ActorSystem, Props, Strategy};

use crate::{
    contexts::{Home, Host, Make, play},
    driver::{actors::Soon, contexts::ContextDriver},
};

/// Actors whose context is Kebne's.
#[derive(Debug)]
pub(super) struct Contexts;

struct OnKebne;

impl Home for OnKebne {
    type Context = kebne_actors::Context<Host<Self>>;

    fn start(make: Make<Self>) {
        let system = ActorSystem::new("contexts", crate::case::SEED);
        let props = Props::new(make).supervise(Strategy::restart());
        system.spawn(props, "host");
    }
}

impl ContextDriver for Contexts {
    fn play(&self, scene: &'static str) -> Soon<'static, Vec<String>> {
        Box::pin(play::<OnKebne>(scene))
    }
}

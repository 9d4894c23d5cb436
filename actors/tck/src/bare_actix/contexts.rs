//! Actix's own context.

use actix::Actor;

use crate::{
    contexts::{Home, Host, Make, play},
    driver::{actors::Soon, contexts::ContextDriver},
};

/// Actors whose context is actix's.
#[derive(Debug)]
pub(super) struct Contexts;

struct OnActix;

impl Home for OnActix {
    type Context = actix::Context<Host<Self>>;

    fn start(mut make: Make<Self>) {
        make().start();
    }
}

impl ContextDriver for Contexts {
    fn play(&self, scene: &'static str) -> Soon<'static, Vec<String>> {
        Box::pin(play::<OnActix>(scene))
    }
}

//! The actor of one run of a server. It ends with the run.

use actix::{Actor, Handler, Message};
use kebne_actors::{Context, Props};

use crate::failure::{Failure, FailureKind};
use crate::run::{Ending, RunParts, Told};

/// Ends the server.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StopServer;

/// The run is over.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct RunOver(Ending);

/// The actor of one run.
pub(crate) struct ModelServer {
    parts: RunParts,
}

impl ModelServer {
    /// Returns the props. A run that has failed is not repeated by its actor: when it may be, and whether there is room, the
    /// scheduler decides.
    pub(crate) fn props(parts: RunParts) -> Props<Self> {
        Props::once(Self { parts })
    }
}

impl Actor for ModelServer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let run = self.parts.clone().run();
        ctx.try_pipe_to_self(run, |ending| {
            let lost = |error: &dyn std::error::Error| {
                Ending::failed(FailureKind::Ended, error.to_string())
            };
            RunOver(ending.unwrap_or_else(|error| lost(&error)))
        });
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        // A run that goes on ends its process.
        self.parts.stop.cancel();
    }
}

impl Handler<StopServer> for ModelServer {
    type Result = ();

    fn handle(&mut self, _: StopServer, _: &mut Context<Self>) {
        self.parts.stop.cancel();
    }
}

impl Handler<RunOver> for ModelServer {
    type Result = ();

    fn handle(&mut self, RunOver(ending): RunOver, ctx: &mut Context<Self>) {
        let ending = match ending {
            Ending::Failed(failure) => Ending::Failed(Failure {
                detail: self.parts.with_lines(failure.detail),
                ..failure
            }),
            other => other,
        };
        let _needless_if_stopped = self.parts.scheduler.tell(Told::Ended {
            server: self.parts.server,
            run: self.parts.run,
            ending,
        });
        ctx.stop();
    }
}

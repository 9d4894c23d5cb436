//! The runs of servers: their starts, their ends, and the gates that open and close with them.

use std::sync::Arc;

use actix::Handler;
use kebne_actors::Context;
use tokio_util::sync::CancellationToken;

use super::{Known, Run, Scheduler, ServerChanged};
use crate::{
    failure::FailureKind,
    model_server::{ModelServer, StopServer},
    run::{Ending, RunParts, Told},
    schedule::{Event, Phase, ServerId},
};

/// The bytes of an error that are kept.
const ERROR_MAX: usize = 500;

impl Scheduler {
    pub(super) fn start(&mut self, server: ServerId, ctx: &mut Context<Self>) {
        let Some(known) = self.servers.get_mut(&server) else {
            return;
        };
        if self.is_stopping {
            return;
        }
        self.count += 1;
        let number = self.count;
        let myself = ctx.self_ref();
        let parts = RunParts {
            server,
            run: number,
            name: Arc::clone(&known.parts.name),
            means: known.parts.means.clone(),
            health: known.parts.health.clone(),
            lines: known.lines.clone(),
            suspected: Arc::clone(&known.gate.suspected),
            scheduler: myself.control_recipient(),
            stop: CancellationToken::new(),
        };
        let name = format!("server-{}", known.parts.name);
        let actor = ctx.spawn_child(ModelServer::props(parts), &name);
        let gone = Told::Ended {
            server,
            run: number,
            ending: Ending::failed(FailureKind::Ended, "its actor has stopped"),
        };
        ctx.watch_with(&actor, gone);
        known.run = Some(Run { number, actor });
    }

    pub(super) fn open(&self, server: ServerId) {
        if let Some(known) = self.servers.get(&server) {
            known.gate.open();
            self.announce(known, true);
        }
    }

    /// Closes a gate. Returns `true` if no call is running.
    pub(super) fn close(&self, server: ServerId) -> bool {
        let Some(known) = self.servers.get(&server) else {
            return false;
        };
        let is_drained = known.gate.close();
        self.announce(known, false);
        is_drained
    }

    pub(super) fn stop(&mut self, server: ServerId) {
        if let Some(known) = self.servers.get(&server)
            && let Some(run) = &known.run
        {
            run.actor.inform(StopServer);
        }
    }

    fn announce(&self, known: &Known, is_ready: bool) {
        for listener in &self.listeners {
            listener.post(ServerChanged {
                name: Arc::clone(&known.parts.name),
                is_ready,
            });
        }
    }

    /// Returns `true` for the current run of a server.
    fn is_current(&self, server: ServerId, run: u64) -> bool {
        let known = self
            .servers
            .get(&server)
            .and_then(|known| known.run.as_ref());
        known.is_some_and(|current| current.number == run)
    }

    fn ready(&mut self, server: ServerId, ctx: &mut Context<Self>) {
        let view = self.schedule.view(server, self.clock.now());
        let Some(view) = view.filter(|view| view.phase == Phase::Starting) else {
            return;
        };
        if let Some(known) = self.servers.get_mut(&server) {
            known.load_seconds += view.age.as_secs_f64();
            tracing::info!(server = %known.parts.name, after = ?view.age, "the model server serves");
            known.is_awake = false;
            known.gate.open();
        }
        self.step(Event::Ready(server), ctx);
        if let Some(known) = self.servers.get(&server) {
            self.announce(known, true);
        }
    }

    fn ended(&mut self, server: ServerId, ending: Ending, ctx: &mut Context<Self>) {
        let Some(known) = self.servers.get_mut(&server) else {
            return;
        };
        let name = Arc::clone(&known.parts.name);
        known.run = None;
        known.pid = None;
        known.gate.close();
        match ending {
            Ending::Failed(failure) => {
                let error = shortened(failure.detail);
                tracing::warn!(server = %name, %error, "the model server has failed");
                known.last_error = Some(error);
                known.last_failure = Some(failure.kind);
            }
            Ending::Awake(error) => {
                let error = shortened(error);
                tracing::warn!(server = %name, %error, "the model server may still be awake");
                known.last_error = Some(error);
                known.is_awake = true;
            }
            Ending::Asleep => {
                tracing::info!(server = %name, "the model server has fallen asleep");
                self.schedule.fell_asleep(server, self.clock.now());
            }
            Ending::Stopped => {
                known.is_awake = false;
                tracing::info!(server = %name, "the model server was stopped");
            }
        }
        if let Some(known) = self.servers.get(&server) {
            self.announce(known, false);
        }
        self.step(Event::Ended(server), ctx);
        self.settle();
    }
}

/// Returns the beginning of an error.
fn shortened(mut error: String) -> String {
    error.truncate(error.floor_char_boundary(ERROR_MAX));
    error
}

impl Handler<Told> for Scheduler {
    type Result = ();

    fn handle(&mut self, told: Told, ctx: &mut Context<Self>) {
        match told {
            Told::Started { server, run, pid } if self.is_current(server, run) => {
                if let Some(known) = self.servers.get_mut(&server) {
                    known.pid = pid;
                }
            }
            Told::Ready { server, run } if self.is_current(server, run) => self.ready(server, ctx),
            Told::Ended {
                server,
                run,
                ending,
            } if self.is_current(server, run) => self.ended(server, ending, ctx),
            // A run that is over.
            _ => {}
        }
    }
}

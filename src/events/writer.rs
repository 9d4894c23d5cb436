//! The thread that writes events: it puts each into its envelope and hands it on.

use std::{io, thread};

use kebne_event_bus::{MemoryBus, Message, Outbox};
use kebne_events::Event;
use tokio::sync::{mpsc, oneshot};

use crate::events::Sink;

/// What the thread is to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Write an event.
    Write(Box<Event>),
    /// Answer when all before it is written.
    Flush(oneshot::Sender<()>),
}

/// The thread's side.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) source: String,
    pub(super) recent: MemoryBus,
    pub(super) outbox: Option<Outbox>,
    pub(super) sink: Sink,
}

impl Writer {
    /// Starts the thread. It ends when nobody can emit events any more.
    pub(super) fn start(self, jobs: mpsc::Receiver<Job>) -> io::Result<()> {
        let thread = thread::Builder::new().name("kebne-events".to_owned());
        thread.spawn(move || self.run(jobs))?;
        Ok(())
    }

    fn run(self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            match job {
                Job::Write(event) => self.write(&event),
                Job::Flush(done) => {
                    if let Some(outbox) = &self.outbox {
                        outbox.flush();
                    }
                    // One who no longer waits gets no answer.
                    let _waits = done.send(());
                }
            }
        }
    }

    fn write(&self, event: &Event) {
        let written = event.to_cloud_event(&self.source);
        match written.and_then(|event| event.to_json()) {
            Ok(payload) => {
                let (topic, key) = (event.topic(), event.key());
                let message = Message::new(event.id.as_str(), topic, key, payload);
                if let Some(outbox) = &self.outbox {
                    outbox.put(message.clone());
                }
                if let Some(sink) = self.sink.get() {
                    sink.take(event, &message);
                }
                self.recent.put(message);
            }
            Err(error) => tracing::error!(%error, "an event cannot be written"),
        }
    }
}

//! Real brokers on free ports, for the tests of all of them.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use kebne_event_bus::{Deliveries, Delivery, EventBus, Message, Subscription};
use tempfile::TempDir;

use crate::program::{folder, send_signal};

/// The longest time until a broker answers; machines that test are busy.
const START: Duration = Duration::from_secs(90);

/// A server that ends with the test.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Starts a program without output.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A kind of broker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    #[cfg(feature = "nats")]
    Nats,
    #[cfg(feature = "kafka")]
    Kafka,
}

/// A broker with its data.
pub(crate) struct Broker {
    kind: Kind,
    process: Process,
    port: u16,
    program: String,
    folder: TempDir,
}

/// Returns a port that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "nats")]
            Self::Nats => "nats",
            #[cfg(feature = "kafka")]
            Self::Kafka => "kafka",
        }
    }

    /// Installs the broker; returns its program, which for Kafka is the script.
    fn install(self) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/engines");
        let script = script.join(self.name());
        let installed = Command::new(&script).output().unwrap();
        let said = String::from_utf8_lossy(&installed.stderr).into_owned();
        assert!(installed.status.success(), "{}: {said}", script.display());
        match self {
            #[cfg(feature = "nats")]
            Self::Nats => {
                let program = String::from_utf8(installed.stdout).unwrap();
                program.trim().to_owned()
            }
            #[cfg(feature = "kafka")]
            Self::Kafka => script.to_string_lossy().into_owned(),
        }
    }

    fn run(self, program: &str, folder: &Path, port: u16) -> Process {
        let mut command = Command::new(program);
        let port = port.to_string();
        match self {
            #[cfg(feature = "nats")]
            Self::Nats => command.args(["-js", "-a", "127.0.0.1", "-p", &port, "-sd"]),
            #[cfg(feature = "kafka")]
            Self::Kafka => command.arg("run"),
        };
        command.arg(folder);
        #[cfg(feature = "kafka")]
        if let Self::Kafka = self {
            command.arg(&port);
        }
        Process::spawn(&mut command)
    }
}

impl Broker {
    /// Starts a broker. The test fails if there is none on this machine.
    pub(crate) fn start(kind: Kind) -> Self {
        let program = kind.install();
        let (folder, port) = (folder(), free_port());
        let process = kind.run(&program, folder.path(), port);
        Self {
            kind,
            process,
            port,
            program,
            folder,
        }
    }

    pub(crate) fn kill(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        let Self {
            program, folder, ..
        } = &*self;
        self.process = self.kind.run(program, folder.path(), self.port);
    }

    /// Sends a signal: `STOP` has the broker hang, `CONT` go on.
    pub(crate) fn signal(&self, name: &str) {
        send_signal(name, self.process.0.id());
    }

    /// Returns the settings of its servers, and the choice of it for `kebne consume`.
    pub(crate) fn settings(&self) -> String {
        let (name, port) = (self.kind.name(), self.port);
        let (scheme, more) = match self.kind {
            // The server reserves the bytes of streams, and several servers share the disk.
            #[cfg(feature = "nats")]
            Kind::Nats => ("nats://", "bytes_max = \"64MiB\"\n"),
            #[cfg(feature = "kafka")]
            Kind::Kafka => ("", "partitions = 4\n"),
        };
        format!(
            "[events.{name}]\nservers = [\"{scheme}127.0.0.1:{port}\"]\ntimeout = \"2s\"\n{more}[consume]\nbus = \"{name}\"\nacknowledge_within = \"6s\"\n"
        )
    }

    /// Returns the settings with which events go to it.
    pub(crate) fn settings_of_events(&self) -> String {
        format!("[events]\nbus = \"{}\"\n", self.kind.name())
    }

    /// Returns a connection to the calls.
    pub(crate) async fn calls(&self) -> Arc<dyn EventBus> {
        self.bus("KEBNE_CALLS", &["kebne.calls"]).await
    }

    /// Returns a connection to the answers and dead letters.
    pub(crate) async fn answers(&self) -> Arc<dyn EventBus> {
        let topics = ["kebne.answers", "kebne.dead-letters"];
        self.bus("KEBNE_ANSWERS", &topics).await
    }

    /// Returns a connection to the events.
    pub(crate) async fn events(&self) -> Arc<dyn EventBus> {
        match self.kind {
            #[cfg(feature = "nats")]
            Kind::Nats => self.bus("KEBNE_EVENTS", &["kebne.events.>"]).await,
            #[cfg(feature = "kafka")]
            Kind::Kafka => {
                let topic = kebne_kafka::Topics::One("kebne.events".to_owned());
                self.kafka(topic)
            }
        }
    }

    /// Returns the filter of events of a type.
    pub(crate) fn filter_of_events(&self, kind: &str) -> String {
        match self.kind {
            #[cfg(feature = "nats")]
            Kind::Nats => format!("kebne.events.{kind}.>"),
            #[cfg(feature = "kafka")]
            Kind::Kafka => format!("{kind}.>"),
        }
    }

    #[cfg_attr(
        not(feature = "nats"),
        expect(clippy::unused_async, unused_variables, reason = "only NATS waits")
    )]
    async fn bus(&self, stream: &str, topics: &[&str]) -> Arc<dyn EventBus> {
        let topics = topics.iter().map(|&topic| topic.to_owned()).collect();
        match self.kind {
            #[cfg(feature = "nats")]
            Kind::Nats => {
                let options = kebne_nats::Options {
                    servers: vec![format!("nats://127.0.0.1:{}", self.port)],
                    stream: stream.to_owned(),
                    subjects: topics,
                    duplicate_window: Duration::from_mins(10),
                    bytes_max: 64 << 20,
                    ..kebne_nats::Options::default()
                };
                Arc::new(kebne_nats::NatsBus::connect(options).await.unwrap())
            }
            #[cfg(feature = "kafka")]
            Kind::Kafka => self.kafka(kebne_kafka::Topics::Named(topics)),
        }
    }

    #[cfg(feature = "kafka")]
    fn kafka(&self, topics: kebne_kafka::Topics) -> Arc<dyn EventBus> {
        Arc::new(kebne_kafka::KafkaBus::new(kebne_kafka::Options {
            servers: vec![format!("127.0.0.1:{}", self.port)],
            topics,
            partitions: 4,
            ..kebne_kafka::Options::default()
        }))
    }
}

/// Publishes until the broker has the message.
pub(crate) async fn publish(bus: &dyn EventBus, message: Message) {
    let since = Instant::now();
    while let Err(error) = bus.publish(message.clone()).await {
        assert!(since.elapsed() < START, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Subscribes as soon as the broker answers.
pub(crate) async fn subscribe(
    bus: &dyn EventBus,
    subscription: Subscription,
) -> Box<dyn Deliveries> {
    let since = Instant::now();
    loop {
        match bus.subscribe(subscription.clone()).await {
            Ok(reader) => return reader,
            Err(error) => assert!(since.elapsed() < START, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Reads the answers and dead letters until there are `count` of them, and whatever comes in a second after that, which is one too many. The broker may be
/// away meanwhile.
pub(crate) async fn read_answers(
    broker: &Broker,
    count: usize,
    patience: Duration,
) -> Vec<Delivery> {
    let bus = broker.answers().await;
    let subscription = Subscription {
        unacknowledged_max: 100_000,
        acknowledge_within: Duration::from_mins(20),
        ..Subscription::new("reader", "kebne.>")
    };
    let mut reader = subscribe(&*bus, subscription).await;
    let (since, mut read) = (Instant::now(), Vec::new());
    while read.len() < count {
        assert!(since.elapsed() < patience, "{} of {count}", read.len());
        match reader.pull(500, Duration::from_secs(1)).await {
            Ok(pulled) => read.extend(pulled),
            Err(_away) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    for _ in 0..5 {
        let more = reader.pull(500, Duration::from_millis(300)).await.unwrap();
        read.extend(more);
    }
    read
}

//! A link over TCP: each frame is JSON behind its length in four bytes.
//!
//! The producer dials and the consumer listens. A connection that breaks is dialled again; what was lost with it is sent
//! again by the two sides. Nothing is encrypted and nobody is authenticated: use it within a trusted network.

use std::{fmt, io, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::sleep,
};

use crate::{
    consumer::Consumer,
    frame::{ToConsumer, ToProducer},
    link::Link,
    producer::Producer,
};

/// Frames that may wait for the connection; further ones are lost, and sent again later.
const QUEUE: usize = 1024;
/// The largest frame, in bytes.
const FRAME_MAX: u32 = 16 << 20;
/// The first and the longest wait before a connection is dialled again.
const REDIAL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// A task that is ended when this is dropped.
#[derive(Debug)]
pub struct Connected(JoinHandle<()>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects a producer to the consumer that listens at `address`, and again whenever the connection breaks, until the
/// value returned is dropped. Needs a tokio runtime.
pub fn dial<T>(address: impl Into<String>, producer: &Producer<T>) -> Connected
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let (address, producer) = (address.into(), producer.clone());
    Connected(tokio::spawn(async move {
        let mut wait = REDIAL.0;
        loop {
            match TcpStream::connect(&address).await {
                Ok(stream) => {
                    wait = REDIAL.0;
                    let (frames, outgoing) = mpsc::channel::<ToConsumer<T>>(QUEUE);
                    producer.connect(lossy(frames));
                    let to = producer.clone();
                    let ended = exchange(stream, outgoing, move |frame| to.receive(frame)).await;
                    note(&address, &ended);
                }
                Err(error) => note(&address, &error),
            }
            sleep(wait).await;
            wait = REDIAL.1.min(wait * 2);
        }
    }))
}

/// Serves a consumer to the producer that dials, until the value returned is dropped. A later connection takes the place of
/// the one before. Needs a tokio runtime.
pub fn listen<T>(listener: TcpListener, consumer: &Consumer<T>) -> Connected
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let consumer = consumer.clone();
    Connected(tokio::spawn(async move {
        let mut _serves: Option<Connected> = None;
        loop {
            let Ok((stream, peer)) = listener.accept().await else {
                // Such as too many open files.
                sleep(REDIAL.0).await;
                continue;
            };
            let (frames, outgoing) = mpsc::channel::<ToProducer>(QUEUE);
            let to = consumer.clone();
            let serve = async move {
                let ended = exchange(stream, outgoing, move |frame| to.receive(frame)).await;
                note(&peer, &ended);
            };
            _serves = Some(Connected(tokio::spawn(serve)));
            consumer.connect(lossy(frames));
        }
    }))
}

/// Gives frames to a connection. What finds no room is lost, as it may be on any link.
fn lossy<F: Send + 'static>(frames: mpsc::Sender<F>) -> impl Link<F> {
    move |frame| {
        if let Err(error) = frames.try_send(frame) {
            tracing::trace!(%error, "a frame is lost");
        }
    }
}

fn note(peer: &dyn fmt::Display, error: &io::Error) {
    tracing::info!(%peer, %error, "a link of a reliable delivery has ended");
}

/// Writes and reads frames until the connection ends; returns why.
async fn exchange<O, I>(
    stream: TcpStream,
    mut outgoing: mpsc::Receiver<O>,
    incoming: impl Fn(I),
) -> io::Error
where
    O: Serialize,
    I: DeserializeOwned,
{
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let writes = async {
        while let Some(frame) = outgoing.recv().await {
            write(&mut writer, &frame).await?;
        }
        // The other side of the channel is gone: there is a newer link.
        Ok(())
    };
    let reads = async {
        loop {
            incoming(read(&mut reader).await?);
        }
    };
    let ended: io::Result<()> = tokio::select! {
        ended = writes => ended,
        ended = reads => ended,
    };
    ended
        .err()
        .unwrap_or_else(|| io::Error::other("replaced by a newer link"))
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), frame: &impl Serialize) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, frame)?;
    let length = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    writer.write_all(&bytes).await
}

async fn read<I: DeserializeOwned>(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<I> {
    let length = reader.read_u32().await?;
    if length > FRAME_MAX {
        let message = format!("a frame of {length} bytes, where {FRAME_MAX} are allowed");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut bytes = vec![0; length as usize];
    reader.read_exact(&mut bytes).await?;
    Ok(serde_json::from_slice(&bytes)?)
}

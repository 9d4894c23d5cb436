//! A network that can be made to hold, cut or delay what it carries.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    Passes,
    /// Nothing arrives, and nobody is told.
    Holds,
    /// Connections are closed.
    Cuts,
    Delays(Duration),
}

pub(crate) struct Proxy {
    port: u16,
    network: Arc<watch::Sender<Network>>,
}

impl Proxy {
    /// Starts a network in front of a port.
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let network = Arc::new(watch::Sender::new(Network::Passes));
        let state = Arc::clone(&network);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *state.borrow() == Network::Cuts {
                    continue;
                }
                let state = state.subscribe();
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await {
                        carry(client, server, state).await;
                    }
                });
            }
        });
        Self { port, network }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

async fn carry(client: TcpStream, server: TcpStream, state: watch::Receiver<Network>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        one_way(from_client, to_server, state.clone()),
        one_way(from_server, to_client, state),
    );
}

async fn one_way(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut state: watch::Receiver<Network>,
) {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let read = tokio::select! {
            read = from.read(&mut bytes) => read.unwrap_or(0),
            () = cut(&mut state) => 0,
        };
        if read == 0 {
            return;
        }
        let network = *state.borrow();
        if let Network::Delays(time) = network {
            tokio::time::sleep(time).await;
        }
        let is_over = state
            .wait_for(|network| *network != Network::Holds)
            .await
            .is_err();
        if is_over || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// Waits until connections are closed.
async fn cut(state: &mut watch::Receiver<Network>) {
    let is_over = state.wait_for(|network| *network == Network::Cuts).await;
    drop(is_over);
}

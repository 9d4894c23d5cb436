//! One HTTP client for each thread and backend.
//!
//! The connections of a client belong to the runtime that opened them. An attempt runs on the thread of its caller and
//! uses the client of that thread, so an answer does not cross threads on its way from the backend to the caller.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use reqwest::Client;

use super::POOL_IDLE_TIMEOUT;

/// The options that all clients of one backend share.
#[derive(Debug)]
struct Options {
    connect_timeout: Duration,
    tls: bool,
}

/// The clients of one backend.
#[derive(Debug)]
pub(super) struct Clients {
    options: Arc<Options>,
    /// The client that was made first, until a thread takes it.
    first: Mutex<Option<Client>>,
}

thread_local! {
    /// The clients of this thread. Those of removed backends are dropped when another one is added.
    static OF_THREAD: RefCell<Vec<(Weak<Options>, Client)>> = const { RefCell::new(Vec::new()) };
}

impl Clients {
    /// Creates the clients of one backend; `first` was made with the same options.
    pub(super) fn new(first: Client, connect_timeout: Duration, tls: bool) -> Self {
        Self {
            options: Arc::new(Options {
                connect_timeout,
                tls,
            }),
            first: Mutex::new(Some(first)),
        }
    }

    /// Returns the client of this thread. The first call on a thread creates it.
    ///
    /// # Errors
    /// Returns an error if the client cannot be created.
    pub(super) fn get(&self) -> Result<Client, reqwest::Error> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let made = match first {
            Some(first) => first,
            None => client(self.options.connect_timeout, self.options.tls)?,
        };
        OF_THREAD.with_borrow_mut(|clients| {
            clients.retain(|(options, _)| options.strong_count() > 0);
            clients.push((Arc::downgrade(&self.options), made.clone()));
        });
        Ok(made)
    }

    fn known(&self) -> Option<Client> {
        let own = Arc::as_ptr(&self.options);
        OF_THREAD.with_borrow(|clients| {
            let mut clients = clients.iter();
            let known = clients.find(|(options, _)| options.as_ptr() == own);
            known.map(|(_, client)| client.clone())
        })
    }
}

/// Creates a connection pool without proxies and redirects, and with the system's certificates only if `tls` requires
/// them.
pub(crate) fn client(connect_timeout: Duration, tls: bool) -> Result<Client, reqwest::Error> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have installed the provider first; it is the same one.
        let installed = rustls::crypto::ring::default_provider().install_default();
        tracing::trace!(installed = installed.is_ok(), "crypto provider");
    }
    let mut builder = Client::builder()
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy();
    if !tls {
        // The system's certificates are not needed, and reading them takes tens of milliseconds.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_thread() -> usize {
        OF_THREAD.with_borrow(Vec::len)
    }

    #[test]
    fn a_thread_has_one_client_for_each_backend_that_lives() {
        let timeout = Duration::from_secs(1);
        let clients = || Clients::new(client(timeout, false).unwrap(), timeout, false);
        let (one, two) = (clients(), clients());
        for _ in 0..3 {
            one.get().unwrap();
            two.get().unwrap();
        }
        assert_eq!(of_thread(), 2);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                one.get().unwrap();
                of_thread()
            });
            assert_eq!(other.join().unwrap(), 1);
        });
        drop(one);
        clients().get().unwrap();
        assert_eq!(of_thread(), 2, "the client of a removed backend is kept");
    }
}

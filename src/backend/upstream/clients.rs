//! One HTTP client for each thread and backend.
//!
//! The connections of a client belong to the runtime that opened them. An attempt runs on the thread of its caller and
//! uses the client of that thread, so an answer does not cross threads on its way from the backend to the caller.

use std::{
    cell::RefCell,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use reqwest::Client;

use super::options::ClientOptions;

/// The clients of one backend.
#[derive(Debug)]
pub(crate) struct Clients {
    options: Arc<ClientOptions>,
    /// The client that was made first, until a thread takes it.
    first: Mutex<Option<Client>>,
}

thread_local! {
    /// The clients of this thread. Those of removed backends are dropped when another one is added.
    static OF_THREAD: RefCell<Vec<(Weak<ClientOptions>, Client)>> = const { RefCell::new(Vec::new()) };
}

impl Clients {
    /// Creates the clients of one backend; `first` was made with the same options.
    pub(super) fn new(first: Client, options: ClientOptions) -> Self {
        Self {
            options: Arc::new(options),
            first: Mutex::new(Some(first)),
        }
    }

    /// Creates the clients of an address that is no backend.
    ///
    /// # Errors
    /// Returns an error if a client cannot be created.
    pub(crate) fn start(connect_timeout: Duration, tls: bool) -> Result<Self, reqwest::Error> {
        let options = ClientOptions::new(connect_timeout, tls);
        Ok(Self::new(options.build()?, options))
    }

    /// Returns the client of this thread. The first call on a thread creates it.
    ///
    /// # Errors
    /// Returns an error if the client cannot be created.
    pub(crate) fn get(&self) -> Result<Client, reqwest::Error> {
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
            None => self.options.build()?,
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
    ClientOptions::new(connect_timeout, tls).build()
}

/// Creates a client that reaches one host, at addresses that its name has been resolved to, without proxies and redirects.
pub(crate) fn client_to(
    connect_timeout: Duration,
    tls: bool,
    host: (&str, &[SocketAddr]),
) -> Result<Client, reqwest::Error> {
    ClientOptions::new(connect_timeout, tls).build_to(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_thread() -> usize {
        OF_THREAD.with_borrow(Vec::len)
    }

    #[test]
    fn a_thread_has_one_client_for_each_backend_that_lives() {
        let options = ClientOptions::new(Duration::from_secs(1), false);
        let clients = || Clients::new(options.build().unwrap(), options.clone());
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

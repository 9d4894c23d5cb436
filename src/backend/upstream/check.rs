//! Requests that ask a server whether it is there, and what it is.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use kebne_lane::Failure;
use reqwest::Method;

use super::{
    Incoming, Upstream,
    transport::{self, Obstacle},
    upload::Upload,
};

/// A path of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'p> {
    /// Below the base URL.
    Api(&'p str),
    /// From the root of the server, without the version of the API.
    Root(&'p str),
}

/// The answer of a server, with any status.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// Its beginning.
    pub(crate) body: Bytes,
}

/// A server that did not answer.
#[derive(Clone, Debug)]
pub(crate) struct NotReached {
    pub(crate) obstacle: Obstacle,
    /// What happened, without secrets.
    pub(crate) message: String,
}

/// A check of a server that was not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckFailed {
    /// What happened, without secrets.
    pub(crate) message: String,
    /// `true` if the server answered, with a status that is no success.
    pub(crate) answered: bool,
}

impl CheckFailed {
    /// Creates the failure of a server that did not answer.
    pub(crate) fn without_answer(message: String) -> Self {
        Self {
            message,
            answered: false,
        }
    }
}

impl Upstream {
    /// Asks a path from the root of the server. Its key is sent, because some servers require it for every path.
    ///
    /// # Errors
    /// Returns why the answer was not a success, without secrets.
    pub(crate) async fn check(&self, path: &str) -> Result<(), CheckFailed> {
        let target = self.targets.at_root(path);
        let headers = self.headers.clone();
        let asked = self.exchange(&target, Method::GET, headers, Upload::default());
        match asked.await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(CheckFailed {
                message: format!("status {}", response.status().as_u16()),
                answered: true,
            }),
            Err(error) => {
                let failure = transport::not_sent(&error, true, self.through.as_ref());
                Err(CheckFailed::without_answer(self.without_secrets(failure)))
            }
        }
    }

    /// Asks a path of the server and reads at most `size_max` bytes of the answer.
    ///
    /// # Errors
    /// Returns why there was no answer.
    pub(crate) async fn ask(
        &self,
        place: Place<'_>,
        header: Option<(HeaderName, HeaderValue)>,
        size_max: usize,
    ) -> Result<Answered, NotReached> {
        let target = match place {
            Place::Api(path) => self.targets.make(path),
            Place::Root(path) => self.targets.at_root(path),
        };
        let mut headers = self.headers.clone();
        headers.extend(header);
        let asked = self.exchange(&target, Method::GET, headers, Upload::default());
        match asked.await {
            Ok(response) => {
                let status = response.status().as_u16();
                let body = Incoming::of(response, size_max, self.answers.share());
                let body = body.read_some(size_max).await;
                Ok(Answered { status, body })
            }
            Err(error) => Err(NotReached {
                obstacle: transport::obstacle(&error),
                message: self.without_secrets(transport::not_sent(
                    &error,
                    true,
                    self.through.as_ref(),
                )),
            }),
        }
    }

    fn without_secrets(&self, mut failure: Failure) -> String {
        self.secrets.hide_in(&mut failure);
        failure.message
    }
}

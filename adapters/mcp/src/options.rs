//! How a server is reached, and its bounds.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::{pattern::Pattern, pins::Hold};

/// The era of the protocol that is spoken with a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Era {
    /// 2026-07-28 if the server has it, else the newest one with sessions that it has.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// The era of sessions, up to 2025-11-25.
    #[serde(rename = "2025-11-25")]
    Sessions,
    /// The era without sessions, from 2026-07-28.
    #[serde(rename = "2026-07-28")]
    Stateless,
}

/// A server and its bounds.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name, which leads the names of its tools.
    pub name: String,
    /// How it is reached.
    pub way: Way,
    /// The era of the protocol.
    pub era: Era,
    /// The tools that are offered. Empty: all of them.
    pub tools: Vec<Pattern>,
    /// Which tools wait for an approval.
    pub hold: Hold,
    /// The time to connect or to start it, to its first list of tools.
    pub start_timeout: Duration,
    /// The time after which its list of tools is asked for again.
    pub refresh: Duration,
    /// The largest answer, in bytes.
    pub answer_size_max: usize,
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub enum Way {
    /// By Streamable HTTP.
    Http(HttpWay),
    /// As a child process, by its standard input and output.
    Process(ProcessWay),
}

/// A server that is reached by Streamable HTTP.
#[derive(Clone)]
pub struct HttpWay {
    /// The URL of its endpoint.
    pub url: String,
    /// The headers of each request, secrets included.
    pub headers: HeaderMap,
    /// The client, with its authorities and its proxy. It must not follow redirects, which would carry the headers to others.
    pub client: reqwest::Client,
    /// How tokens are fetched, if the server asks for some.
    pub oauth: Option<OAuth>,
}

/// Credentials of the gateway itself, for which a server of tokens gives tokens (the grant `client_credentials`).
#[derive(Clone)]
pub struct OAuth {
    /// The URL of the server of tokens.
    pub token_url: String,
    /// The id of the gateway there.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// What the token is to permit.
    pub scopes: Vec<String>,
}

/// A program that replaces itself by another one, after it has arranged that this one ends with this process. It gets the id of this process
/// and the other program with its arguments as its last arguments.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// Its first arguments.
    pub args: Vec<String>,
}

/// A server that is a child process.
#[derive(Clone)]
pub struct ProcessWay {
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
    /// Its working directory. Default: that of this process.
    pub cwd: Option<PathBuf>,
    /// The time between the request to end and the end by force.
    pub stop_grace: Duration,
    /// The program that has the kernel end it with this process; `None` if it only ends with its input.
    pub launcher: Option<Launcher>,
}

impl std::fmt::Debug for HttpWay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.headers.keys().collect();
        let mut shown = formatter.debug_struct("HttpWay");
        shown.field("headers", &names).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for OAuth {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("OAuth");
        shown.field("token_url", &self.token_url);
        shown
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ProcessWay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.environment.keys().collect();
        let mut shown = formatter.debug_struct("ProcessWay");
        shown.field("command", &self.command);
        shown.field("environment", &names).finish_non_exhaustive()
    }
}

//! What is known of a call when its model is chosen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::memory::RouteMemory;

/// A kind of input besides text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputKind {
    /// An image.
    Image,
    /// A sound.
    Audio,
    /// A document.
    File,
    /// A video.
    Video,
}

impl InputKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Image, Self::Audio, Self::File, Self::Video];

    /// Returns the name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Audio => "audio",
            Self::File => "file",
            Self::Video => "video",
        }
    }
}

/// What is known of a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The headers that conditions name: their names in lower case, and their values.
    pub headers: &'a [(String, String)],
    /// The name of the key; empty without keys.
    pub key: &'a str,
    /// The tenant of the key; empty without keys.
    pub tenant: &'a str,
    /// The group of the key and the groups above it.
    pub groups: &'a [String],
    /// The time, in seconds since 1970.
    pub unix_seconds: u64,
    /// The tokens of the prompt with its history, as estimated.
    pub tokens: u64,
    /// The text of the caller's last message; empty if there is none.
    pub question: &'a str,
    /// `true` if the question was asked by an earlier call, and this one goes on with the results of tools. It is not counted again.
    pub is_repeated: bool,
    /// `true` if the call offers tools to the model.
    pub has_tools: bool,
    /// The inputs besides text.
    pub inputs: &'a [InputKind],
    /// `true` if the caller requested a stream.
    pub is_streamed: bool,
    /// The session of the call.
    pub session: Option<SessionFacts<'a>>,
    /// The share that is left of the fullest budget of the key and its groups, from 0 to 1; `None` without budgets.
    pub budget_left: Option<f64>,
    /// Who is on one side of a share; see [`identity`](crate::identity).
    pub identity: u64,
}

/// What is known of the session of a call.
#[derive(Clone, Copy, Debug)]
pub struct SessionFacts<'a> {
    /// The turns that it has, without this one.
    pub turns: u64,
    /// The variables that callers have set.
    pub variables: &'a BTreeMap<String, String>,
    /// What this route remembers of it.
    pub memory: &'a RouteMemory,
}

impl<'a> Facts<'a> {
    /// Returns the values of a header; none if the call does not have it.
    pub(crate) fn header(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let headers = self.headers.iter();
        let named = headers.filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }
}

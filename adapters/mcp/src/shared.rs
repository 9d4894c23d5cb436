//! What a server and its keeper share: the state of the connection, and the tools as they were listed last.

use std::sync::{Arc, PoisonError, RwLock};

use rmcp::{Peer, RoleClient};
use tokio::sync::watch;

use crate::{fault::Fault, options::Options, pins::Pins, tool::Tool};

/// What the server and its keeper share.
pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) link: watch::Sender<Link>,
    pub(crate) list: RwLock<List>,
    pub(crate) pins: RwLock<Option<Arc<Pins>>>,
    pub(crate) on_change: RwLock<Option<Box<dyn Fn() + Send + Sync>>>,
}

/// The state of the connection.
#[derive(Clone)]
pub(crate) enum Link {
    /// It begins.
    Starting,
    /// It is there.
    Up {
        /// By which calls are made.
        peer: Peer<RoleClient>,
        /// The version of the protocol.
        version: String,
    },
    /// It is not there.
    Down(Fault),
}

/// The tools as they were listed last.
#[derive(Default)]
pub(crate) struct List {
    pub(crate) offered: Arc<Vec<Arc<Tool>>>,
    pub(crate) held: Vec<Arc<Tool>>,
    /// The number of those that the settings leave out.
    pub(crate) left_out: usize,
}

impl Inner {
    pub(crate) fn new(options: Options) -> Self {
        let (link, _) = watch::channel(Link::Starting);
        Self {
            options,
            link,
            list: RwLock::default(),
            pins: RwLock::default(),
            on_change: RwLock::default(),
        }
    }

    pub(crate) fn tools(&self) -> Arc<Vec<Arc<Tool>>> {
        Arc::clone(&read(&self.list).offered)
    }

    pub(crate) fn set_link(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// Takes over a list of tools.
    pub(crate) fn set_tools(&self, tools: Vec<Tool>) {
        let all = tools.len();
        let mut names = std::collections::BTreeSet::new();
        let allowed = tools.into_iter().filter(|tool| {
            let patterns = &self.options.tools;
            let is_allowed =
                patterns.is_empty() || patterns.iter().any(|one| one.fits(tool.name()));
            // The second one of a name could hide behind the first.
            is_allowed && tool.has_plain_name() && names.insert(tool.name().to_owned())
        });
        let allowed: Vec<Arc<Tool>> = allowed.map(Arc::new).collect();
        let left_out = all - allowed.len();
        self.judge(allowed, left_out);
    }

    /// Judges the tools that are known again.
    pub(crate) fn judge_again(&self) {
        let (tools, left_out) = {
            let list = read(&self.list);
            let all = list.offered.iter().chain(&list.held);
            (all.map(Arc::clone).collect(), list.left_out)
        };
        self.judge(tools, left_out);
    }

    fn judge(&self, mut tools: Vec<Arc<Tool>>, left_out: usize) {
        tools.sort_by(|one, other| one.name().cmp(other.name()));
        let pins = read(&self.pins).clone();
        let names: Vec<(&str, &str)> = tools
            .iter()
            .map(|tool| (tool.name(), tool.digest()))
            .collect();
        let server = &self.options.name;
        let noted = pins.map(|pins| pins.note(server, &names, self.options.hold));
        let (mut offered, mut held) = (Vec::new(), Vec::new());
        for (index, tool) in tools.iter().enumerate() {
            let noted = noted.as_ref().and_then(|noted| noted.get(index));
            let noted = noted.copied().unwrap_or_default();
            if noted.is_new {
                let tool = tool.name();
                tracing::warn!(
                    server,
                    tool,
                    "a tool of an MCP server is held until it is approved"
                );
            }
            let list = if noted.is_held {
                &mut held
            } else {
                &mut offered
            };
            list.push(Arc::clone(tool));
        }
        let has_changed = {
            let mut list = write(&self.list);
            let digests = |tools: &[Arc<Tool>]| -> Vec<String> {
                tools.iter().map(|tool| tool.digest().to_owned()).collect()
            };
            let has_changed = digests(&list.offered) != digests(&offered);
            *list = List {
                offered: Arc::new(offered),
                held,
                left_out,
            };
            has_changed
        };
        if has_changed && let Some(on_change) = &*read(&self.on_change) {
            on_change();
        }
    }
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#![doc = include_str!("../README.md")]

mod counts;
mod handle;
mod host;
mod live;
mod memory;
mod message;
mod model;
mod run;
mod settings;
mod spec;
mod sqlite;
mod store;
mod tool;
mod tool_loop;
mod work;

pub use counts::{Counts, Tally};
pub use handle::{AgentError, Agents, AgentsParts, Attendance, Start};
pub use host::{Host, Kit, RunContext};
pub use kebne_quota::Money;
pub use kebne_seal::{BadKey, Keyring};
pub use live::Live;
pub use memory::MemoryStore;
pub use message::{Message, ToolCall};
pub use model::{Ask, Model, ModelError, Reply, TextSink, Usage};
pub use run::{
    Awaited, Began, Budget, CallOutcome, Decision, Ending, Event, OpenCall, Run, RunEvent,
    RunState, WaitsFor,
};
pub use settings::AgentStoreSettings;
pub use spec::{ASK_HUMAN, AgentSpec, Combine, OnUnknown, SEARCH, is_agent_name, offered_name};
pub use sqlite::SqliteStore;
pub use store::{
    Answer, Appended, Erased, Head, Holdings, Lease, NewRun, Page, PageQuery, Renewed, RunStore,
    StoreError, Totals, WallClock,
};
pub use tool::{Call, FnTool, Tool, ToolError, ToolSpec};
pub use tool_loop::{LoopBounds, LoopStep, ToolLoop};
pub use work::Work;

#[cfg(test)]
mod tests;

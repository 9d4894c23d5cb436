//! The list of all cases and of all libraries.
//!
//! Cases of different areas have different drivers; here their types are erased, so that whoever runs
//! them needs to know none of them. To add an area: give it a method in [`Library`], a list in `cases`.

use std::{fmt, sync::Arc};

use crate::{
    bare_actix::BareActix,
    case::{Case, Level, Running, Stance},
    cases,
    driver::Library,
    kameo_library::Kameo,
    kebne::Kebne,
    ractor_library::Ractor,
};

type Start = dyn for<'a> Fn(&'a dyn Library) -> Option<Running<'a>> + Send + Sync;

/// A case of any area.
#[derive(Clone)]
pub struct AnyCase {
    /// The area it belongs to, such as `actors`.
    pub area: &'static str,
    /// Its level.
    pub level: Level,
    /// What must hold, as a sentence with underscores.
    pub name: &'static str,
    /// The specification and topic it follows.
    pub topic: &'static str,
    /// How Kebne stands to that.
    pub stance: Stance,
    /// Whether it needs a process of its own.
    pub isolated: bool,
    start: Arc<Start>,
}

impl AnyCase {
    /// Starts the case on a library; `None` when the library has no driver for the case's area.
    pub fn start<'a>(&self, library: &'a dyn Library) -> Option<Running<'a>> {
        (self.start)(library)
    }
}

impl fmt::Debug for AnyCase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AnyCase")
            .field("level", &self.level)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Adds the cases of one area, whose driver a library gives by `driver`.
fn add<D: ?Sized + 'static>(
    all: &mut Vec<AnyCase>,
    area: &'static str,
    cases: &'static [Case<D>],
    driver: for<'a> fn(&'a dyn Library) -> Option<&'a D>,
) {
    for case in cases {
        let run = case.run;
        all.push(AnyCase {
            area,
            level: case.level,
            name: case.name,
            topic: case.topic,
            stance: case.stance,
            isolated: case.isolated,
            start: Arc::new(move |library| driver(library).map(run)),
        });
    }
}

/// Returns all cases, ordered by level and within it as they are listed.
pub fn cases() -> Vec<AnyCase> {
    let mut all = Vec::new();
    for list in cases::ACTORS {
        add(&mut all, "actors", list, |library| library.actors());
    }
    for list in cases::CONTEXTS {
        add(&mut all, "actix's contexts", list, |library| {
            library.contexts()
        });
    }
    for list in cases::RATE {
        add(&mut all, "rate", list, |library| library.rate());
    }
    for list in cases::BREAKER {
        add(&mut all, "breaker", list, |library| library.breaker());
    }
    for list in cases::RETRY {
        add(&mut all, "retry", list, |library| library.retry());
    }
    for list in cases::STREAMS {
        add(&mut all, "streams", list, |library| library.streams());
    }
    for list in cases::ROUTERS {
        add(&mut all, "routers", list, |library| library.routers());
    }
    for list in cases::SHUTDOWN {
        add(&mut all, "coordinated shutdown", list, |library| {
            library.shutdown()
        });
    }
    for list in cases::WORK_PULLING {
        add(&mut all, "work pulling", list, |library| {
            library.work_pulling()
        });
    }
    for list in cases::DELIVERY {
        add(&mut all, "reliable delivery", list, |library| {
            library.delivery()
        });
    }
    for list in cases::HANDLERS {
        add(&mut all, "async handlers", list, |library| {
            library.handlers()
        });
    }
    for list in cases::PERSISTENCE {
        add(&mut all, "persistence", list, |library| {
            library.persistence()
        });
    }
    for list in cases::HTTP {
        add(&mut all, "http", list, |library| library.http());
    }
    all.sort_by_key(|case| case.level);
    all
}

/// Returns all libraries, Kebne first.
pub fn libraries() -> Vec<Arc<dyn Library>> {
    vec![
        Arc::new(Kebne),
        Arc::new(BareActix),
        Arc::new(Ractor),
        Arc::new(Kameo),
    ]
}

//! The store in memory, for tests and for programs whose agents need not survive them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    run::{Event, RunEvent, RunState},
    spec::AgentSpec,
    store::{
        Answer, Appended, Erased, Head, Holdings, Lease, NewRun, Page, PageQuery, Renewed,
        RunStore, StoreError, Totals,
    },
};

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    runs: Vec<KeptRun>,
    agents: BTreeMap<(String, String), AgentSpec>,
}

#[derive(Debug)]
struct KeptRun {
    owner: String,
    head: Head,
    fence: u64,
    until: u64,
    /// `true` if an agent has started it for another one.
    is_task: bool,
    events: Vec<Event>,
}

const NO_RUN: StoreError = StoreError::NotFound("run");

impl MemoryStore {
    /// Returns all events of all runs, for tests.
    pub fn all_events(&self) -> Vec<(String, Vec<Event>)> {
        let kept = self.kept();
        let runs = kept.runs.iter();
        runs.map(|run| (run.head.id.clone(), run.events.clone()))
            .collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Kept) -> Result<T, StoreError>,
    ) -> Answer<'static, T> {
        let done = act(&mut self.kept());
        Box::pin(async move { done })
    }
}

impl Kept {
    fn of(&mut self, owner: &str, id: &str) -> Result<&mut KeptRun, StoreError> {
        let mut runs = self.runs.iter_mut();
        let found = runs.find(|run| run.owner == owner && run.head.id == id);
        found.ok_or(NO_RUN)
    }

    fn leased(&mut self, lease: &Lease) -> Option<&mut KeptRun> {
        let run = self.of(&lease.owner, &lease.id).ok()?;
        (run.fence == lease.fence).then_some(run)
    }
}

impl KeptRun {
    fn push(&mut self, at: u64, what: RunEvent) {
        self.head.seq += 1;
        if matches!(what, RunEvent::Ended { .. }) {
            self.head.state = RunState::Ended;
            self.head.ended = Some(at);
        }
        self.events.push(Event {
            seq: self.head.seq,
            at,
            what,
        });
    }

    fn after(&self, known: u64) -> Vec<Event> {
        let later = self.events.iter().filter(|event| event.seq > known);
        later.cloned().collect()
    }
}

impl RunStore for MemoryStore {
    fn create(&self, run: NewRun) -> Answer<'_, bool> {
        self.act(|kept| {
            if kept.runs.iter().any(|other| other.head.id == run.id) {
                return Ok(false);
            }
            let is_open =
                |other: &&KeptRun| other.owner == run.owner && other.head.state != RunState::Ended;
            let open = kept.runs.iter().filter(is_open).count() as u64;
            if let Some(most) = run.open_max.filter(|most| open >= *most) {
                return Err(StoreError::Full(most, "runs"));
            }
            let mut new = KeptRun {
                owner: run.owner,
                head: Head {
                    id: run.id,
                    agent: run.agent,
                    state: RunState::Running,
                    created: run.now,
                    ended: None,
                    seq: 0,
                },
                fence: u64::from(run.until > 0),
                until: run.until,
                is_task: run.open_max.is_none(),
                events: Vec::new(),
            };
            new.push(run.now, run.began);
            kept.runs.push(new);
            Ok(true)
        })
    }

    fn head<'a>(&'a self, owner: &'a str, id: &'a str) -> Answer<'a, Head> {
        self.act(|kept| Ok(kept.of(owner, id)?.head.clone()))
    }

    fn events<'a>(&'a self, owner: &'a str, id: &'a str, after: u64) -> Answer<'a, Vec<Event>> {
        self.act(|kept| Ok(kept.of(owner, id)?.after(after)))
    }

    fn runs<'a>(&'a self, owner: &'a str, page: PageQuery) -> Answer<'a, Page> {
        self.act(|kept| {
            let fits = |run: &&KeptRun| {
                run.owner == owner && page.agent.as_ref().is_none_or(|a| *a == run.head.agent)
            };
            let newest = kept.runs.iter().rev().filter(fits).map(|run| &run.head);
            let mut all: Vec<Head> = newest.cloned().collect();
            if let Some(after) = &page.after {
                let place = all.iter().position(|head| head.id == *after);
                all.drain(..=place.ok_or(StoreError::NotListed)?);
            }
            let has_more = all.len() > page.limit;
            all.truncate(page.limit);
            Ok(Page {
                runs: all,
                has_more,
            })
        })
    }

    fn claim(&self, most: usize, now: u64, until: u64) -> Answer<'_, Vec<Lease>> {
        self.act(|kept| {
            let due = |run: &&mut KeptRun| run.head.state == RunState::Running && run.until <= now;
            let mut due: Vec<&mut KeptRun> = kept.runs.iter_mut().filter(due).collect();
            due.sort_by_key(|run| !run.is_task);
            let leases = due.into_iter().take(most).map(|run| {
                run.fence += 1;
                run.until = until;
                Lease {
                    id: run.head.id.as_str().into(),
                    owner: run.owner.as_str().into(),
                    fence: run.fence,
                }
            });
            Ok(leases.collect())
        })
    }

    fn append<'a>(
        &'a self,
        lease: &'a Lease,
        known: u64,
        events: Vec<(u64, RunEvent)>,
    ) -> Answer<'a, Appended> {
        self.act(|kept| {
            let Some(run) = kept.leased(lease) else {
                return Ok(Appended::Lost);
            };
            for (at, what) in events {
                run.push(at, what);
            }
            Ok(Appended::Done(run.after(known)))
        })
    }

    fn add<'a>(
        &'a self,
        (owner, id): (&'a str, &'a str),
        known: u64,
        (at, what): (u64, RunEvent),
    ) -> Answer<'a, bool> {
        self.act(|kept| {
            let run = kept.of(owner, id)?;
            if run.head.seq != known {
                return Ok(false);
            }
            if run.head.state == RunState::Waiting {
                run.head.state = RunState::Running;
                run.until = 0;
            }
            run.push(at, what);
            Ok(true)
        })
    }

    fn renew(&self, leases: Vec<Lease>, until: u64) -> Answer<'_, Vec<Renewed>> {
        self.act(|kept| {
            let renewed = leases.iter().map(|lease| match kept.leased(lease) {
                Some(run) => {
                    run.until = until;
                    Renewed::Held(run.head.seq)
                }
                None => Renewed::Lost,
            });
            Ok(renewed.collect())
        })
    }

    fn release<'a>(&'a self, lease: &'a Lease, known: u64, waits: bool) -> Answer<'a, bool> {
        self.act(|kept| {
            let Some(run) = kept.leased(lease) else {
                return Ok(true);
            };
            if run.head.seq != known {
                return Ok(false);
            }
            if waits && run.head.state == RunState::Running {
                run.head.state = RunState::Waiting;
            }
            run.fence += 1;
            run.until = 0;
            Ok(true)
        })
    }

    fn put_agent<'a>(&'a self, owner: &'a str, spec: AgentSpec, most: u64) -> Answer<'a, bool> {
        self.act(|kept| {
            let key = (owner.to_owned(), spec.name.clone());
            let own = kept.agents.keys().filter(|(of, _)| of == owner).count() as u64;
            if own >= most && !kept.agents.contains_key(&key) {
                return Err(StoreError::Full(most, "agents"));
            }
            Ok(kept.agents.insert(key, spec).is_none())
        })
    }

    fn agents<'a>(&'a self, owner: &'a str) -> Answer<'a, Vec<AgentSpec>> {
        self.act(|kept| {
            let own = kept.agents.iter().filter(|((of, _), _)| of == owner);
            Ok(own.map(|(_, spec)| spec.clone()).collect())
        })
    }

    fn agent<'a>(&'a self, owner: &'a str, name: &'a str) -> Answer<'a, Option<AgentSpec>> {
        let key = (owner.to_owned(), name.to_owned());
        self.act(|kept| Ok(kept.agents.get(&key).cloned()))
    }

    fn remove_agent<'a>(&'a self, owner: &'a str, name: &'a str) -> Answer<'a, bool> {
        let key = (owner.to_owned(), name.to_owned());
        self.act(|kept| Ok(kept.agents.remove(&key).is_some()))
    }

    fn sweep(&self, before: u64) -> Answer<'_, u64> {
        self.act(|kept| {
            let count = kept.runs.len();
            kept.runs
                .retain(|run| run.head.ended.is_none_or(|ended| ended >= before));
            Ok((count - kept.runs.len()) as u64)
        })
    }

    fn totals(&self) -> Answer<'_, Totals> {
        self.act(|kept| {
            let mut totals = Totals::default();
            for run in &kept.runs {
                match run.head.state {
                    RunState::Running => totals.running += 1,
                    RunState::Waiting => totals.waiting += 1,
                    RunState::Ended => totals.ended += 1,
                }
            }
            Ok(totals)
        })
    }

    fn held<'a>(&'a self, owner: &'a str) -> Answer<'a, Holdings> {
        self.act(|kept| {
            let own = || kept.runs.iter().filter(|run| run.owner == owner);
            let agents = kept.agents.keys().filter(|(of, _)| of == owner).count();
            Ok(Holdings {
                agents: agents as u64,
                runs: own().count() as u64,
                events: own().map(|run| run.events.len() as u64).sum(),
                oldest: own().map(|run| run.head.created).min(),
                newest: own().map(|run| run.head.created).max(),
                ..Holdings::default()
            })
        })
    }

    fn erase<'a>(&'a self, owner: &'a str) -> Answer<'a, Erased> {
        Box::pin(async move {
            let removed = self.held(owner).await?;
            let mut kept = self.kept();
            kept.runs.retain(|run| run.owner != owner);
            kept.agents.retain(|(of, _), _| of != owner);
            Ok(Erased {
                removed,
                log_emptied: true,
                key_erased: false,
            })
        })
    }
}

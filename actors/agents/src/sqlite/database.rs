//! The steps on runs and agents. The owner is a condition of each query of a caller. Removed data is overwritten (`secure_delete`).

use kebne_file::OpenFile;
use rusqlite::{OptionalExtension as _, Row, params};

use crate::{
    run::{Event, RunEvent, RunState},
    spec::AgentSpec,
    store::{Appended, Head, Lease, NewRun, Page, PageQuery, Renewed, StoreError, Totals},
};

type Result<T> = std::result::Result<T, StoreError>;

/// An open store.
#[derive(Debug)]
pub(crate) struct Database {
    pub(super) file: OpenFile,
}

/// A row of a run.
struct Found {
    number: i64,
    owner: i64,
    head: Head,
    fence: u64,
}

const RUN: &str = "SELECT number, owner, id, agent, state, created, ended, seq, fence FROM runs";

impl Database {
    pub(super) fn new(file: OpenFile) -> Self {
        Self { file }
    }

    /// Begins a step of the transaction.
    pub(super) fn save(&self) -> Result<()> {
        Ok(self.file.connection.execute_batch("SAVEPOINT step")?)
    }

    /// Ends a step of the transaction; takes it back unless it `stays`.
    pub(super) fn keep(&mut self, stays: bool) -> Result<()> {
        if !stays {
            self.file.connection.execute_batch("ROLLBACK TO step")?;
            // Keys of owners that were created in it do not exist.
            self.file.forget_keys();
        }
        Ok(self.file.connection.execute_batch("RELEASE step")?)
    }

    pub(super) fn create(&mut self, run: &NewRun) -> Result<bool> {
        let find = "SELECT 1 FROM runs WHERE id = ?1";
        let known: Option<i64> = self
            .file
            .connection
            .query_row(find, [&run.id], |row| row.get(0))
            .optional()?;
        if known.is_some() {
            return Ok(false);
        }
        let owner = self.file.owner_or_new(&run.owner)?;
        if let Some(most) = run.open_max {
            let count =
                "SELECT count(*) FROM runs WHERE owner = ?1 AND state != 'ended' AND counts = 1";
            let mut count = self.file.connection.prepare_cached(count)?;
            let open: i64 = count.query_row([owner], |row| row.get(0))?;
            if open.unsigned_abs() >= most {
                return Err(StoreError::Full(most, "runs"));
            }
        }
        let insert =
            "INSERT INTO runs (id, owner, agent, state, created, seq, counts, until, fence)
            VALUES (?1, ?2, ?3, 'running', ?4, 0, ?5, ?6, ?7)";
        let counts = i64::from(run.open_max.is_some());
        let (now, until) = (stored(run.now), stored(run.until));
        let fence = i64::from(run.until > 0);
        let row = params![run.id, owner, run.agent, now, counts, until, fence];
        self.file.connection.prepare_cached(insert)?.execute(row)?;
        let number = self.file.connection.last_insert_rowid();
        self.write((number, owner, &run.id), 0, &[(run.now, run.began.clone())])?;
        Ok(true)
    }

    /// Writes events behind the event `seq`; returns them.
    fn write(
        &mut self,
        (number, owner, id): (i64, i64, &str),
        seq: u64,
        events: &[(u64, RunEvent)],
    ) -> Result<Vec<Event>> {
        let mut written = Vec::with_capacity(events.len());
        let mut ended = None;
        for ((at, what), seq) in events.iter().zip(seq + 1..) {
            let data = self
                .file
                .seal_value(owner, what, &format!("event/{id}/{seq}"))?;
            let insert = "INSERT INTO events (run, seq, at, data) VALUES (?1, ?2, ?3, ?4)";
            let mut insert = self.file.connection.prepare_cached(insert)?;
            insert.execute(params![number, stored(seq), stored(*at), data])?;
            if matches!(what, RunEvent::Ended { .. }) {
                ended = Some(stored(*at));
            }
            written.push(Event {
                seq,
                at: *at,
                what: what.clone(),
            });
        }
        let last = written.last().map_or(seq, |event| event.seq);
        let update = "UPDATE runs SET seq = ?2, ended = coalesce(ended, ?3),
            state = CASE WHEN ?3 IS NULL THEN state ELSE 'ended' END WHERE number = ?1";
        let mut update = self.file.connection.prepare_cached(update)?;
        update.execute(params![number, stored(last), ended])?;
        Ok(written)
    }

    fn find(&self, owner: &str, id: &str) -> Result<Found> {
        let missing = || StoreError::NotFound("run");
        let owner = self.file.owner(owner)?.ok_or_else(missing)?;
        let find = format!("{RUN} WHERE id = ?1 AND owner = ?2");
        let mut find = self.file.connection.prepare_cached(&find)?;
        let found = find.query_row(params![id, owner], found).optional()?;
        found.ok_or_else(missing)
    }

    /// Returns the run of a lease that has not passed to somebody else.
    fn leased(&self, lease: &Lease) -> Result<Option<Found>> {
        match self.find(&lease.owner, &lease.id) {
            Ok(found) => Ok(Some(found).filter(|found| found.fence == lease.fence)),
            Err(StoreError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn head(&self, owner: &str, id: &str) -> Result<Head> {
        Ok(self.find(owner, id)?.head)
    }

    pub(super) fn events(&mut self, owner: &str, id: &str, after: u64) -> Result<Vec<Event>> {
        let found = self.find(owner, id)?;
        self.behind(&found, after)
    }

    fn behind(&mut self, run: &Found, after: u64) -> Result<Vec<Event>> {
        let rows = {
            let select =
                "SELECT seq, at, data FROM events WHERE run = ?1 AND seq > ?2 ORDER BY seq";
            let mut select = self.file.connection.prepare_cached(select)?;
            let rows = select.query_map(params![run.number, stored(after)], |row| {
                Ok((number(row, 0)?, number(row, 1)?, row.get(2)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<(u64, u64, Vec<u8>)>>>()?
        };
        let events = rows.into_iter().map(|(seq, at, data)| {
            let about = format!("event/{}/{seq}", run.head.id);
            let what = self.file.open_value(run.owner, &data, &about)?;
            Ok(Event { seq, at, what })
        });
        events.collect()
    }

    pub(super) fn runs(&self, owner: &str, page: &PageQuery) -> Result<Page> {
        let empty = Page {
            runs: Vec::new(),
            has_more: false,
        };
        let Some(number) = self.file.owner(owner)? else {
            return match page.after {
                Some(_) => Err(StoreError::NotListed),
                None => Ok(empty),
            };
        };
        let before = match &page.after {
            None => i64::MAX,
            Some(after) => match self.find(owner, after) {
                Ok(found) => found.number,
                Err(StoreError::NotFound(_)) => return Err(StoreError::NotListed),
                Err(error) => return Err(error),
            },
        };
        let select = format!(
            "{RUN} WHERE owner = ?1 AND number < ?2 AND (?3 IS NULL OR agent = ?3) ORDER BY number DESC LIMIT ?4"
        );
        let mut select = self.file.connection.prepare_cached(&select)?;
        let limit = i64::try_from(page.limit).unwrap_or(i64::MAX - 1);
        let rows = select.query_map(params![number, before, page.agent, limit + 1], found)?;
        let mut runs = Vec::new();
        for row in rows {
            runs.push(row?.head);
        }
        let has_more = runs.len() > page.limit;
        runs.truncate(page.limit);
        Ok(Page { runs, has_more })
    }

    pub(super) fn claim(&self, most: usize, now: u64, until: u64) -> Result<Vec<Lease>> {
        let claim = "UPDATE runs SET fence = fence + 1, until = ?3 WHERE number IN (
                SELECT number FROM runs WHERE state = 'running' AND until <= ?1 ORDER BY counts, until, number LIMIT ?2)
            RETURNING id, (SELECT name FROM owners WHERE number = owner), fence";
        let mut claim = self.file.connection.prepare_cached(claim)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = claim.query_map(params![stored(now), most, stored(until)], |row| {
            let (id, owner): (String, String) = (row.get(0)?, row.get(1)?);
            Ok(Lease {
                id: id.into(),
                owner: owner.into(),
                fence: number(row, 2)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub(super) fn append(
        &mut self,
        lease: &Lease,
        known: u64,
        events: &[(u64, RunEvent)],
    ) -> Result<Appended> {
        let Some(run) = self.leased(lease)? else {
            return Ok(Appended::Lost);
        };
        let mut all = if run.head.seq > known {
            self.behind(&run, known)?
        } else {
            Vec::new()
        };
        if !events.is_empty() {
            let place = (run.number, run.owner, &*run.head.id);
            all.extend(self.write(place, run.head.seq, events)?);
        }
        Ok(Appended::Done(all))
    }

    pub(super) fn add(
        &mut self,
        (owner, id): (&str, &str),
        known: u64,
        event: &(u64, RunEvent),
    ) -> Result<bool> {
        let run = self.find(owner, id)?;
        if run.head.seq != known {
            return Ok(false);
        }
        let wake =
            "UPDATE runs SET state = 'running', until = 0 WHERE number = ?1 AND state = 'waiting'";
        self.file
            .connection
            .prepare_cached(wake)?
            .execute([run.number])?;
        let place = (run.number, run.owner, id);
        self.write(place, known, std::slice::from_ref(event))?;
        Ok(true)
    }

    pub(super) fn renew(&self, leases: &[Lease], until: u64) -> Result<Vec<Renewed>> {
        let update = "UPDATE runs SET until = ?3 WHERE id = ?1 AND fence = ?2 RETURNING seq";
        let mut update = self.file.connection.prepare_cached(update)?;
        let renewed = leases.iter().map(|lease| {
            let row = params![&*lease.id, stored(lease.fence), stored(until)];
            let seq = update.query_row(row, |row| number(row, 0)).optional()?;
            Ok(seq.map_or(Renewed::Lost, Renewed::Held))
        });
        renewed.collect()
    }

    pub(super) fn release(&self, lease: &Lease, known: u64, waits: bool) -> Result<bool> {
        let Some(run) = self.leased(lease)? else {
            return Ok(true);
        };
        if run.head.seq != known {
            return Ok(false);
        }
        let update = "UPDATE runs SET until = 0, fence = fence + 1,
            state = CASE WHEN ?2 AND state = 'running' THEN 'waiting' ELSE state END WHERE number = ?1";
        let mut update = self.file.connection.prepare_cached(update)?;
        update.execute(params![run.number, waits])?;
        Ok(true)
    }

    pub(super) fn put_agent(&mut self, owner: &str, spec: &AgentSpec, most: u64) -> Result<bool> {
        let owner = self.file.owner_or_new(owner)?;
        let is_there = "SELECT
            (SELECT count(*) FROM agents WHERE owner = ?1 AND name = ?2), (SELECT count(*) FROM agents WHERE owner = ?1)";
        let (same, all) = self
            .file
            .connection
            .prepare_cached(is_there)?
            .query_row(params![owner, spec.name], |row| {
                Ok((number(row, 0)?, number(row, 1)?))
            })?;
        if same == 0 && all >= most {
            return Err(StoreError::Full(most, "agents"));
        }
        let sealed = self
            .file
            .seal_value(owner, spec, &format!("agent/{}", spec.name))?;
        let put = "INSERT INTO agents (owner, name, spec) VALUES (?1, ?2, ?3)
            ON CONFLICT (owner, name) DO UPDATE SET spec = excluded.spec";
        self.file
            .connection
            .prepare_cached(put)?
            .execute(params![owner, spec.name, sealed])?;
        Ok(same == 0)
    }

    pub(super) fn agents(&mut self, owner: &str) -> Result<Vec<AgentSpec>> {
        let Some(owner) = self.file.owner(owner)? else {
            return Ok(Vec::new());
        };
        let rows = {
            let select = "SELECT name, spec FROM agents WHERE owner = ?1 ORDER BY name";
            let mut select = self.file.connection.prepare_cached(select)?;
            let rows = select.query_map([owner], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<(String, Vec<u8>)>>>()?
        };
        let specs = rows
            .into_iter()
            .map(|(name, data)| self.file.open_value(owner, &data, &format!("agent/{name}")));
        Ok(specs.collect::<std::result::Result<_, kebne_file::FileError>>()?)
    }

    pub(super) fn agent(&mut self, owner: &str, name: &str) -> Result<Option<AgentSpec>> {
        let Some(owner) = self.file.owner(owner)? else {
            return Ok(None);
        };
        let find = "SELECT spec FROM agents WHERE owner = ?1 AND name = ?2";
        let data: Option<Vec<u8>> = self
            .file
            .connection
            .prepare_cached(find)?
            .query_row(params![owner, name], |row| row.get(0))
            .optional()?;
        let about = format!("agent/{name}");
        let spec = data.map(|data| self.file.open_value(owner, &data, &about));
        Ok(spec.transpose()?)
    }

    pub(super) fn remove_agent(&mut self, owner: &str, name: &str) -> Result<bool> {
        let Some(owner) = self.file.owner(owner)? else {
            return Ok(false);
        };
        let remove = "DELETE FROM agents WHERE owner = ?1 AND name = ?2";
        let removed = self.file.connection.execute(remove, params![owner, name])? > 0;
        self.forget_owner(owner)?;
        Ok(removed)
    }

    pub(super) fn totals(&self) -> Result<Totals> {
        let count = "SELECT count(*) FILTER (WHERE state = 'running'), count(*) FILTER (WHERE state = 'waiting'),
            count(*) FILTER (WHERE state = 'ended') FROM runs";
        let mut count = self.file.connection.prepare_cached(count)?;
        Ok(count.query_row([], |row| {
            Ok(Totals {
                running: number(row, 0)?,
                waiting: number(row, 1)?,
                ended: number(row, 2)?,
            })
        })?)
    }
}

fn found(row: &Row<'_>) -> rusqlite::Result<Found> {
    let state: String = row.get(4)?;
    Ok(Found {
        number: row.get(0)?,
        owner: row.get(1)?,
        fence: number(row, 8)?,
        head: Head {
            id: row.get(2)?,
            agent: row.get(3)?,
            state: match state.as_str() {
                "running" => RunState::Running,
                "waiting" => RunState::Waiting,
                _ => RunState::Ended,
            },
            created: number(row, 5)?,
            ended: row.get::<_, Option<i64>>(6)?.map(i64::unsigned_abs),
            seq: number(row, 7)?,
        },
    })
}

/// Returns a number of a row; the store has no negative ones.
pub(super) fn number(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(index).map(i64::unsigned_abs)
}

/// Returns a number as it is stored.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

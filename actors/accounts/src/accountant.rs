//! The actor that writes keys and what they use to the store.
//!
//! It runs on a thread of its own, because a store may block. It writes all that was used since its last write in one
//! transaction: within 100 ms if a budget depends on it, else each second. What it fails to write stays in the ledger and is tried again each second. All state is in [`Accounts`], so a restart loses
//! nothing.
//!
//! If the accounts are shared with other gateways, it renews their blocks and follows the keys of the store (`accountant/shared.rs`).

use std::time::Duration;

use actix::{Actor, ArbiterHandle, Handler, Message};
use kebne_actors::{Context, Props, Strategy};

use crate::{
    Accounts, GroupSettings, SqliteStore, StoredKey,
    sqlite::SqlitePlace,
    store::{AccountStore, KeyStore, NoStore, SharedStore, StoreError},
};

mod shared;

/// The time for which what counts in a budget waits for more. A kill of the process loses what was used in it.
const FLUSH_WITHIN: Duration = Duration::from_millis(100);
/// The time between two writes of what is left over, and of what counts in no budget.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// The first and the longest wait before a restart.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));
/// The number of messages that may wait: one flush, and the changes of administrators.
const MAILBOX: usize = 256;

/// Reads the keys and sums, if that has not been done.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(crate) struct Load;

/// Writes a key.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(crate) struct PutKey(pub(crate) StoredKey);

/// Removes a key.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(crate) struct RemoveKey(pub(crate) String);

/// Writes a group.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(crate) struct PutGroup(pub(crate) GroupSettings);

/// Removes a group.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(crate) struct RemoveGroup(pub(crate) String);

/// Announces all keys to who follows them.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(crate) struct AnnounceKeys;

/// Writes down what was used.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(crate) struct Flush;

/// Something was used that counts in a budget.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FlushSoon;

/// A call waits for a block.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Renew;

/// The leases end: blocks are given back.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(crate) struct Leave;

/// The time to write has come.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
struct Tick;

/// The actor.
pub struct Accountant {
    accounts: Accounts,
    place: SqlitePlace,
    store: Option<Store>,
    /// What is known of a shared store.
    shared: shared::Known,
}

/// An open store.
enum Store {
    /// Of this gateway.
    Own(Box<dyn AccountStore>),
    /// Of several gateways.
    Shared(Box<dyn SharedStore>),
}

impl Store {
    fn keys(&mut self) -> &mut dyn KeyStore {
        match self {
            Self::Own(store) => &mut **store,
            Self::Shared(store) => &mut **store,
        }
    }
}

impl Accountant {
    /// Returns the props of the actor, which restarts without a limit and with a backoff.
    pub(crate) fn props(accounts: Accounts, thread: ArbiterHandle) -> Props<Self> {
        let place = SqlitePlace::new(&accounts.settings().path);
        let create = move || Self {
            accounts: accounts.clone(),
            place: place.clone(),
            store: None,
            shared: shared::Known::default(),
        };
        Props::new(create)
            .supervise(Strategy::restart().with_backoff(BACKOFF.0, BACKOFF.1))
            .mailbox(MAILBOX)
            .on_arbiter(thread)
    }

    /// Does something with the open store. A store that fails is opened again for the next use.
    fn with_store<T>(
        &mut self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let result = self.opened().and_then(work);
        if result.is_err() {
            self.store = None;
        }
        self.accounts.note(result)
    }

    fn opened(&mut self) -> Result<&mut Store, StoreError> {
        if self.store.is_none() {
            let is_file = !self.accounts.settings().path.as_os_str().is_empty();
            let store = if let Some(blocks) = self.accounts.blocks() {
                Store::Shared((blocks.sharing.open)()?)
            } else if is_file {
                Store::Own(Box::new(SqliteStore::open(self.place.clone())?))
            } else {
                Store::Own(Box::new(NoStore))
            };
            self.store = Some(store);
        }
        match &mut self.store {
            Some(store) => Ok(store),
            None => Err(StoreError("it is not open".to_owned())),
        }
    }

    fn load(&mut self) -> Result<(), StoreError> {
        if self.accounts.blocks().is_some() {
            return self.follow_keys();
        }
        if self.accounts.is_loaded() {
            return Ok(());
        }
        let first = self.accounts.first_day();
        let read = |store: &mut Store| match store {
            Store::Own(store) => Ok((store.groups()?, store.keys()?, store.used_since(first)?)),
            Store::Shared(_) => Err(StoreError("it is a shared one".to_owned())),
        };
        let (groups, keys, used) = self.with_store(read)?;
        self.accounts.load(groups, keys, used);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if self.accounts.blocks().is_some() {
            return self.renew(false);
        }
        // Sums are added to those in the store, which must be known first, or they would count twice.
        self.load()?;
        let (unwritten, used) = self.accounts.take_unwritten();
        if used.is_empty() {
            return Ok(());
        }
        self.with_store(|store| match store {
            Store::Own(store) => store.add_used(&used),
            Store::Shared(_) => Err(StoreError("it is a shared one".to_owned())),
        })?;
        self.accounts.written(&unwritten);
        Ok(())
    }
}

impl Actor for Accountant {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let sharing = self.accounts.blocks().map(|blocks| &blocks.sharing);
        let every = sharing.map_or(FLUSH_EVERY, |sharing| sharing.every);
        ctx.start_timer_with_fixed_delay("flush", Tick, every);
    }
}

impl Handler<Load> for Accountant {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, _: Load, _: &mut Context<Self>) -> Self::Result {
        self.load()
    }
}

impl Handler<PutKey> for Accountant {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, PutKey(key): PutKey, _: &mut Context<Self>) -> Self::Result {
        self.load()?;
        self.with_store(|store| store.keys().put_key(&key))?;
        self.accounts.change_keys(|keys| {
            keys.insert(key.id.clone(), key);
        });
        Ok(())
    }
}

impl Handler<RemoveKey> for Accountant {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, RemoveKey(id): RemoveKey, _: &mut Context<Self>) -> Self::Result {
        self.load()?;
        self.with_store(|store| store.keys().remove_key(&id))?;
        self.accounts.change_keys(|keys| {
            keys.remove(&id);
        });
        Ok(())
    }
}

impl Handler<PutGroup> for Accountant {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, PutGroup(group): PutGroup, _: &mut Context<Self>) -> Self::Result {
        self.load()?;
        self.with_store(|store| store.keys().put_group(&group))?;
        self.accounts.change_groups(|groups| {
            groups.insert(group.name.clone(), group);
        });
        Ok(())
    }
}

impl Handler<RemoveGroup> for Accountant {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, RemoveGroup(name): RemoveGroup, _: &mut Context<Self>) -> Self::Result {
        self.load()?;
        self.with_store(|store| store.keys().remove_group(&name))?;
        self.accounts.change_groups(|groups| {
            groups.remove(&name);
        });
        Ok(())
    }
}

impl Handler<AnnounceKeys> for Accountant {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, _: AnnounceKeys, _: &mut Context<Self>) -> Self::Result {
        self.accounts.change_keys(|_| {});
        Ok(())
    }
}

impl Handler<Flush> for Accountant {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, _: Flush, _: &mut Context<Self>) -> Self::Result {
        self.flush()
    }
}

impl Handler<FlushSoon> for Accountant {
    type Result = ();

    fn handle(&mut self, _: FlushSoon, ctx: &mut Context<Self>) {
        ctx.start_timer("soon", Tick, FLUSH_WITHIN);
    }
}

impl Handler<Renew> for Accountant {
    type Result = ();

    fn handle(&mut self, _: Renew, _: &mut Context<Self>) {
        // Those who wait learn of a failure.
        let _tried = self.renew(false);
    }
}

impl Handler<Leave> for Accountant {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, _: Leave, _: &mut Context<Self>) -> Self::Result {
        match self.accounts.blocks() {
            Some(_) => self.renew(true),
            None => self.flush(),
        }
    }
}

impl Handler<Tick> for Accountant {
    type Result = ();

    fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        // A failure is in the state of the store.
        let _tried = match self.accounts.blocks() {
            Some(_) => self.tick(),
            None => self.flush(),
        };
    }
}

impl std::fmt::Debug for Accountant {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Accountant").finish_non_exhaustive()
    }
}

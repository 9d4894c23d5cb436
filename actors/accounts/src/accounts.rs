//! The handle of the accounts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{Actor, ArbiterHandle, Handler};
use kebne_actors::{ActorRef, AskError, Context, Spawn};
use kebne_quota::{
    AccountId, AccountView, Amount, Day, Estimate, Exceeded, Limits, Money, Period, Room, Unwritten,
};

use crate::{
    AccountHealth, AccountsSettings, GroupSettings, Reservation, StoreError, StoredKey,
    accountant::{
        Accountant, AnnounceKeys, Flush, FlushSoon, Leave, Load, PutGroup, PutKey, RemoveGroup,
        RemoveKey,
    },
    book::Book,
    groups::Groups,
    health::Health,
    sharing::{Blocks, Sharing},
    store::Used,
};

mod blocks;

/// The name of the actor.
const NAME: &str = "accountant";
/// The time within which the actor must answer; the store waits half a second for a lock.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the current time, in milliseconds since 1970.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;
/// Called with all keys, by their ids, when they have changed.
type OnKeys = Box<dyn Fn(&BTreeMap<String, StoredKey>) + Send + Sync>;

/// The accounts; clones share them.
#[derive(Clone)]
pub struct Accounts(Arc<Inner>);

struct Inner {
    /// With the groups of the store.
    settings: RwLock<Arc<AccountsSettings>>,
    groups: Mutex<Groups>,
    book: Mutex<Book>,
    keys: Mutex<BTreeMap<String, StoredKey>>,
    on_keys: OnceLock<OnKeys>,
    clock: WallClock,
    health: Health,
    /// `true` while the actor has a message to write down what was used.
    is_flush_due: AtomicBool,
    /// `true` once what earlier processes wrote down was read.
    is_loaded: AtomicBool,
    actor: OnceLock<ActorRef<Accountant>>,
    /// What is known of the store if the accounts are shared with other gateways.
    blocks: Option<Blocks>,
}

/// The reason why a call was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The name of the account that refuses it.
    pub account: Arc<str>,
    /// The limit that it would exceed.
    pub exceeded: Exceeded,
    /// The time after which it would not, if that is known.
    pub retry_after: Option<Duration>,
    /// What is left of the limits per minute.
    pub room: Room,
}

impl Accounts {
    /// Creates accounts that are not written down until [`Accounts::start_under`] is called.
    pub fn new(settings: AccountsSettings, clock: WallClock) -> Self {
        Self::with(settings, clock, None)
    }

    /// Creates accounts that are shared with other gateways once [`Accounts::start_under`] is called. The file of the settings is not
    /// used.
    pub fn shared(settings: AccountsSettings, clock: WallClock, sharing: Sharing) -> Self {
        Self::with(settings, clock, Some(sharing))
    }

    fn with(settings: AccountsSettings, clock: WallClock, sharing: Option<Sharing>) -> Self {
        let terms = sharing.as_ref().map(Sharing::terms);
        let accounts = Self(Arc::new(Inner {
            book: Mutex::new(terms.map_or_else(Book::default, Book::shared)),
            blocks: sharing.map(Blocks::new),
            keys: Mutex::default(),
            on_keys: OnceLock::new(),
            clock,
            health: Health::default(),
            is_flush_due: AtomicBool::new(false),
            is_loaded: AtomicBool::new(false),
            actor: OnceLock::new(),
            groups: Mutex::new(Groups::new(&settings)),
            settings: RwLock::new(Arc::new(settings)),
        }));
        accounts.open_groups();
        accounts
    }

    /// Changes the groups and the number of keys. Groups that stay keep what they have used; those that are gone are
    /// closed. The keys of a group follow with [`Accounts::announce_keys`]. The file stays the one of the start, and the groups in
    /// it stay too.
    pub fn change(&self, settings: AccountsSettings) {
        let settings = self.groups().follow(settings);
        self.use_settings(settings);
    }

    /// Uses settings with the groups of the store.
    fn use_settings(&self, settings: AccountsSettings) {
        let settings = Arc::new(settings);
        let before = {
            let current = self.0.settings.write();
            let mut current = current.unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Arc::clone(&settings))
        };
        for group in &before.groups {
            if !settings.groups.iter().any(|kept| kept.name == group.name) {
                self.close(&group_account(&group.name));
            }
        }
        self.open_groups();
    }

    /// Opens the accounts of the groups, or changes their limits.
    fn open_groups(&self) {
        let now = self.now();
        for group in &self.settings().groups {
            let name = group_account(&group.name);
            self.book().open(&name, &group.limits, now);
        }
    }

    /// Starts the actor as a child of `parent` on `thread`, which a store may block, and reads the keys and sums. A store that cannot be read is tried again each
    /// second; the service starts without what it holds.
    ///
    /// # Errors
    /// Returns an error if `parent` has stopped or does not answer.
    pub async fn start_under<P>(
        &self,
        parent: &ActorRef<P>,
        thread: ArbiterHandle,
    ) -> Result<(), AskError>
    where
        P: Actor<Context = Context<P>> + Handler<Spawn>,
    {
        let actor = Spawn::ask(parent, Accountant::props(self.clone(), thread), NAME).await?;
        let actor = self.0.actor.get_or_init(|| actor);
        // Its result is the state of the store.
        let _loaded = actor.ask(Load, ANSWER_TIMEOUT).await;
        Ok(())
    }

    /// Returns the settings.
    pub fn settings(&self) -> Arc<AccountsSettings> {
        let settings = self.0.settings.read();
        Arc::clone(&settings.unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns `true` once the actor runs.
    pub fn is_started(&self) -> bool {
        self.0.actor.get().is_some()
    }

    /// Has the recipient of [`Accounts::on_keys`] called with all keys, after the changes of keys that were begun before.
    ///
    /// # Errors
    /// Returns an error if the actor was not started or does not answer.
    pub async fn announce_keys(&self) -> Result<(), StoreError> {
        self.ask(AnnounceKeys).await
    }

    /// Calls `on_keys` with all keys now, and each time that they change. Only the first call has an effect.
    pub fn on_keys(&self, on_keys: impl Fn(&BTreeMap<String, StoredKey>) + Send + Sync + 'static) {
        let keys = self.keys();
        let on_keys = self.0.on_keys.get_or_init(|| Box::new(on_keys));
        on_keys(&keys);
    }

    /// Opens the account of a key, or changes its limits. Returns it and the groups above it, the nearest first.
    pub fn open(&self, account: &str, group: Option<&str>, limits: &Limits) -> Arc<[AccountId]> {
        let (now, settings) = (self.now(), self.settings());
        let mut book = self.book();
        let mut path = vec![book.open(account, limits, now)];
        for group in group.map_or_else(Vec::new, |group| settings.chain(group)) {
            path.push(book.open(&group_account(&group.name), &group.limits, now));
        }
        path.into()
    }

    /// Closes the account of a key that was removed. What its running calls use still counts in its groups.
    pub fn close(&self, account: &str) {
        self.book().close(account);
    }

    /// Returns `true` if the calls of an account need their tokens to be known, because of its own limits or those of a group.
    pub fn need_tokens(&self, group: Option<&str>, limits: &Limits) -> bool {
        let settings = self.settings();
        let groups = group.map_or_else(Vec::new, |group| settings.chain(group));
        limits.need_tokens() || groups.iter().any(|group| group.limits.need_tokens())
    }

    /// Reserves the most that a call may use, without waiting: see [`Accounts::admit`] for accounts that may be shared. A call that does
    /// not fit into the blocks of shared accounts uses a fair part of what was last known to be free.
    ///
    /// # Errors
    /// Returns the limit that the call would exceed.
    pub fn reserve(
        &self,
        path: &Arc<[AccountId]>,
        estimate: Estimate,
    ) -> Result<Reservation, Denied> {
        let now = self.now();
        let mut book = self.book();
        match book.ledger.reserve(path, &estimate, now) {
            Ok(()) => {
                let room = book.ledger.room(path);
                drop(book);
                let path = Arc::clone(path);
                Ok(Reservation::new(self.clone(), path, estimate, room))
            }
            Err(refusal) => Err(Denied {
                account: book.name(refusal.account),
                exceeded: refusal.exceeded,
                retry_after: refusal.retry_after,
                room: book.ledger.room(path),
            }),
        }
    }

    /// Returns the limit that a call would exceed, if there is one. Nothing is reserved.
    pub fn denies(&self, path: &[AccountId], estimate: Estimate) -> Option<Denied> {
        let now = self.now();
        let mut book = self.book();
        let refusal = book.ledger.refusal(path, &estimate, now)?;
        Some(Denied {
            account: book.name(refusal.account),
            exceeded: refusal.exceeded,
            retry_after: refusal.retry_after,
            room: book.ledger.room(path),
        })
    }

    /// Adds what was used for a call beside what it has reserved, such as the check of its text by another model.
    pub fn charge(&self, path: &[AccountId], tokens: u64, money: Money) {
        let used = Amount {
            calls: 0,
            tokens,
            money,
        };
        let now = self.now();
        let is_bounded = self.book().ledger.charge(path, used, now);
        self.flush_soon(is_bounded);
    }

    pub(crate) fn settle(&self, path: &[AccountId], estimate: &Estimate, used: Amount) {
        let now = self.now();
        let is_bounded = self.book().ledger.settle(path, estimate, used, now);
        self.flush_soon(is_bounded);
    }

    /// Has what was used written down soon if a budget depends on it.
    fn flush_soon(&self, is_bounded: bool) {
        // Shared accounts report at their next renewal.
        if is_bounded
            && self.0.blocks.is_none()
            && let Some(actor) = self.0.actor.get()
            && !self.0.is_flush_due.swap(true, SeqCst)
        {
            // If it is lost, the actor's timer does the same.
            actor.post(FlushSoon);
        }
    }

    /// Returns an account at this moment.
    pub fn view(&self, account: &str) -> Option<AccountView> {
        let now = self.now();
        self.book().view(account, now)
    }

    /// Returns the used or reserved part of the fullest budget of accounts, in thousandths; `None` if they have no budgets.
    pub fn fullest(&self, path: &[AccountId]) -> Option<u64> {
        let now = self.now();
        let mut book = self.book();
        let views = path.iter().filter_map(|id| book.ledger.view(*id, now));
        let budgets = views.flat_map(|view| view.budgets);
        budgets.map(|budget| budget.used_permille).max()
    }

    /// Returns all accounts that have a budget, at this moment. Calls wait for one account at most.
    pub fn views(&self) -> Vec<(Arc<str>, AccountView)> {
        let now = self.now();
        let accounts = self.book().with_budgets();
        let views = accounts.into_iter().filter_map(|(name, id)| {
            let view = self.book().ledger.view(id, now)?;
            Some((name, view))
        });
        views.collect()
    }

    /// Returns the state of the store.
    pub fn health(&self) -> AccountHealth {
        AccountHealth {
            shared: self.shared_health(),
            ..self.0.health.read()
        }
    }

    /// Returns the keys that were created while the service ran, by their ids.
    pub fn keys(&self) -> BTreeMap<String, StoredKey> {
        let keys = self.0.keys.lock();
        keys.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes a key, new or changed. It is in effect when this returns.
    ///
    /// # Errors
    /// Returns an error if the store did not write it; then nothing has changed.
    pub async fn put_key(&self, key: StoredKey) -> Result<(), StoreError> {
        self.ask(PutKey(key)).await
    }

    /// Removes a key. It is not accepted any more when this returns.
    ///
    /// # Errors
    /// Returns an error if the store did not remove it; then nothing has changed.
    pub async fn remove_key(&self, id: &str) -> Result<(), StoreError> {
        self.ask(RemoveKey(id.to_owned())).await
    }

    /// Returns the groups that keys and groups of the store name and that do not exist: their limits do not hold. A reload or a
    /// restart with other settings can remove them.
    pub fn missing_groups(&self) -> Vec<String> {
        let (settings, keys) = (self.settings(), self.keys());
        let stored = self.stored_groups();
        let of_keys = keys.values().filter_map(|key| key.spec.group.clone());
        let parents = stored.into_iter().filter_map(|group| group.parent);
        let is_known = |name: &String| settings.groups.iter().any(|group| group.name == *name);
        let missing: BTreeSet<String> = of_keys
            .chain(parents)
            .filter(|name| !is_known(name))
            .collect();
        missing.into_iter().collect()
    }

    /// Returns the groups that were created while the service ran.
    pub fn stored_groups(&self) -> Vec<GroupSettings> {
        self.groups().stored()
    }

    /// Writes a group, new or changed. It is in effect when this returns. A group of the settings with the same name takes its
    /// place.
    ///
    /// # Errors
    /// Returns an error if the store did not write it; then nothing has changed.
    pub async fn put_group(&self, group: GroupSettings) -> Result<(), StoreError> {
        self.ask(PutGroup(group)).await
    }

    /// Removes a group. Its keys and groups count in it no more when this returns.
    ///
    /// # Errors
    /// Returns an error if the store did not remove it; then nothing has changed.
    pub async fn remove_group(&self, name: &str) -> Result<(), StoreError> {
        self.ask(RemoveGroup(name.to_owned())).await
    }

    /// Writes down what was used until now.
    ///
    /// # Errors
    /// Returns an error if the store did not write it; it is tried again.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.ask(Flush).await
    }

    /// Writes down what was used until now, and ends the leases of shared accounts, so that other gateways need not wait for their end.
    ///
    /// # Errors
    /// Returns an error if the store did not do it; then the leases end by themselves.
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.ask(Leave).await
    }

    async fn ask<M>(&self, message: M) -> Result<(), StoreError>
    where
        M: actix::Message<Result = Result<(), StoreError>> + Send + 'static,
        Accountant: Handler<M>,
    {
        let Some(actor) = self.0.actor.get() else {
            return Err(StoreError("it was not started".to_owned()));
        };
        let answer = actor.ask(message, ANSWER_TIMEOUT).await;
        answer.unwrap_or_else(|error| Err(StoreError(error.to_string())))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.0.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time in seconds since 1970.
    pub fn unix_seconds(&self) -> u64 {
        self.now() / 1000
    }

    /// Returns the time, which is the store's if it is shared: the clocks of gateways may differ.
    fn now(&self) -> u64 {
        let now = (self.0.clock)();
        let blocks = self.0.blocks.as_ref();
        blocks.map_or(now, |blocks| blocks.store_time(now))
    }
}

/// What the actor does with the accounts.
impl Accounts {
    pub(crate) fn note<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.0.health.note(&result);
        result
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.0.is_loaded.load(SeqCst)
    }

    /// Returns the first day of what counts now.
    pub(crate) fn first_day(&self) -> Day {
        Day::of(self.now() / 1000).start(Period::Month)
    }

    /// Takes what earlier processes wrote down. Only the first call has an effect.
    pub(crate) fn load(&self, groups: Vec<GroupSettings>, keys: Vec<StoredKey>, used: Vec<Used>) {
        if self.0.is_loaded.swap(true, SeqCst) {
            return;
        }
        self.book().add_past(used);
        self.change_groups(|known| {
            known.extend(groups.into_iter().map(|group| (group.name.clone(), group)));
        });
        self.change_keys(|known| known.extend(keys.into_iter().map(|key| (key.id.clone(), key))));
    }

    pub(crate) fn change_keys(&self, change: impl FnOnce(&mut BTreeMap<String, StoredKey>)) {
        let keys = {
            let mut keys = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut keys);
            keys.clone()
        };
        if let Some(on_keys) = self.0.on_keys.get() {
            on_keys(&keys);
        }
    }

    pub(crate) fn change_groups(&self, change: impl FnOnce(&mut BTreeMap<String, GroupSettings>)) {
        let settings = self.groups().change(change);
        self.use_settings(settings);
        // The keys of a group have other accounts now.
        self.change_keys(|_| {});
    }

    /// Returns what is not yet written down. What is used from now on asks for another flush.
    pub(crate) fn take_unwritten(&self) -> (Unwritten, Vec<Used>) {
        self.0.is_flush_due.store(false, SeqCst);
        self.book().unwritten()
    }

    pub(crate) fn written(&self, written: &Unwritten) {
        self.book().written(written);
    }
}

/// Returns the name of the account of a group.
fn group_account(group: &str) -> String {
    format!("group/{group}")
}

impl fmt::Debug for Accounts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Accounts").finish_non_exhaustive()
    }
}

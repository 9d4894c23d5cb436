//! The contracts of stores of accounts: suites that run against any implementation.
//!
//! Each store given is another connection to the same store. Cases use keys and accounts of their own, below a prefix.

use std::{thread, time::Duration};

use kebne_quota::{Amount, Ask, Budget, Day, Grant, Kind, Limits, Money, Period, Sums, Units};

use crate::{
    GroupSettings, KeySpec, StoredKey,
    store::{BlockStore, KeyStore, QuotaStore, SharedStore, StoreError},
};

/// The time to live of the leases of the blocks that are checked.
pub const TTL: Duration = Duration::from_millis(600);

/// What was not kept.
pub type Broken = String;

fn require(holds: bool, message: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(message()) }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is used where results are mapped"
)]
fn failed(error: StoreError) -> Broken {
    error.to_string()
}

/// Returns a key that uses every field.
fn key(id: &str, priority: u8) -> StoredKey {
    StoredKey {
        id: id.to_owned(),
        hash: "0f".repeat(32),
        old: Some(crate::OldHash {
            hash: "1e".repeat(32),
            until: 1_800_000_000,
        }),
        created_at: 1_773_576_000,
        spec: KeySpec {
            name: format!("näme \"{id}\"\n"),
            group: Some("team".to_owned()),
            priority,
            limits: limits(),
            ..KeySpec::default()
        },
    }
}

fn group(name: &str, requests: u32) -> GroupSettings {
    GroupSettings {
        name: name.to_owned(),
        limits: Limits {
            requests_per_minute: Some(requests),
            ..Limits::default()
        },
        ..GroupSettings::default()
    }
}

/// Checks a store of keys and groups.
///
/// # Errors
/// Returns what was not kept.
pub fn check_keys<S: KeyStore + ?Sized>(one: &mut S, other: &mut S) -> Result<(), Broken> {
    let before = one.revision().map_err(failed)?;
    one.put_key(&key("a", 1)).map_err(failed)?;
    one.put_key(&key("b", 2)).map_err(failed)?;
    other.put_key(&key("a", 3)).map_err(failed)?;
    one.put_group(&group("team", 1)).map_err(failed)?;
    other.put_group(&group("team", 2)).map_err(failed)?;
    one.put_group(&group("gone", 3)).map_err(failed)?;
    other.remove_group("gone").map_err(failed)?;
    other.remove_key("b").map_err(failed)?;
    other.remove_key("was never there").map_err(failed)?;
    for store in [&mut *one, &mut *other] {
        let (keys, groups) = (
            store.keys().map_err(failed)?,
            store.groups().map_err(failed)?,
        );
        require(keys == [key("a", 3)], || format!("keys: {keys:?}"))?;
        require(groups == [group("team", 2)], || {
            format!("groups: {groups:?}")
        })?;
    }
    let revisions = [
        one.revision().map_err(failed)?,
        other.revision().map_err(failed)?,
    ];
    require(
        revisions[0] == revisions[1] && revisions[0] >= before + 8,
        || format!("the revision was {before} and is {revisions:?}"),
    )?;
    one.remove_key("a").map_err(failed)?;
    one.remove_group("team").map_err(failed)?;
    let found = other.revision().map_err(failed)?;
    require(found > revisions[0], || "a revision that stays".to_owned())?;
    let left = other.keys().map_err(failed)?.len() + other.groups().map_err(failed)?.len();
    require(left == 0, || format!("{left} records are left"))
}

/// Checks a store of sums of one gateway. The days must not be in it yet.
///
/// # Errors
/// Returns what was not kept.
pub fn check_sums(store: &mut dyn QuotaStore) -> Result<(), Broken> {
    let used = |account: &str, day, tokens| {
        let amount = Amount {
            calls: 1,
            tokens,
            money: Money::from_nano(u64::MAX / 16 + tokens),
        };
        (account.to_owned(), Day(day), amount)
    };
    store
        .add_used(&[used("a", 20_000, 1), used("b", 20_000, 2)])
        .map_err(failed)?;
    store.add_used(&[]).map_err(failed)?;
    store
        .add_used(&[used("a", 20_000, 4), used("a", 20_001, 8)])
        .map_err(failed)?;
    let mut found = store.used_since(Day(20_000)).map_err(failed)?;
    found.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
    let (_, day, first) = used("a", 20_000, 1);
    let sum = first.plus(used("a", 20_000, 4).2);
    let expected = [
        ("a".to_owned(), day, sum),
        used("a", 20_001, 8),
        used("b", 20_000, 2),
    ];
    require(found == expected, || format!("{found:?}"))?;
    let later = store.used_since(Day(20_001)).map_err(failed)?;
    require(later == [used("a", 20_001, 8)], || {
        format!("later: {later:?}")
    })
}

/// One gateway of a case, and its account.
struct Gateway<'a, S: ?Sized> {
    store: &'a mut S,
    name: &'static str,
    account: String,
    ask: Ask,
    last: Grant,
}

fn limits() -> Limits {
    Limits {
        requests_per_minute: Some(600),
        tokens_per_minute: Some(60_000),
        requests_at_once: Some(20),
        budgets: vec![Budget {
            tokens: Some(10_000),
            money: Some(Money::from_nano(5_000_000_000_000)),
            per: Period::Month,
        }],
    }
}

fn units(amounts: [(Kind, i64); 5]) -> Units {
    let mut units = Units::default();
    for (kind, amount) in amounts {
        units.set(kind, amount);
    }
    units
}

fn all(amount: i64) -> Units {
    units(Kind::ALL.map(|kind| (kind, amount)))
}

impl<'a, S: BlockStore + ?Sized> Gateway<'a, S> {
    fn new(store: &'a mut S, name: &'static str, account: &str) -> Self {
        let ask = Ask {
            sequence: 1,
            limits: limits(),
            ..Ask::default()
        };
        Self {
            store,
            name,
            account: account.to_owned(),
            ask,
            last: Grant::default(),
        }
    }

    /// Sends the request as it is.
    fn send(&mut self) -> Result<&Grant, Broken> {
        let asks = [(self.account.clone(), self.ask.clone())];
        let mut grants = self.store.settle(self.name, &asks, TTL).map_err(failed)?;
        self.last = grants.pop().ok_or("no grant")?;
        require(grants.is_empty(), || "more than one grant".to_owned())?;
        Ok(&self.last)
    }

    /// Sends a new report.
    fn report(&mut self, tokens: u64, wants: i64) -> Result<&Grant, Broken> {
        let used = Amount {
            calls: 1,
            tokens,
            money: Money::from_nano(tokens),
        };
        // The day of a clock that is ahead counts as the store's.
        self.ask.used = vec![(Day(u32::MAX), used)];
        self.ask.spent = Units::of_used(used);
        self.ask.spent.set(Kind::Requests, 1);
        self.ask.spent.set(Kind::TokensPerMinute, 0);
        self.ask.wants = all(wants);
        let sequence = self.ask.sequence;
        let granted = self.send()?.sequence;
        require(granted == sequence, || {
            format!("report {sequence} was granted as {granted}")
        })?;
        (self.ask.acked, self.ask.sequence) = (sequence, sequence + 1);
        (self.ask.known, self.ask.fence) = (self.last.sums, self.last.fence);
        Ok(&self.last)
    }

    fn holds(&self, kind: Kind) -> i64 {
        self.last.holds.get(kind)
    }
}

/// Checks a store of blocks. Its accounts below `prefix` must not exist yet.
///
/// # Errors
/// Returns the case that failed and what was not kept.
pub fn check_blocks<S: SharedStore + ?Sized>(
    one: &mut S,
    other: &mut S,
    prefix: &str,
) -> Result<(), Broken> {
    let named = |name: &'static str| move |broken: Broken| format!("{name}: {broken}");
    let account = |name: &str| format!("{prefix}/{name}");
    limits_hold_together(one, other, &account("limits")).map_err(named("limits_hold_together"))?;
    reports_count_once(one, other, &account("once")).map_err(named("reports_count_once"))?;
    blocks_return(one, other, &account("return")).map_err(named("blocks_return"))?;
    lost_sums_come_back(one, &account("lost")).map_err(named("lost_sums_come_back"))?;
    many_accounts(one, other, prefix).map_err(named("many_accounts"))?;
    lost_keys_come_back(one, other).map_err(named("lost_keys_come_back"))
}

/// Blocks and what was used never exceed a limit, and both gateways get something.
fn limits_hold_together<S: BlockStore + ?Sized>(
    one: &mut S,
    other: &mut S,
    account: &str,
) -> Result<(), Broken> {
    let mut gateways = [
        Gateway::new(one, "g1", account),
        Gateway::new(other, "g2", account),
    ];
    for _ in 0..6 {
        for gateway in &mut gateways {
            gateway.report(100, 1_000_000)?;
        }
        let [first, second] = &gateways;
        let sum = |kind| first.holds(kind) + second.holds(kind);
        let used = i64::try_from(second.last.sums.month.tokens).unwrap_or(i64::MAX);
        require(sum(Kind::Tokens) + used <= 10_000, || {
            format!("{} tokens with {used} used", sum(Kind::Tokens))
        })?;
        // What has come back during the case is a few units.
        require(sum(Kind::Requests) <= 620, || {
            format!("{} calls", sum(Kind::Requests))
        })?;
        require(sum(Kind::AtOnce) <= 20, || {
            format!("{} at once", sum(Kind::AtOnce))
        })?;
    }
    let [first, second] = &gateways;
    for kind in Kind::ALL {
        let (one, other) = (first.holds(kind), second.holds(kind));
        require(one > 0 && other > 0, || {
            format!("{kind:?}: {one} and {other}")
        })?;
    }
    let (one, other) = (first.holds(Kind::AtOnce), second.holds(Kind::AtOnce));
    require((one, other) == (10, 10), || {
        format!("at once: {one} and {other}")
    })?;
    require(second.last.gateways == 2, || {
        format!("{} gateways", second.last.gateways)
    })
}

/// A report that is sent again counts once, also when it arrives after the next one; all see the sums.
fn reports_count_once<S: BlockStore + ?Sized>(
    one: &mut S,
    other: &mut S,
    account: &str,
) -> Result<(), Broken> {
    let mut first = Gateway::new(one, "g1", account);
    let mut second = Gateway::new(other, "g2", account);
    first.report(10, 50)?;
    let late = first.ask.clone();
    first.ask.sequence -= 1;
    first.ask.acked -= 1;
    first.send()?;
    first.ask = late.clone();
    first.report(20, 50)?;
    let next = first.ask.clone();
    first.ask = late;
    first.send()?;
    first.ask = next;
    second.report(30, 50)?;
    let sums = second.last.sums;
    require(sums.month.tokens == 60 && sums.month.calls == 3, || {
        format!("{sums:?}")
    })?;
    require(sums.today == sums.month, || format!("{sums:?}"))?;
    let clocks = [first.last.now, second.last.now];
    require(
        clocks[1] >= clocks[0] && clocks[1] - clocks[0] < 60_000,
        || format!("{clocks:?}"),
    )
}

/// The block of a gateway that leaves or is silent goes to others; what it reports later counts.
fn blocks_return<S: BlockStore + ?Sized>(
    one: &mut S,
    other: &mut S,
    account: &str,
) -> Result<(), Broken> {
    let mut first = Gateway::new(one, "g1", account);
    let mut second = Gateway::new(other, "g2", account);
    first.report(0, 8_000)?;
    let fence = first.last.fence;
    second.report(0, 8_000)?;
    let held = second.holds(Kind::Tokens);
    require(held <= 2_000, || {
        format!("{held} beside the block of the first")
    })?;
    thread::sleep(TTL + TTL / 4);
    second.report(0, 8_000)?;
    let held = second.holds(Kind::Tokens);
    require(held == 8_000, || {
        format!("{held} after the silence of the first")
    })?;
    require(second.last.gateways == 1, || {
        format!("{} gateways", second.last.gateways)
    })?;
    first.report(500, 8_000)?;
    let (month, held) = (first.last.sums.month.tokens, first.holds(Kind::Tokens));
    require(month == 500, || format!("the late report: {month}"))?;
    require(held <= 1_500, || {
        format!("{held} beside the block of the second")
    })?;
    require(first.last.fence > fence, || {
        "a token that does not grow".to_owned()
    })?;
    second.ask.leaves = true;
    second.report(0, 0)?;
    first.report(0, 8_000)?;
    let held = first.holds(Kind::Tokens);
    require(held == 8_000, || {
        format!("{held} after the second has left")
    })
}

/// A gateway whose reports the store does not know any more brings the sums back.
fn lost_sums_come_back<S: BlockStore + ?Sized>(one: &mut S, account: &str) -> Result<(), Broken> {
    let mut first = Gateway::new(one, "g1", account);
    let day = first.report(1, 10)?.sums.day;
    let account = format!("{account}/again");
    let known = Amount {
        calls: 7,
        tokens: 700,
        ..Amount::default()
    };
    first.account.clone_from(&account);
    first.ask.known = Sums {
        day,
        today: known,
        month: known,
    };
    let sums = first.report(5, 10)?.sums;
    require(sums.month.tokens == 705 && sums.today.calls == 8, || {
        format!("{sums:?}")
    })?;
    let sums = first.report(5, 10)?.sums;
    require(sums.month.tokens == 710, || format!("{sums:?}"))
}

/// Many accounts in one request, from two gateways at once.
fn many_accounts<S: BlockStore + ?Sized>(
    one: &mut S,
    other: &mut S,
    prefix: &str,
) -> Result<(), Broken> {
    let work = |store: &mut S, name: &'static str| -> Result<Vec<Grant>, Broken> {
        let mut last = Vec::new();
        for sequence in 1..=20 {
            let used = Amount {
                calls: 1,
                ..Amount::default()
            };
            let asks: Vec<_> = (0..30)
                .map(|index| {
                    let ask = Ask {
                        sequence,
                        acked: sequence - 1,
                        used: vec![(Day(u32::MAX), used)],
                        ..Ask::default()
                    };
                    (format!("{prefix}/many/{index}"), ask)
                })
                .collect();
            last = store.settle(name, &asks, TTL).map_err(failed)?;
        }
        Ok(last)
    };
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| work(one, "g1"));
        let second = work(other, "g2");
        (first.join(), second)
    });
    let first = first.map_err(|_| "a panic".to_owned())??;
    let last = first.iter().zip(second?);
    for (one, other) in last {
        let calls = one.sums.month.calls.max(other.sums.month.calls);
        require(calls == 40, || format!("{calls} calls of 40"))?;
    }
    Ok(())
}

/// A store whose keys are older than those that a gateway knows takes them back; a newer one does not.
fn lost_keys_come_back<S: SharedStore + ?Sized>(one: &mut S, other: &mut S) -> Result<(), Broken> {
    one.put_key(&key("revoked", 1)).map_err(failed)?;
    let revision = one.revision().map_err(failed)?;
    one.restore(revision, &[key("x", 1)], &[]).map_err(failed)?;
    let keys = other.keys().map_err(failed)?;
    require(keys == [key("revoked", 1)], || {
        format!("not lost, yet {keys:?}")
    })?;
    one.restore(revision + 5, &[key("x", 1)], &[group("team", 1)])
        .map_err(failed)?;
    let (keys, groups) = (
        other.keys().map_err(failed)?,
        other.groups().map_err(failed)?,
    );
    require(
        keys == [key("x", 1)] && groups == [group("team", 1)],
        || format!("{keys:?}"),
    )?;
    let found = other.revision().map_err(failed)?;
    require(found > revision + 5, || format!("the revision is {found}"))?;
    one.remove_key("x").map_err(failed)?;
    one.remove_group("team").map_err(failed)
}

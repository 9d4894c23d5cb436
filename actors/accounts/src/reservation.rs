//! What a call has reserved, until it has ended.

use std::sync::Arc;

use kebne_quota::{AccountId, Amount, Estimate, Money, Room};

use crate::Accounts;

/// A reservation. It is settled exactly once: with what the call has used, or with nothing when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    accounts: Accounts,
    path: Arc<[AccountId]>,
    estimate: Estimate,
    room: Room,
    is_settled: bool,
}

impl Reservation {
    pub(crate) fn new(
        accounts: Accounts,
        path: Arc<[AccountId]>,
        estimate: Estimate,
        room: Room,
    ) -> Self {
        Self {
            accounts,
            path,
            estimate,
            room,
            is_settled: false,
        }
    }

    /// Returns what was left of the limits per minute when it was made.
    pub fn room(&self) -> Room {
        self.room
    }

    /// Replaces the reservation by what the call has used.
    pub fn settle(mut self, tokens: u64, money: Money) {
        self.end(Amount {
            calls: 1,
            tokens,
            money,
        });
    }

    /// Takes the reservation back: the call makes another one. It counts as a call once.
    pub fn withdraw(mut self) {
        self.end(Amount::default());
    }

    fn end(&mut self, used: Amount) {
        self.is_settled = true;
        self.accounts.settle(&self.path, &self.estimate, used);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_settled {
            self.end(Amount {
                calls: 1,
                ..Amount::default()
            });
        }
    }
}

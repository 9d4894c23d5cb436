//! Prices of tokens, and budgets in tokens or money: pure decisions without I/O and without a clock.

mod account;
mod blocks;
mod bucket;
mod fair;
mod leased;
mod ledger;
mod limits;
mod money;
mod period;
mod pool;
mod price;
mod units;

pub use account::{AccountView, Amount, BudgetView, Estimate, Exceeded, Left, Room};
pub use blocks::{Ask, Grant, Sums};
pub use leased::{Beyond, Terms};
pub use ledger::{AccountId, Ledger, Refusal, Stop, Unwritten};
pub use limits::{Budget, Limits};
pub use money::{Money, MoneyError};
pub use period::{Day, Period};
pub use pool::SharedAccount;
pub use price::{Price, TokenCounts};
pub use units::{Kind, Units};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

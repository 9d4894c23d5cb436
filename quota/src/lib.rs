//! Prices of tokens, and budgets in tokens or money: pure decisions without I/O and without a clock.

mod account;
mod bucket;
mod ledger;
mod limits;
mod money;
mod period;
mod price;

pub use account::{AccountView, Amount, BudgetView, Estimate, Exceeded, Left, Room};
pub use ledger::{AccountId, Ledger, Refusal, Unwritten};
pub use limits::{Budget, Limits};
pub use money::{Money, MoneyError};
pub use period::{Day, Period};
pub use price::{Price, TokenCounts};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

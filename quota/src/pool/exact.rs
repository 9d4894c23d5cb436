//! Amounts in the store: integers, because money as a number of units has a largest value and is rounded.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Amount, Money};

pub(super) fn serialize<S: Serializer>(amount: &Amount, to: S) -> Result<S::Ok, S::Error> {
    (amount.calls, amount.tokens, amount.money.nano()).serialize(to)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Amount, D::Error> {
    let (calls, tokens, nano) = Deserialize::deserialize(from)?;
    Ok(Amount {
        calls,
        tokens,
        money: Money::from_nano(nano),
    })
}

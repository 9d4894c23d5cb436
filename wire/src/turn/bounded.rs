//! A JSON list of which only a bounded number of items is read.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The first `MAX` items of a list, unread.
pub(super) struct Bounded<'a, const MAX: usize> {
    pub(super) items: Vec<&'a RawValue>,
    /// `true` if the list has more items than that.
    pub(super) is_cut: bool,
}

impl<'de, const MAX: usize> Deserialize<'de> for Bounded<'de, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Reader::<MAX>)
    }
}

struct Reader<const MAX: usize>;

impl<'de, const MAX: usize> Visitor<'de> for Reader<MAX> {
    type Value = Bounded<'de, MAX>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < MAX {
            match list.next_element()? {
                Some(item) => items.push(item),
                None => {
                    return Ok(Bounded {
                        items,
                        is_cut: false,
                    });
                }
            }
        }
        let mut is_cut = false;
        while list.next_element::<IgnoredAny>()?.is_some() {
            is_cut = true;
        }
        Ok(Bounded { items, is_cut })
    }
}

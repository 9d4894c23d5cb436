//! Whether the same things have the same places.

use std::collections::BTreeSet;

use crate::words::{JOINING, LANGUAGES, ROLES};

/// The longest way between two words that are compared for having changed their places.
const WAY_MAX: usize = 4;

/// Something that is named, and where.
pub(super) struct Placed {
    pub(super) text: String,
    /// Its place among all words and signs.
    pub(super) at: usize,
    /// The word before it.
    pub(super) role: Option<String>,
}

/// Returns `true` if what both texts name has one order. What has the same preposition in both has its role by that, and its place does not
/// count; what is joined by `and` has no order.
pub(super) fn same_order(left: &[Placed], right: &[Placed]) -> bool {
    let role = |list: &[Placed], text: &str| {
        let found = list.iter().find(|one| one.text == text);
        found.map(|one| {
            one.role
                .clone()
                .filter(|role| ROLES.contains(&role.as_str()))
        })
    };
    let counts = |text: &str| match (role(left, text), role(right, text)) {
        (Some(left), Some(right)) => left.is_none() || left != right,
        _ => false,
    };
    ordered(left, &counts) == ordered(right, &counts)
}

/// Returns what counts in its order, each once. Neighbours and what is joined are sorted.
fn ordered<'a>(list: &'a [Placed], counts: &dyn Fn(&str) -> bool) -> Vec<&'a str> {
    let mut groups: Vec<Vec<&str>> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut last: Option<usize> = None;
    for one in list {
        let joins = one
            .role
            .as_deref()
            .is_some_and(|role| JOINING.contains(&role));
        let is_near = last.is_some_and(|last| one.at - last == 1 || (joins && one.at - last == 2));
        last = Some(one.at);
        if !seen.insert(one.text.as_str()) || !counts(&one.text) {
            continue;
        }
        match groups.last_mut() {
            Some(group) if is_near => group.push(&one.text),
            _ => groups.push(vec![&one.text]),
        }
    }
    for group in &mut groups {
        group.sort_unstable();
    }
    groups.concat()
}

/// Returns `true` if two words have changed their places around the same words: `a to b` and `b to a`.
pub(super) fn is_swapped(left: &[String], right: &[String]) -> bool {
    let ways = |words: &[String]| -> Vec<Vec<String>> {
        let lengths = 3..=WAY_MAX + 1;
        let ways = lengths.flat_map(|length| words.windows(length));
        ways.map(<[String]>::to_vec).collect()
    };
    let known: BTreeSet<Vec<String>> = ways(right).into_iter().collect();
    let is_elsewhere = |mut way: Vec<String>| {
        let last = way.len() - 1;
        let ends = [&way[0], &way[last]];
        let joined = way[1..last]
            .iter()
            .any(|word| JOINING.contains(&word.as_str()));
        let is_frequent = ends.iter().any(|word| is_frequent(word));
        if ends[0] == ends[1] || joined || is_frequent || known.contains(&way) {
            return false;
        }
        way.swap(0, last);
        known.contains(&way)
    };
    ways(left).into_iter().any(is_elsewhere)
}

/// Returns `true` for a word that says nothing by itself.
fn is_frequent(word: &str) -> bool {
    let mut lists = LANGUAGES.iter();
    lists.any(|(_, words)| word.len() > 1 && words.contains(&word))
}

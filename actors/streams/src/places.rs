//! The elements in progress, in the order in which they are emitted.

use std::collections::VecDeque;

/// The places of elements in progress, in the order in which they began or ended.
#[derive(Debug)]
pub struct Places<U> {
    ordered: bool,
    begun: u64,
    slots: VecDeque<(u64, Option<U>)>,
}

impl<U> Places<U> {
    /// Creates an empty queue. If `ordered` is `true`, results are emitted in the order in which they began, otherwise
    /// in the order in which they ended.
    pub fn new(ordered: bool) -> Self {
        Self {
            ordered,
            begun: 0,
            slots: VecDeque::new(),
        }
    }

    /// Returns the number of elements that began and were not taken.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns `true` if every element that began has been taken.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Takes a place and returns its number.
    pub fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.slots.push_back((self.begun, None));
        self.begun
    }

    /// Notes a result. If ordered, it waits for all places before it, otherwise only for earlier results.
    pub fn done(&mut self, number: u64, value: U) {
        let Some(place) = self.slots.iter().position(|slot| slot.0 == number) else {
            return;
        };
        if self.ordered {
            self.slots[place].1 = Some(value);
            return;
        }
        self.slots.remove(place);
        let done = self.slots.iter().take_while(|slot| slot.1.is_some());
        let end = done.count();
        self.slots.insert(end, (number, Some(value)));
    }

    /// Gives a place up.
    pub fn skip(&mut self, number: u64) {
        self.slots.retain(|slot| slot.0 != number);
    }

    /// Returns `true` if an element can be emitted.
    pub fn is_ready(&self) -> bool {
        self.slots.front().is_some_and(|slot| slot.1.is_some())
    }

    /// Takes the element to be emitted next, if it is ready.
    pub fn take(&mut self) -> Option<U> {
        if !self.is_ready() {
            return None;
        }
        self.slots.pop_front().and_then(|slot| slot.1)
    }
}

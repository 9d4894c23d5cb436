//! The room that servers take on a device: memory and slots.

use serde::{Deserialize, Serialize};

/// An amount of memory and slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Bytes.
    pub memory: u64,
    /// Slots.
    pub slots: u32,
}

impl Room {
    /// No room.
    pub const NONE: Self = Self {
        memory: 0,
        slots: 0,
    };
    /// More room than anything takes.
    pub const UNLIMITED: Self = Self {
        memory: u64::MAX,
        slots: u32::MAX,
    };

    /// Returns `true` if this fits into `free`.
    pub fn fits(self, free: Self) -> bool {
        self.memory <= free.memory && self.slots <= free.slots
    }

    /// Returns both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            memory: self.memory.saturating_add(other.memory),
            slots: self.slots.saturating_add(other.slots),
        }
    }

    /// Returns what is left of this after `other`; not below zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            memory: self.memory.saturating_sub(other.memory),
            slots: self.slots.saturating_sub(other.slots),
        }
    }
}

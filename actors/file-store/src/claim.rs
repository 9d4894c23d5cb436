//! Who decides whether a step is done.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering::SeqCst},
};

/// Decides between who does a step and who does not wait for it any more: a step is either committed or abandoned, never both.
#[derive(Clone, Debug, Default)]
pub struct Claim(Arc<AtomicU8>);

const OPEN: u8 = 0;
const COMMITTED: u8 = 1;
const ABANDONED: u8 = 2;

impl Claim {
    /// Returns `true` if the step may be committed. It cannot be abandoned from then on.
    pub fn commit(&self) -> bool {
        let claimed = self.0.compare_exchange(OPEN, COMMITTED, SeqCst, SeqCst);
        claimed.is_ok()
    }

    /// Returns `true` if the step will not be committed.
    pub fn abandon(&self) -> bool {
        let claimed = self.0.compare_exchange(OPEN, ABANDONED, SeqCst, SeqCst);
        claimed.is_ok() || self.is_abandoned()
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.load(SeqCst) == ABANDONED
    }
}

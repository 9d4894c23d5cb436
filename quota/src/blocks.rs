//! What a gateway asks of the store that several gateways share, and the answer.

use crate::{Amount, Day, Limits, Units, bucket::Bucket};

/// What one gateway reports of an account and wants for it.
///
/// `used` and `spent` are those of `sequence`, however often the request is sent: the store adds them once. All else may differ
/// between two attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// The number of the report, which grows by one with each that was acknowledged.
    pub sequence: u64,
    /// The number of the last report that was acknowledged; 0 for none.
    pub acked: u64,
    /// The fencing token of the lease, as it was granted; 0 for none.
    pub fence: u64,
    /// What was used since the report before, by day.
    pub used: Vec<(Day, Amount)>,
    /// What the block has lost since the report before. It is negative for what calls reserved and did not use.
    pub spent: Units,
    /// What running calls have reserved, and what was used since the report if it is sent again.
    pub busy: Units,
    /// What waiting calls need beside what is busy.
    pub needs: Units,
    /// What one of them needs, the largest.
    pub call: Units,
    /// The block that is wanted, with what is busy.
    pub wants: Units,
    /// `true` if the lease ends with this report.
    pub leaves: bool,
    /// The sums as they are known, for a store that has lost its own.
    pub known: Sums,
    /// The limits of the account.
    pub limits: Limits,
}

/// What all gateways have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// The day of `today`.
    pub day: Day,
    /// The sum of the day.
    pub today: Amount,
    /// The sum of its month.
    pub month: Amount,
}

/// What the store grants to one gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// The number of the report that is acknowledged with it.
    pub sequence: u64,
    /// The fencing token: it grows each time that a gateway's lease begins.
    pub fence: u64,
    /// The block. It may be smaller than before.
    pub holds: Units,
    /// What no gateway holds.
    pub free: Units,
    /// Gateways with a lease, this one included.
    pub gateways: u32,
    /// The sums, with this report.
    pub sums: Sums,
    /// The store's time, in milliseconds since 1970.
    pub now: u64,
    pub(crate) requests: Option<Bucket>,
    pub(crate) tokens: Option<Bucket>,
}

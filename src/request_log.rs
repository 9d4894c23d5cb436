//! The log line of each ended call.

use crate::record::CallRecord;

/// Writes the line of a call: target `kebne::call`, level `debug`.
pub fn write(record: &CallRecord) {
    tracing::debug!(
        target: "kebne::call",
        request = %record.id,
        surface = record.surface,
        key = record.key,
        model = record.model,
        lane = record.lane(),
        attempts = record.attempts(),
        status = record.status,
        ending = record.ending.label(),
        reason = record.reason,
        seconds = record.total().as_secs_f64(),
        "a call ended",
    );
}

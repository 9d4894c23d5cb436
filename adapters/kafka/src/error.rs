//! What the client's errors mean for a bus.

use kebne_event_bus::BusError;
use krafka::{KrafkaError, ProtocolErrorKind, error::ErrorCode};

/// Returns the error of something that may be tried again.
pub(crate) fn unavailable(error: impl std::fmt::Display) -> BusError {
    BusError::Unavailable(error.to_string())
}

/// The brokers have not answered in time.
pub(crate) fn late() -> BusError {
    unavailable("Kafka did not answer in time")
}

/// Returns the error of publishing.
pub(crate) fn of_publishing(error: &KrafkaError) -> BusError {
    if is_refusal(error) {
        return BusError::Refused(error.to_string());
    }
    unavailable(error)
}

/// Returns `true` if a message will never be taken.
pub(crate) fn is_refusal(error: &KrafkaError) -> bool {
    match error {
        KrafkaError::Broker { code, .. } => matches!(
            code,
            ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidRecord
        ),
        KrafkaError::Protocol { kind, .. } => matches!(
            kind,
            ProtocolErrorKind::FrameTooLarge | ProtocolErrorKind::InvalidLength
        ),
        KrafkaError::Config { .. } | KrafkaError::Serialization { .. } => true,
        _ => false,
    }
}

/// Returns `true` if a message whose publishing has failed may be stored.
pub(crate) fn may_be_stored(error: &KrafkaError) -> bool {
    match error {
        KrafkaError::DeliveryTimeout {
            possibly_written, ..
        } => *possibly_written,
        error => !is_refusal(error),
    }
}

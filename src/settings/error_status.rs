//! A status of an error answer.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// A status from 400 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorStatus(u16);

impl ErrorStatus {
    /// Creates a status; `None` if it is not from 400 to 599.
    pub fn new(status: u16) -> Option<Self> {
        (400..600).contains(&status).then_some(Self(status))
    }

    /// Returns the number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl<'de> Deserialize<'de> for ErrorStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The type of the number alone would describe a wrong one by its own range.
        let number = i64::deserialize(deserializer)?;
        let status = u16::try_from(number).ok();
        let status = status.filter(|status| (400..600).contains(status));
        status
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("`{number}` is not a status from 400 to 599")))
    }
}

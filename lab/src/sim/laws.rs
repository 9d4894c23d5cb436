//! Published laws for comparison, behind the same `Limit` trait and with the same queue.

use kebne_control::limit::{Limit, Sample, Signal};
use kebne_control::{ControllerSettings, Timestamp};
use serde::{Deserialize, Serialize};

mod aimd;
mod aws;
mod gradient2;
mod seed;
mod sre;
mod vector;
mod vegas;
mod window;

/// A law that can be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Law {
    /// The default law of the program.
    #[default]
    Adaptive,
    /// A constant limit, equal to the initial one; also part of the program.
    Fixed,
    /// Slow start, then additive increase and multiplicative decrease.
    Aimd,
    /// Netflix `Gradient2Limit`.
    Gradient2,
    /// Netflix `VegasLimit`.
    Vegas,
    /// Vector's adaptive request concurrency.
    Vector,
    /// The adaptive retry mode of the AWS SDKs: a rate.
    Aws,
    /// The client throttle of Google's SRE book: a rate.
    Sre,
    /// Eight at once, ten per second, and a breaker.
    Seed,
}

impl Law {
    /// Returns the law as named in the controller's settings; for laws that are not part of the program, the default.
    pub(crate) fn shipped(self) -> kebne_control::Law {
        match self {
            Self::Fixed => kebne_control::Law::Fixed,
            _ => kebne_control::Law::Adaptive,
        }
    }

    /// Creates the limit of a law that is not part of the program; `None` for the others.
    pub(crate) fn build(
        self,
        settings: &ControllerSettings,
        now: Timestamp,
    ) -> Option<Box<dyn Limit>> {
        Some(match self {
            Self::Adaptive | Self::Fixed => return None,
            Self::Aimd => Box::new(aimd::Aimd::new(settings, now)),
            Self::Gradient2 => Box::new(gradient2::Gradient2::new(settings)),
            Self::Vegas => Box::new(vegas::Vegas::new(settings)),
            Self::Vector => Box::new(vector::Vector::new(settings)),
            Self::Aws => Box::new(aws::Aws::new(settings, now)),
            Self::Sre => Box::new(sre::Sre::new(settings, now)),
            Self::Seed => Box::new(seed::Seed::default()),
        })
    }
}

#[cfg(test)]
mod tests;

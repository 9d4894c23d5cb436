//! The parts of the adaptive law that can be taken out one by one, to measure what each is worth.

/// Declares the parts: the variant, the name in tables, and the number of lines and constants that only this part needs.
macro_rules! parts {
    ($($part:ident: $name:literal, $lines:literal, $constants:literal;)*) => {
        /// A part of the adaptive law.
        #[non_exhaustive]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Part {
            $(#[doc = $name] $part,)*
        }

        impl Part {
            /// All parts, in the order of the files.
            pub const ALL: &'static [Self] = &[$(Self::$part),*];

            /// Returns the name in tables.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$part => $name,)*
                }
            }

            /// Returns the number of lines and of constants that only this part needs.
            pub fn size(self) -> (u32, u32) {
                match self {
                    $(Self::$part => ($lines, $constants),)*
                }
            }
        }
    };
}

parts! {
    Newest: "the newest 12 calls of a ramp against its first 8", 96, 4;
    Changed: "slower than a queue explains: the server changed", 12, 0;
    KnownKinds: "no comparison with first calls of new kinds", 14, 0;
    LateRamp: "timeouts end a ramp", 17, 0;
    Prior: "the prior of a ramp", 7, 1;
    Slope: "the slope of the last 240 samples", 60, 3;
    AheadThree: "three times ahead of the proof below 8 calls", 3, 1;
    Remembered: "the level remembered over a restart", 8, 1;
    GiveBack: "what a ramp did not need is given back", 18, 0;
    Settled: "calls sent during a change are left out", 6, 0;
    Sudden: "the newest sixteen are slower: an experiment", 24, 2;
    Slower: "whole windows that became slower", 3, 0;
    Faster: "whole windows that became faster", 6, 0;
    Routine: "routine steps down", 10, 1;
    Rarer: "steps down become rarer", 10, 1;
    Rests: "rests that double", 3, 1;
    Growing: "steps up that grow", 6, 2;
    SmallSteps: "larger steps below 8 calls", 4, 0;
    UpChain: "steps up in a row", 3, 0;
    Likely: "a step up that is only likely", 1, 0;
    Depth: "steps down as deep as the slowdown", 5, 0;
    DownChain: "steps down in a row", 9, 0;
    Rebase: "a search from the new latency after an anomaly", 11, 0;
    EdgeTest: "the comparison of an edge with less", 58, 3;
    TestWait: "tests of the edge become rarer", 3, 0;
    Untested: "no probe before an edge is compared", 6, 0;
    Climb: "a ramp when half more is let in", 14, 1;
    RampLetIn: "a ramp that grows by what is let in", 4, 0;
    Middle: "probes in the middle between two calls", 9, 0;
    Stride: "strides of the edge that double", 4, 0;
    Budget: "the budget of probes", 16, 2;
    Shut: "the shut detector", 40, 2;
    Falls: "a rate from repeated falls", 24, 2;
    Cuts: "cuts that deepen", 7, 0;
    ClockNumber: "a clock that means the number", 36, 1;
    Trial: "a trial with calls that have time for it, those of the lowest priority first", 15, 0;
}

/// The parts of the law that are left out, to measure what each one brings. Operators cannot set it; by default nothing is
/// left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Without(u64);

impl Without {
    /// Returns the set without a part in it: the whole law.
    pub const fn nothing() -> Self {
        Self(0)
    }

    /// Returns this set with one more part in it.
    #[must_use]
    pub fn and(self, part: Part) -> Self {
        Self(self.0 | 1 << part as u64)
    }

    /// Returns `true` unless the part is taken out.
    pub(crate) fn keeps(self, part: Part) -> bool {
        self.0 & 1 << part as u64 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_taken_out_leaves_the_others() {
        for part in Part::ALL {
            let without = Without::default().and(*part);
            let kept = Part::ALL.iter().filter(|other| without.keeps(**other));
            assert_eq!(kept.count(), Part::ALL.len() - 1);
            assert!(!without.keeps(*part));
        }
        assert!(Part::ALL.len() <= 64);
    }
}

//! Divides a model's context window among the parts of a call, by the rules of the settings. It is pure: sizes and rules in, room out.

use kebne_context::budget::{Bounds, Parts, divide};

use crate::settings::{TokenBudgetSettings, token_budget::Bound};

/// The tokens of a call that are sent in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fixed {
    /// System prompt, tools and new messages.
    pub own: u64,
    /// The highest number of tokens of the answer that the call allows; 0 if it is not known.
    pub answer: u64,
}

/// Returns the tokens that each part of a call may have. The answer and what is sent in any case come first; of what is left of the window,
/// each part gets what it wants within its bounds, as [`divide`] says. While the window is not known, only bounds in tokens count.
pub fn room(
    window: Option<u64>,
    settings: &TokenBudgetSettings,
    fixed: Fixed,
    wanted: Parts<u64>,
) -> Parts<u64> {
    let least = |bound| match (bound, window) {
        (Bound::Tokens(tokens), _) => tokens,
        (Bound::Percent(percent), window) => window.map_or(0, |window| share(window, percent)),
    };
    let most = |bound| match (bound, window) {
        (Bound::Tokens(tokens), _) => tokens,
        (Bound::Percent(percent), window) => {
            window.map_or(u64::MAX, |window| share(window, percent))
        }
    };
    let of = |min, max| Bounds {
        least: least(min),
        most: most(max),
    };
    let rules = Parts {
        summary: Bounds::REST,
        facts: Bounds::REST,
        retrieval: of(settings.retrieval_min, settings.retrieval_max),
        recall: Bounds::REST,
        history: of(settings.history_min, settings.history_max),
    };
    let own = fixed.own.saturating_add(fixed.answer.max(settings.answer));
    let (tokens_max, own) = window.map_or((u64::MAX, 0), |window| (window, own));
    divide(tokens_max, own, rules, wanted)
}

fn share(window: u64, percent: u8) -> u64 {
    let part = u128::from(window) * u128::from(percent) / 100;
    u64::try_from(part).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: Fixed = Fixed {
        own: 100,
        answer: 0,
    };

    fn room_of(window: Option<u64>, settings: &TokenBudgetSettings, fixed: Fixed) -> (u64, u64) {
        let wanted = Parts {
            retrieval: 2000,
            history: u64::MAX,
            ..Parts::default()
        };
        let room = room(window, settings, fixed, wanted);
        (room.retrieval, room.history)
    }

    #[test]
    fn without_a_window_only_bounds_in_tokens_count() {
        let mut settings = TokenBudgetSettings::default();
        let (retrieval, history) = room_of(None, &settings, FIXED);
        assert!(retrieval == 2000 && history > u64::MAX / 2);
        settings.retrieval_max = Bound::Tokens(300);
        settings.history_max = Bound::Tokens(0);
        assert_eq!(room_of(None, &settings, FIXED), (300, 0));
    }

    #[test]
    fn the_parts_share_what_the_answer_and_the_messages_leave() {
        let mut settings = TokenBudgetSettings::default();
        // 4096 - 100 - 1024 = 2972 are left, of which the history keeps 1024.
        assert_eq!(room_of(Some(4096), &settings, FIXED), (1948, 1024));
        // 1024 - 100 - 1024: nothing fits.
        assert_eq!(room_of(Some(1024), &settings, FIXED), (0, 0));
        settings.answer = 0;
        settings.history_min = Bound::Tokens(0);
        assert_eq!(room_of(Some(1024), &settings, FIXED), (512, 412));
        let long_answer = Fixed {
            answer: 400,
            ..FIXED
        };
        assert_eq!(room_of(Some(1024), &settings, long_answer), (512, 12));
        settings.history_min = Bound::Percent(50);
        assert_eq!(room_of(Some(1024), &settings, long_answer), (12, 512));
        settings.retrieval_min = Bound::Tokens(200);
        assert_eq!(room_of(Some(1024), &settings, long_answer), (200, 324));
    }

    #[test]
    fn no_division_exceeds_the_window() {
        for window in [0, 1, 255, 256, 4096, u64::MAX] {
            for own in [0, 1, 200, u64::MAX] {
                let fixed = Fixed { own, answer: 50 };
                let (retrieval, history) =
                    room_of(Some(window), &TokenBudgetSettings::default(), fixed);
                let left = window.saturating_sub(own.saturating_add(1024));
                assert!(retrieval.saturating_add(history) <= left);
                assert!(retrieval <= window / 2 + 1);
            }
        }
    }
}

use super::*;
use crate::system::Strategy;

const SECOND: Duration = Duration::from_secs(1);

fn panic() -> Fault {
    Fault::Panic("on purpose".into())
}

fn error(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
    Fault::Error(error.into())
}

/// Fails at a time, and restarts when the wait is over.
struct Bench {
    strategy: Strategy,
    record: Record,
    now: Instant,
}

impl Bench {
    fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            record: Record::default(),
            now: Instant::now(),
        }
    }

    fn judge(&mut self, fault: &Fault, moment: Moment) -> Decision {
        let chance = &mut || 0.0;
        self.record
            .judge(&self.strategy.layers, fault, moment, self.now, chance)
    }

    /// Fails while running; returns the wait of the restart, which then takes place.
    fn fail(&mut self, fault: &Fault) -> Option<Duration> {
        match self.judge(fault, Moment::Running).action {
            Action::Restart { wait, .. } => {
                self.now += wait;
                self.record.restarted(self.now);
                Some(wait)
            }
            _ => None,
        }
    }
}

#[test]
fn the_wait_doubles_up_to_the_maximum_and_the_jitter_may_exceed_it() {
    let strategy = Strategy::restart().with_backoff(SECOND, 3 * SECOND);
    let mut bench = Bench::new(strategy);
    let waits: Vec<_> = (0..4).map(|_| bench.fail(&panic()).unwrap()).collect();
    assert_eq!(waits, [SECOND, 2 * SECOND, 3 * SECOND, 3 * SECOND]);
    let chance = &mut || 1.0;
    let decision = bench.record.judge(
        &bench.strategy.layers,
        &panic(),
        Moment::Running,
        bench.now,
        chance,
    );
    let wait = Duration::from_millis(3600);
    assert!(matches!(decision.action, Action::Restart { wait: waited, .. } if waited == wait));
}

#[test]
fn the_backoff_starts_over_after_half_the_sum_of_both_waits_without_failure() {
    let strategy = Strategy::restart().with_backoff(SECOND, 5 * SECOND);
    let mut bench = Bench::new(strategy);
    assert_eq!(bench.fail(&panic()), Some(SECOND));
    bench.now += Duration::from_millis(2999);
    assert_eq!(bench.fail(&panic()), Some(2 * SECOND));
    bench.now += 3 * SECOND;
    assert_eq!(bench.fail(&panic()), Some(SECOND));
}

#[test]
fn a_manual_reset_is_the_only_one_when_it_is_chosen() {
    let strategy = Strategy::restart()
        .with_manual_reset()
        .with_backoff(SECOND, 60 * SECOND);
    let mut bench = Bench::new(strategy);
    assert_eq!(bench.fail(&panic()), Some(SECOND));
    bench.now += 3600 * SECOND;
    assert_eq!(bench.fail(&panic()), Some(2 * SECOND));
    bench.record.reset();
    assert_eq!(bench.fail(&panic()), Some(SECOND));
}

#[test]
fn at_the_maximum_of_restarts_in_a_row_the_next_failure_stops() {
    let strategy = Strategy::restart()
        .with_backoff(SECOND, SECOND)
        .with_max_restarts(2);
    let mut bench = Bench::new(strategy);
    assert!(bench.fail(&panic()).is_some());
    assert!(bench.fail(&panic()).is_some());
    assert!(bench.fail(&panic()).is_none());
    // The count would have started over if there had been no failure.
    bench.now += 10 * SECOND;
    assert!(bench.fail(&panic()).is_some());
}

#[test]
fn the_window_is_opened_by_the_first_failure_and_counts_anew_after_it_closed() {
    let mut bench = Bench::new(Strategy::restart().with_limit(2, 10 * SECOND));
    assert!(bench.fail(&panic()).is_some());
    bench.now += 9 * SECOND;
    assert!(bench.fail(&panic()).is_some());
    bench.now += 2 * SECOND;
    // A sliding window would still contain the second failure here.
    assert!(bench.fail(&panic()).is_some());
    assert!(bench.fail(&panic()).is_some());
    assert!(bench.fail(&panic()).is_none());
}

#[test]
fn a_limit_of_zero_stops_at_the_first_failure() {
    let mut bench = Bench::new(Strategy::restart().with_limit(0, SECOND));
    assert!(bench.fail(&panic()).is_none());
}

#[test]
fn the_first_strategy_that_applies_decides_and_each_keeps_its_own_counts() {
    let io = || error(std::io::Error::other("io"));
    let number = || error("x".parse::<u8>().unwrap_err());
    let strategy = Strategy::restart()
        .on::<std::io::Error>()
        .with_backoff(SECOND, 60 * SECOND)
        .or_else(
            Strategy::restart()
                .on::<std::num::ParseIntError>()
                .with_backoff(10 * SECOND, 600 * SECOND),
        );
    let mut bench = Bench::new(strategy);
    assert_eq!(bench.fail(&io()), Some(SECOND));
    assert_eq!(bench.fail(&io()), Some(2 * SECOND));
    assert_eq!(bench.fail(&number()), Some(10 * SECOND));
    assert_eq!(bench.fail(&number()), Some(20 * SECOND));
    assert_eq!(bench.fail(&panic()), None, "no strategy applies");
}

#[test]
fn nesting_in_either_grouping_is_the_same() {
    let resume = || Strategy::resume().on::<std::io::Error>();
    let stop = || Strategy::stop().on::<std::fmt::Error>();
    let groups = [
        resume().or_else(stop()).or_else(Strategy::restart()),
        resume().or_else(stop().or_else(Strategy::restart())),
    ];
    for strategy in groups {
        let mut bench = Bench::new(strategy);
        let mut action = |fault| bench.judge(&fault, Moment::Running).action;
        assert_eq!(action(error(std::io::Error::other("io"))), Action::Resume);
        assert_eq!(action(error(std::fmt::Error)), Action::Stop);
        assert!(matches!(action(panic()), Action::Restart { .. }));
    }
}

#[test]
fn a_failed_start_stops_where_nothing_would_end_the_loop() {
    let action = |strategy: Strategy, moment| Bench::new(strategy).judge(&panic(), moment).action;
    let restarts = |action| matches!(action, Action::Restart { .. });
    for moment in [Moment::FirstStart, Moment::Start] {
        assert_eq!(action(Strategy::restart(), moment), Action::Stop);
        assert_eq!(action(Strategy::resume(), moment), Action::Stop);
        let backoff = Strategy::restart().with_backoff(SECOND, SECOND);
        assert!(restarts(action(backoff, moment)));
    }
    let limited = |n| Strategy::restart().with_limit(n, SECOND);
    assert_eq!(action(limited(1), Moment::FirstStart), Action::Stop);
    assert!(restarts(action(limited(2), Moment::FirstStart)));
    assert!(restarts(action(limited(1), Moment::Running)));
}

#[test]
fn a_failed_start_is_tried_as_often_as_the_limit_allows() {
    let mut bench = Bench::new(Strategy::restart().with_limit(2, SECOND));
    let first = bench.judge(&panic(), Moment::FirstStart).action;
    assert!(matches!(first, Action::Restart { .. }));
    let second = bench.judge(&panic(), Moment::Start).action;
    assert!(matches!(second, Action::Restart { .. }));
    assert_eq!(bench.judge(&panic(), Moment::Start).action, Action::Stop);
}

#[test]
fn the_log_level_rises_after_so_many_failures_in_a_row() {
    let strategy = Strategy::restart()
        .with_backoff(SECOND, SECOND)
        .with_log_level(Level::INFO)
        .with_critical_log_level(Level::ERROR, 2);
    let mut bench = Bench::new(strategy);
    let levels: Vec<_> = (0..3)
        .map(|_| bench.judge(&panic(), Moment::Running).level)
        .collect();
    let [info, error] = [Some(Level::INFO), Some(Level::ERROR)];
    assert_eq!(levels, [info, info, error]);
    let mut silent = Bench::new(Strategy::restart().without_logging());
    assert_eq!(silent.judge(&panic(), Moment::Running).level, None);
    let mut unsupervised = Bench::new(Strategy::stop());
    assert_eq!(unsupervised.judge(&panic(), Moment::Running).level, error);
}

#[test]
fn the_settings_of_a_backoff_may_come_in_any_order() {
    let strategy = Strategy::restart()
        .with_jitter(0.5)
        .with_reset_after(SECOND)
        .with_backoff(2 * SECOND, 2 * SECOND);
    let mut bench = Bench::new(strategy);
    let chance = &mut || 1.0;
    let decision = bench.record.judge(
        &bench.strategy.layers,
        &panic(),
        Moment::Running,
        bench.now,
        chance,
    );
    let wait = 3 * SECOND;
    assert!(matches!(decision.action, Action::Restart { wait: waited, .. } if waited == wait));
}

#[test]
fn an_exceeded_limit_escalates_if_told_to() {
    let strategy = Strategy::restart()
        .with_limit(0, SECOND)
        .escalate_at_limit();
    let mut bench = Bench::new(strategy);
    let decision = bench.judge(&panic(), Moment::Running);
    assert_eq!(decision.action, Action::Escalate);
}

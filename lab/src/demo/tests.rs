//! Both strategies in paused time.

use super::*;

struct Silent;

impl Watcher for Silent {
    fn ended(&self, _success: bool) {}
    fn limit(&self, _limit: u32) {}
}

async fn both(seed: u64) -> (Report, Report) {
    let job = Job { calls: 100, seed };
    (
        fixed(job, &Silent).await,
        kebne(job, &Silent).await.unwrap(),
    )
}

#[actix::test]
async fn the_lane_answers_all_that_the_fixed_strategy_loses() {
    tokio::time::pause();
    for seed in [11, 12, 13] {
        let (fixed, kebne) = both(seed).await;
        for report in [&fixed, &kebne] {
            assert_eq!(report.successes + report.failures, 100, "{report:?}");
            let answered = report.upstream_calls - report.wasted_calls;
            assert_eq!(answered, report.successes, "{report:?}");
        }
        assert!(
            fixed.failures > 0,
            "the cold start costs it calls: {fixed:?}"
        );
        assert_eq!(kebne.failures, 0, "{kebne:?}");
        assert!(
            kebne.wasted_calls < fixed.wasted_calls,
            "{kebne:?} {fixed:?}"
        );
        assert!(kebne.seconds < fixed.seconds, "{kebne:?} {fixed:?}");
        assert!(kebne.limits.len() > 3, "the limit grows: {kebne:?}");
    }
}

#[actix::test]
async fn the_same_seed_gives_the_same_reports() {
    tokio::time::pause();
    assert_eq!(both(7).await, both(7).await);
}

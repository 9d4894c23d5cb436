//! A backend that was loading and then fails, as callers with another backend see it.

use kebne_control::FallbackRules;

use super::*;

#[actix::test]
async fn callers_leave_a_backend_that_was_cold_and_now_fails_as_the_rules_say() {
    // It loads for two seconds, and then fails every call.
    let start = tokio::time::Instant::now();
    let script = Script::new(move |_, _| {
        if start.elapsed() < 2 * SECOND {
            Play::Fail(Outcome::Cold { estimated: None })
        } else {
            Play::Fail(Outcome::Fault)
        }
    });
    let bench = lane(script, LaneSettings::default()).await;
    let rules = FallbackRules::default().with(kebne_control::FallbackKind::Cold, Some(10 * SECOND));
    let calls = (0..20).map(|number| {
        let began = tokio::time::Instant::now();
        let lane = &bench.lane;
        async move {
            let leaves = async || {
                loop {
                    tokio::time::sleep(SECOND / 10).await;
                    let here = lane.load();
                    if rules
                        .obstacle(&here, began.elapsed(), SECOND, true, None)
                        .is_some()
                    {
                        return Withdrawal::Waiting;
                    }
                }
            };
            let options = CallOptions {
                repeats: Repeats::Refused,
                ..options(60 * SECOND)
            };
            let ended = lane.call_or_withdraw(number, options, leaves).await;
            (ended.map(Reply::complete), began.elapsed())
        }
    });
    let ended = futures_util::future::join_all(calls).await;
    for (result, after) in ended {
        let left = matches!(result, Err(CallError::Withdrawn | CallError::Failed { .. }));
        assert!(left && after < 5 * SECOND, "{result:?} after {after:?}");
    }
    bench.assert_quiet().await;
}

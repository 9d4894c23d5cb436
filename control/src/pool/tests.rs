use super::*;

mod refusals;
mod retries;
mod shares;
mod waking;

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_secs_f64(seconds)
}

fn pool(permission: Permission) -> Pool<u32> {
    let settings = crate::ControllerSettings::default();
    let controller = crate::Controller::new(&settings, None, at(0.0));
    let grant = Grant {
        permission,
        concurrency: 2,
        state: LaneState::Steady,
        ..controller.grant()
    };
    let small = PoolSettings {
        queue_max: 3,
        ..PoolSettings::default()
    };
    Pool::new(&small, grant, at(0.0))
}

fn offer(payload: u32, tenant: u64) -> OfferedCall<u32> {
    OfferedCall {
        payload,
        deadline: at(10.0),
        bytes: 1,
        tokens: 0,
        output_tokens_max: 0,
        tenant,
        priority: 0,
        weight: 1.0,
        refuse_when_cold: false,
        hedge: false,
        kind: crate::Kind::default(),
    }
}

#[test]
fn no_more_than_the_limit_is_in_flight() {
    let mut p = pool(Permission::Open);
    for i in 0..3 {
        p.offer(offer(i, 0), at(0.0)).unwrap();
    }
    assert_eq!(p.next(at(0.0)).unwrap().in_flight, 1);
    assert_eq!(p.next(at(0.0)).unwrap().in_flight, 2);
    assert!(p.next(at(0.0)).is_none());
}

#[test]
fn the_longest_queue_sheds_first_and_every_call_ends_once() {
    let mut p = pool(Permission::Paused { until: at(9.0) });
    for i in 0..3 {
        p.offer(offer(i, 7), at(0.0)).unwrap();
    }
    assert_eq!(
        p.offer(offer(3, 7), at(0.0)).unwrap_err().1.reason,
        RefusalReason::QueueFull
    );
    p.offer(offer(4, 8), at(0.0)).unwrap();
    let shed = p.expire(at(0.0));
    assert_eq!(shed[0].0, 2);
    let left: Vec<u32> = p
        .expire(at(10.0))
        .into_iter()
        .map(|(payload, _)| payload)
        .collect();
    assert_eq!((left, p.queued(), p.in_flight()), (vec![0, 1, 4], 0, 0));
}

#[test]
fn the_newest_goes_first_under_overload_but_never_before_one_that_came_back() {
    let mut p = pool(Permission::Open);
    p.settings.order = Order::NewestFirst;
    p.settings.queue_max = 100;
    p.grant.concurrency = 1;
    for i in 0..6 {
        p.offer(offer(i, 0), at(0.0)).unwrap();
    }
    let sent = p.next(at(0.0)).unwrap();
    assert_eq!(sent.payload, 0, "nobody has waited yet");
    p.released(sent.attempt, at(3.0));
    let sent = p.next(at(3.0)).unwrap();
    assert_eq!(sent.payload, 5, "the oldest has waited 3 s of 10 s");
    let reset = Outcome::Rate {
        retry_after: None,
        slow_down: false,
    };
    p.offer(offer(6, 0), at(3.0)).unwrap();
    p.ended(sent.attempt, 5, reset, false, at(3.1), &mut || 0.5);
    let sent = p.next(at(3.1)).unwrap();
    assert_eq!(sent.payload, 5, "it had its turn");
    p.released(sent.attempt, at(3.2));
    // A lower priority is served in order, whatever the load.
    for i in 10..12 {
        let batch = OfferedCall {
            priority: 1,
            ..offer(i, 0)
        };
        p.offer(batch, at(3.2)).unwrap();
    }
    p.grant.concurrency = 100;
    let order: Vec<u32> = std::iter::from_fn(|| p.next(at(3.3)))
        .map(|sent| sent.payload)
        .collect();
    assert_eq!(order.iter().filter(|i| **i < 10).count(), 5);
    let batch: Vec<&u32> = order.iter().filter(|i| **i >= 10).collect();
    assert_eq!(batch, [&10, &11]);
}

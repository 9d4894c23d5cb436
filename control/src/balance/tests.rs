//! Tests of the choice among replicas, also by a small simulation in virtual time.

use super::*;

fn replica() -> Replica {
    Replica {
        state: LaneState::Steady,
        limit: 4,
        live: 0,
        service_time: Duration::from_secs(1),
        delivered_rate: Some(4.0),
        ready_in: None,
        weight: 1.0,
    }
}

const DRAWS: [u32; 2] = [0, 0];
/// A call that accepts no wait.
const NOW: Duration = Duration::ZERO;

#[test]
fn equals_take_turns_by_their_fullness() {
    let mut replicas = [replica(), replica()];
    for _ in 0..8 {
        let chosen = choose(&replicas, DRAWS).unwrap();
        replicas[chosen].live += 1;
    }
    assert_eq!(replicas.map(|replica| replica.live), [4, 4]);
    assert_eq!(choose(&[], DRAWS), None);
}

#[test]
fn a_weight_is_a_share_while_there_is_room() {
    let mut replicas = [replica(), replica()];
    for replica in &mut replicas {
        replica.limit = 100;
    }
    replicas[1].weight = 3.0;
    for _ in 0..40 {
        let chosen = choose(&replicas, DRAWS).unwrap();
        replicas[chosen].live += 1;
    }
    assert_eq!(replicas.map(|replica| replica.live), [10, 30]);
}

#[test]
fn one_that_cannot_serve_is_the_last_choice() {
    let full = Replica {
        live: 12,
        ..replica()
    };
    for state in [
        LaneState::Cold,
        LaneState::Open,
        LaneState::Paused,
        LaneState::Quota,
    ] {
        let away = Replica { state, ..replica() };
        assert_eq!(choose(&[away, full], DRAWS), Some(1), "{state:?}");
        // A short absence costs less than a long queue.
        let soon = Replica {
            ready_in: Some(Duration::from_millis(500)),
            ..away
        };
        assert_eq!(choose(&[full, soon], DRAWS), Some(1), "{state:?}");
    }
}

#[test]
fn a_sleeping_replica_is_not_asked_while_another_has_room() {
    let asleep = Replica {
        state: LaneState::Idle,
        service_time: Duration::ZERO,
        delivered_rate: None,
        ..replica()
    };
    let busy = Replica {
        live: 3,
        ..replica()
    };
    assert_eq!(choose(&[asleep, busy], DRAWS), Some(1));
    // If all sleep, the first is woken, and the others wait with it.
    let waking = Replica {
        state: LaneState::Probe,
        live: 1,
        ..asleep
    };
    assert_eq!(choose(&[asleep, asleep], DRAWS), Some(0));
    assert_eq!(choose(&[waking, asleep], DRAWS), Some(0));
    assert!(!needs_another(&[waking, asleep]));
    let crowd = Replica { live: 5, ..waking };
    assert!(needs_another(&[crowd, asleep]));
    let long = Replica { live: 20, ..waking };
    assert_eq!(choose(&[long, asleep], DRAWS), Some(1));
}

#[test]
fn a_draw_follows_the_weights_and_leaves_out_what_fails() {
    let mut replicas = [replica(); 3];
    replicas[0].weight = 9.0;
    let counts = |replicas: &[Replica]| {
        let mut counts = [0; 3];
        for step in 0..1100 {
            counts[draw(replicas, f64::from(step) / 1100.0).unwrap()] += 1;
        }
        counts
    };
    assert_eq!(counts(&replicas), [900, 100, 100]);
    replicas[0].state = LaneState::Open;
    assert_eq!(counts(&replicas), [0, 550, 550]);
    assert_eq!(draw(&[], 0.5), None);
}

#[test]
fn two_of_many_are_compared_unless_both_are_full() {
    let mut replicas = [replica(); 5];
    replicas[0].live = 1;
    replicas[1].live = 3;
    // 0 and 1 are drawn; 2 to 4 are emptier.
    assert_eq!(choose(&replicas, [0, 0]), Some(0));
    for full in [0, 1] {
        replicas[full].live = 4;
    }
    assert!(choose(&replicas, [0, 0]).unwrap() > 1);
    for (first, second) in [(0, 0), (4, 3), (7, 9), (u32::MAX, u32::MAX)] {
        assert!(choose(&replicas, [first, second]).unwrap() < 5);
    }
}

#[test]
fn a_waiting_call_moves_to_room_and_not_to_a_slower_answer() {
    let full = Replica {
        live: 12,
        ..replica()
    };
    assert!(is_worth_moving(&full, &replica(), NOW));
    assert!(!is_worth_moving(&replica(), &replica(), NOW));
    let slow = Replica {
        service_time: Duration::from_secs(20),
        ..replica()
    };
    assert!(!is_worth_moving(&full, &slow, NOW));
    let cold = Replica {
        state: LaneState::Cold,
        ..replica()
    };
    assert!(is_worth_moving(&cold, &full, NOW));
    assert!(!is_worth_moving(&full, &cold, NOW));
    assert!(!is_worth_moving(&full, &full, NOW));
    let asleep = Replica {
        state: LaneState::Idle,
        ..replica()
    };
    assert!(!is_worth_moving(&cold, &asleep, NOW));
    let dead = Replica {
        state: LaneState::Open,
        live: 1,
        ..replica()
    };
    assert!(is_worth_moving(&dead, &asleep, NOW));
}

#[test]
fn a_call_stays_with_its_replica_for_as_long_as_it_accepts() {
    let full = Replica {
        live: 12,
        ..replica()
    };
    // A new call waits for 2.25 s there, and one in the middle of the queue for half of that.
    for (accepted, enters, leaves) in [(0, false, true), (1000, false, true), (3000, true, false)] {
        let accepted = Duration::from_millis(accepted);
        assert_eq!(is_worth_staying(&full, &replica(), accepted), enters);
        assert_eq!(is_worth_moving(&full, &replica(), accepted), leaves);
    }
}

/// Two backends with a fixed number of slots and a fixed service time, each behind a queue of its own, at 0.98 of the load
/// that both together can carry. Returns the calls served, relative to those that arrived.
fn served_share(slots: [u32; 2], times: [f64; 2], seed: u64) -> f64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let rate = 0.98 * (f64::from(slots[0]) / times[0] + f64::from(slots[1]) / times[1]);
    let end = 300.0;
    let (mut now, mut arrived, mut served) = (0.0_f64, 0_u32, 0_u32);
    // The time at which each slot is free, and the end of each call.
    let mut free = slots.map(|slots| vec![0.0_f64; slots as usize]);
    let mut ends: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    loop {
        now -= (1.0 - random.f64()).ln() / rate;
        if now > end {
            return f64::from(served) / f64::from(arrived);
        }
        for ends in &mut ends {
            ends.retain(|end| *end > now);
        }
        let replicas = [0, 1].map(|place| Replica {
            limit: slots[place],
            live: u32::try_from(ends[place].len()).unwrap(),
            service_time: Duration::from_secs_f64(times[place]),
            delivered_rate: Some(f64::from(slots[place]) / times[place]),
            ..replica()
        });
        let chosen = choose(&replicas, DRAWS).unwrap();
        let slot = free[chosen]
            .iter_mut()
            .min_by(|a, b| a.total_cmp(b))
            .unwrap();
        *slot = slot.max(now) + times[chosen];
        ends[chosen].push(*slot);
        arrived += 1;
        served += u32::from(*slot <= end);
    }
}

#[test]
fn two_replicas_serve_at_least_0_95_of_their_sum() {
    for seed in 1..=5 {
        for (slots, times) in [
            ([4, 4], [1.0, 1.0]),
            ([8, 2], [1.0, 3.0]),
            ([2, 16], [0.3, 2.0]),
        ] {
            let share = served_share(slots, times, seed);
            assert!(share >= 0.95, "{slots:?} {times:?} seed {seed}: {share:.3}");
        }
    }
}

use super::*;
use proptest::prelude::*;

const TTL: Duration = Duration::from_secs(2);

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_secs_f64(1_000_000.0 + seconds)
}

/// Renews as a gateway whose backend serves it at the limit it knows of.
fn serving(lane: &SharedLane, who: &str, queued: u32) -> Renewal {
    let member = lane.members.get(who).cloned().unwrap_or_default();
    let lead = lane.lead.as_ref().filter(|turn| turn.holder == who);
    Renewal {
        in_flight: member.granted,
        queued,
        holds: member.granted.max(2),
        level: lane.level.unwrap_or(24.0),
        cuts: lane.cuts,
        lead: lead.map(|turn| turn.fence),
        serves: true,
        ..Renewal::default()
    }
}

/// Lets gateways renew every quarter of a second, and returns the leases of the last round.
fn rounds(lane: &mut SharedLane, who: &[(&str, u32)], from: f64, seconds: f64) -> Vec<Lease> {
    let mut leases = Vec::new();
    let mut time = from;
    while time < from + seconds {
        leases.clear();
        for (name, queued) in who {
            let renewal = serving(lane, name, *queued);
            leases.push(lane.renew(name, &renewal, TTL, at(time)));
        }
        time += 0.25;
    }
    leases
}

#[test]
fn gateways_with_calls_get_equal_shares_and_a_silent_one_gives_its_share_back() {
    let mut lane = SharedLane::default();
    let leases = rounds(&mut lane, &[("a", 50), ("b", 50)], 0.0, 4.0);
    assert_eq!(leases.iter().map(|l| l.share).collect::<Vec<_>>(), [12, 12]);
    assert_eq!((leases[0].members, leases[0].others), (2, 12));
    let before = rounds(&mut lane, &[("a", 50)], 4.0, 1.5);
    assert_eq!(
        before[0].share, 12,
        "a silent gateway may still use its share"
    );
    let after = rounds(&mut lane, &[("a", 50)], 5.5, 1.0);
    assert_eq!((after[0].share, after[0].members), (24, 1));
}

#[test]
fn a_gateway_that_leaves_gives_its_share_back_at_once() {
    let mut lane = SharedLane::default();
    rounds(&mut lane, &[("a", 50), ("b", 50)], 0.0, 4.0);
    lane.leave("b");
    assert_eq!(rounds(&mut lane, &[("a", 50)], 4.0, 0.1)[0].share, 24);
}

#[test]
fn a_share_grows_only_after_others_have_returned_theirs() {
    let mut lane = SharedLane::default();
    assert_eq!(rounds(&mut lane, &[("a", 50)], 0.0, 4.0)[0].share, 24);
    let renewal = serving(&lane, "b", 50);
    let first = lane.renew("b", &renewal, TTL, at(4.0));
    assert_eq!(first.share, 0, "all is in use");
    let a = serving(&lane, "a", 50);
    assert_eq!(lane.renew("a", &a, TTL, at(4.1)).share, 12);
    // Its calls still run.
    assert_eq!(lane.renew("b", &renewal, TTL, at(4.2)).share, 0);
    let ended = Renewal {
        in_flight: 15,
        ..serving(&lane, "a", 50)
    };
    lane.renew("a", &ended, TTL, at(4.3));
    assert_eq!(lane.renew("b", &renewal, TTL, at(4.4)).share, 9);
}

#[test]
fn only_the_leader_raises_the_level_and_its_trial_is_not_taken_from_others() {
    let mut lane = SharedLane::default();
    let leases = rounds(&mut lane, &[("a", 50), ("b", 50)], 0.0, 4.0);
    let fence = leases[0].lead.unwrap();
    assert_eq!(leases[1].lead, None);
    let b = Renewal {
        level: 90.0,
        lead: Some(fence),
        ..serving(&lane, "b", 50)
    };
    assert_eq!(lane.renew("b", &b, TTL, at(4.0)).level, Some(24.0));
    let a = Renewal {
        in_flight: 18,
        trial: 6,
        ..serving(&lane, "a", 50)
    };
    lane.renew("a", &a, TTL, at(4.0));
    assert_eq!(lane.renew("b", &b, TTL, at(4.1)).share, 12);
    let proved = Renewal {
        level: 30.0,
        ..serving(&lane, "a", 50)
    };
    assert_eq!(lane.renew("a", &proved, TTL, at(4.2)).level, Some(30.0));
    // A leader that was frozen comes back with its old number.
    let later = rounds(&mut lane, &[("b", 50)], 4.2, 4.0);
    assert!(later[0].lead.unwrap() > fence);
    let late = Renewal {
        level: 70.0,
        lead: Some(fence),
        ..serving(&lane, "a", 50)
    };
    let lease = lane.renew("a", &late, TTL, at(8.3));
    assert_eq!((lease.level, lease.lead), (Some(30.0), None));
}

#[test]
fn a_cut_counts_once_and_is_not_undone_by_a_report_that_does_not_know_it() {
    let mut lane = SharedLane::default();
    rounds(&mut lane, &[("a", 50), ("b", 50), ("c", 50)], 0.0, 4.0);
    let old = serving(&lane, "a", 50);
    let cut = Renewal {
        level: 10.0,
        cut: true,
        ..serving(&lane, "b", 50)
    };
    let same = Renewal {
        level: 7.0,
        cut: true,
        ..serving(&lane, "c", 50)
    };
    assert_eq!(lane.renew("b", &cut, TTL, at(4.0)).level, Some(10.0));
    assert_eq!(lane.renew("c", &same, TTL, at(4.1)).level, Some(10.0));
    assert_eq!(lane.renew("a", &old, TTL, at(4.2)).level, Some(10.0));
    let a = Renewal {
        level: 11.0,
        ..serving(&lane, "a", 50)
    };
    assert_eq!(lane.renew("a", &a, TTL, at(4.3)).level, Some(11.0));
}

#[test]
fn the_leader_hears_of_the_refusals_of_others_once() {
    let mut lane = SharedLane::default();
    rounds(&mut lane, &[("a", 50), ("b", 50)], 0.0, 4.0);
    let refused = Renewal {
        refused: 2,
        ..serving(&lane, "b", 50)
    };
    assert_eq!(lane.renew("b", &refused, TTL, at(4.0)).refused, 0);
    let a = serving(&lane, "a", 50);
    assert_eq!(lane.renew("a", &a, TTL, at(4.1)).refused, 2);
    assert_eq!(lane.renew("a", &a, TTL, at(4.2)).refused, 0);
}

#[test]
fn a_leader_whose_callers_are_gone_passes_the_turn_on() {
    let mut lane = SharedLane::default();
    let leases = rounds(&mut lane, &[("a", 0), ("b", 50)], 0.0, 4.0);
    assert!(leases[0].lead.is_some());
    let leases = rounds(&mut lane, &[("a", 0), ("b", 50)], 4.0, 3.0);
    assert!(leases[0].lead.is_none() && leases[1].lead.is_some());
}

#[test]
fn one_gateway_wakes_the_backend_and_the_others_learn_when_it_will_serve() {
    let mut lane = SharedLane::default();
    let wants = Renewal {
        queued: 3,
        wants_wake: true,
        level: 2.0,
        ready_in: Some(Duration::from_secs(30)),
        ..Renewal::default()
    };
    let Wake::Me { fence } = lane.renew("a", &wants, TTL, at(0.0)).wake else {
        panic!("the first one wakes it");
    };
    assert_eq!(
        lane.renew("b", &wants, TTL, at(0.1)).wake,
        Wake::Other { ready_in: None }
    );
    lane.renew("a", &wants, TTL, at(1.0));
    let Wake::Other { ready_in } = lane.renew("b", &wants, TTL, at(1.5)).wake else {
        panic!("another one wakes it");
    };
    assert_eq!(ready_in.unwrap().as_millis(), 29_500);
    // The one that asked is gone; its turn ends with its lease.
    let Wake::Me { fence: next } = lane.renew("b", &wants, TTL, at(3.1)).wake else {
        panic!("the turn has passed on");
    };
    assert!(next > fence);
    // It serves: nobody needs to wake it any more.
    let served = Renewal {
        serves: true,
        ..wants.clone()
    };
    lane.renew("b", &served, TTL, at(3.5));
    let lease = lane.renew("c", &wants, TTL, at(3.6));
    assert_eq!((lease.wake, lease.serves), (Wake::Nobody, true));
}

#[test]
fn a_gateway_without_waiting_calls_gives_the_wake_back() {
    let mut lane = SharedLane::default();
    let wants = Renewal {
        wants_wake: true,
        ..Renewal::default()
    };
    lane.renew("a", &wants, TTL, at(0.0));
    lane.renew("a", &Renewal::default(), TTL, at(0.2));
    let lease = lane.renew("b", &wants, TTL, at(0.3));
    assert!(matches!(lease.wake, Wake::Me { .. }));
}

#[test]
fn a_lost_state_gives_nobody_more_than_it_uses_for_one_time_to_live() {
    let holding = |holds| Renewal {
        in_flight: holds,
        queued: 50,
        holds,
        level: 24.0,
        serves: true,
        ..Renewal::default()
    };
    let mut lane = SharedLane::default();
    assert_eq!(lane.renew("a", &holding(12), TTL, at(0.0)).share, 12);
    assert_eq!(lane.renew("b", &holding(12), TTL, at(0.2)).share, 12);
    // The same after a jump of the clock by minutes, in both directions.
    for jump in [600.0, -600.0] {
        let a = lane.renew("a", &holding(12), TTL, at(jump));
        let b = lane.renew("b", &holding(12), TTL, at(jump + 0.1));
        assert_eq!((a.share, b.share), (12, 12), "{jump}");
        let longest = at(jump + 0.1).after(TTL);
        assert!(lane.members.values().all(|member| member.until <= longest));
    }
}

#[test]
fn numbers_of_turns_grow_even_if_the_state_is_lost() {
    let mut lane = SharedLane::default();
    let first = rounds(&mut lane, &[("a", 1)], 0.0, 0.1)[0].lead.unwrap();
    let mut lost = SharedLane::default();
    let second = rounds(&mut lost, &[("a", 1)], 60.0, 0.1)[0].lead.unwrap();
    assert!(second > first);
}

/// What happens to a shared lane.
#[derive(Clone, Debug)]
enum Step {
    Renew { who: u8, queued: u8, busy: u8 },
    Level(u8),
    Pass(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let renew = (0_u8..6, 0_u8..60, 0_u8..=100);
    let renew = renew.prop_map(|(who, queued, busy)| Step::Renew { who, queued, busy });
    let step = prop_oneof![
        8 => renew,
        1 => (1_u8..80).prop_map(Step::Level),
        3 => (0_u16..400).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    /// The shares in force never exceed the highest level that was in force while they were given, whatever the gateways do.
    #[test]
    fn shares_never_exceed_the_level(steps in steps()) {
        let mut lane = SharedLane::default();
        let (mut time, mut level) = (0.0, 24.0_f64);
        let mut granted: BTreeMap<u8, (u32, f64, f64)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Pass(millis) => time += f64::from(millis) / 1000.0,
                Step::Level(next) => level = f64::from(next),
                Step::Renew { who, queued, busy } => {
                    let name = who.to_string();
                    let holds = granted.get(&who).map_or(0, |grant| grant.0);
                    let renewal = Renewal {
                        in_flight: holds * u32::from(busy) / 100,
                        level,
                        holds,
                        ..serving(&lane, &name, u32::from(queued))
                    };
                    let lease = lane.renew(&name, &renewal, TTL, at(time));
                    granted.insert(who, (lease.share, time, lease.level.unwrap()));
                }
            }
            let live = || granted.values().filter(|grant| time - grant.1 < TTL.as_secs_f64() - 0.001);
            let sum: u32 = live().map(|grant| grant.0).sum();
            let most = live().map(|grant| grant.2).fold(0.0, f64::max);
            prop_assert!(f64::from(sum) <= most, "{sum} of {most}");
        }
    }

    /// Once all have renewed a few times, each one with demand has its fair part of the level.
    #[test]
    fn each_gateway_with_demand_gets_its_fair_part(queues in proptest::collection::vec(0_u32..80, 1..6)) {
        let mut lane = SharedLane::default();
        let names: Vec<String> = (0..queues.len()).map(|index| index.to_string()).collect();
        let who: Vec<(&str, u32)> = names.iter().map(String::as_str).zip(queues.iter().copied()).collect();
        let leases = rounds(&mut lane, &who, 0.0, 6.0);
        let each = 24 / u32::try_from(queues.len()).unwrap();
        for (lease, queued) in leases.iter().zip(&queues) {
            prop_assert!(lease.share >= each.min(*queued), "{leases:?} of {queues:?}");
        }
        prop_assert!(leases.iter().map(|lease| lease.share).sum::<u32>() <= 24);
    }
}

//! Both state machines over a network that loses, repeats and reorders.

use std::sync::Arc;

use proptest::prelude::*;

use crate::{
    frame::{ToConsumer, ToProducer},
    receiving::Receiving,
    sending::Sending,
};

const WINDOW: u64 = 4;

/// Both sides, and what is on its way between them.
struct World {
    sending: Sending<u32, u32>,
    receiving: Receiving<u32>,
    there: Vec<ToConsumer<u32>>,
    back: Vec<ToProducer>,
    /// What the consumer's actor has handled and confirmed.
    handled: Vec<u32>,
    /// What the producer knows to be confirmed.
    confirmed: Vec<u32>,
    next: u32,
}

impl World {
    fn new() -> Self {
        Self {
            sending: Sending::new(7),
            receiving: Receiving::new(WINDOW),
            there: Vec::new(),
            back: Vec::new(),
            handled: Vec::new(),
            confirmed: Vec::new(),
            next: 0,
        }
    }

    fn add(&mut self) {
        let message = self.next;
        self.next += 1;
        let frames = self
            .sending
            .add(Arc::new(message), message.is_multiple_of(3), message);
        self.there.extend(frames);
    }

    /// Moves one frame towards the consumer.
    fn forth(&mut self, at: usize) {
        if !self.there.is_empty() {
            let frame = self.there.remove(at % self.there.len());
            self.back.extend(self.receiving.receive(&frame));
        }
    }

    /// Moves one frame towards the producer.
    fn home(&mut self, at: usize) {
        if !self.back.is_empty() {
            let heard = self.sending.hear(&self.back.remove(at % self.back.len()));
            self.there.extend(heard.frames);
            self.confirmed.extend(heard.confirmed);
        }
    }

    fn handle(&mut self) {
        if let Some((session, sequence, message)) = self.receiving.next() {
            self.handled.push(**message);
            self.back.extend(self.receiving.confirm(session, sequence));
        }
    }

    fn tick(&mut self) {
        self.there.extend(self.sending.repeat_first());
        self.back.extend(self.receiving.silence());
    }

    /// Lets everything arrive from now on; the number of steps is bounded.
    fn heal(&mut self) {
        for _ in 0..20_000 {
            if self.confirmed.len() == self.next as usize {
                return;
            }
            if self.there.is_empty() && self.back.is_empty() {
                self.tick();
            }
            self.forth(0);
            self.handle();
            self.home(0);
        }
        panic!(
            "{} are not confirmed",
            self.next as usize - self.confirmed.len()
        );
    }
}

fn forth(session: u64, sequence: u64, first: bool) -> ToConsumer<u32> {
    ToConsumer {
        session,
        sequence,
        first,
        ack: false,
        message: Arc::new(0),
    }
}

proptest! {
    #[test]
    fn every_message_is_handled_once_and_in_order_whatever_the_network_does(
        steps in prop::collection::vec((0..9_u8, 0..64_usize), 0..400)
    ) {
        let mut world = World::new();
        for (step, at) in steps {
            match step {
                0 | 1 => world.add(),
                2 => world.forth(at),
                3 => world.home(at),
                4 => world.handle(),
                5 => world.tick(),
                6 if !world.there.is_empty() => {
                    let at = at % world.there.len();
                    // Lost or sent twice.
                    if at.is_multiple_of(2) {
                        world.there.remove(at);
                    } else {
                        let frame = world.there[at].clone();
                        world.there.push(frame);
                    }
                }
                7 if !world.back.is_empty() => {
                    let at = at % world.back.len();
                    if at.is_multiple_of(2) {
                        world.back.remove(at);
                    } else {
                        let frame = world.back[at];
                        world.back.push(frame);
                    }
                }
                _ => world.forth(0),
            }
        }
        world.heal();
        let all: Vec<u32> = (0..world.next).collect();
        prop_assert_eq!(&world.handled, &all);
        prop_assert_eq!(&world.confirmed, &all);
    }

    #[test]
    fn a_consumer_or_producer_that_starts_anew_loses_nothing_that_is_kept(
        steps in prop::collection::vec((0..7_u8, 0..64_usize), 0..200)
    ) {
        let mut world = World::new();
        for (step, at) in steps {
            match step {
                0 | 1 => world.add(),
                2 => world.forth(at),
                3 => world.home(at),
                4 => world.handle(),
                5 => world.tick(),
                _ => {
                    world.receiving = Receiving::new(WINDOW);
                    world.tick();
                }
            }
        }
        world.heal();
        let all: Vec<u32> = (0..world.next).collect();
        prop_assert_eq!(&world.confirmed, &all);
        let mut handled = world.handled.clone();
        handled.sort_unstable();
        handled.dedup();
        prop_assert_eq!(&handled, &all, "each at least once");
    }
}

#[test]
fn no_more_than_the_window_is_under_way() {
    let mut world = World::new();
    for _ in 0..20 {
        world.add();
    }
    assert_eq!(
        world.there.len(),
        1,
        "only the first, until a consumer is heard"
    );
    world.forth(0);
    world.home(0);
    assert_eq!(world.there.len(), 3, "the window less the first");
    for _ in 0..3 {
        world.forth(0);
    }
    world.home(0);
    assert!(world.there.is_empty() && !world.sending.has_demand());
    world.handle();
    world.home(0);
    assert!(world.there.is_empty(), "half a window is asked for at once");
    world.handle();
    world.home(0);
    assert_eq!(world.there.len(), 2);
    assert_eq!(world.confirmed, [0, 1]);
}

#[test]
fn a_gap_is_asked_for_once_and_what_came_early_is_kept() {
    let mut receiving = Receiving::new(WINDOW);
    assert!(receiving.receive(&forth(7, 1, true)).is_some());
    let missed = ToProducer::Resend {
        session: 7,
        from: 2,
    };
    assert_eq!(receiving.receive(&forth(7, 3, false)), Some(missed));
    assert_eq!(receiving.receive(&forth(7, 4, false)), None, "asked for");
    assert_eq!(receiving.receive(&forth(7, 9, false)), None, "too far");
    assert_eq!(receiving.receive(&forth(7, 2, false)), None);
    for sequence in 1..=4 {
        assert_eq!(receiving.next().map(|next| next.1), Some(sequence));
        receiving.confirm(7, sequence);
    }
    assert!(receiving.next().is_none());
}

#[test]
fn a_number_that_no_producer_gives_is_ignored() {
    let mut receiving = Receiving::new(WINDOW);
    for sequence in [0, u64::MAX] {
        assert_eq!(receiving.receive(&forth(7, sequence, true)), None);
    }
    assert_eq!(receiving.session(), None);
}

#[test]
fn what_waits_for_the_consumers_actor_is_not_sent_again() {
    let mut world = World::new();
    for _ in 0..WINDOW {
        world.add();
    }
    world.forth(0);
    world.home(0);
    while !world.there.is_empty() {
        world.forth(0);
    }
    for _ in 0..3 {
        world.tick();
        while !world.back.is_empty() {
            world.home(0);
        }
        assert!(world.there.is_empty());
    }
}

#[test]
fn the_first_message_of_an_earlier_session_does_not_bring_it_back() {
    let mut receiving = Receiving::new(WINDOW);
    receiving.receive(&forth(7, 1, true));
    receiving.receive(&forth(8, 1, true));
    receiving.receive(&forth(7, 1, true));
    assert_eq!(receiving.session(), Some(8));
    assert!(receiving.confirm(7, 1).is_none(), "of an earlier session");
    assert_eq!(receiving.next().map(|next| next.0), Some(8));
}

#[test]
fn a_producer_whose_clock_was_set_back_is_heard_all_the_same() {
    let mut world = World::new();
    world.receiving.receive(&forth(1_000, 1, true));
    world.add();
    world.add();
    while world.confirmed.len() < 2 {
        world.tick();
        world.forth(0);
        world.handle();
        world.home(0);
    }
    assert_eq!(world.receiving.session(), Some(1_001));
    assert_eq!(
        world.handled[1..],
        [0, 1],
        "behind that of the later session"
    );
}

#[test]
fn a_consumer_that_lacks_what_an_earlier_one_confirmed_goes_on_after_it() {
    let mut world = World::new();
    for _ in 0..4 {
        world.add();
    }
    let late = world.there[0].clone();
    while world.confirmed.len() < 2 {
        world.tick();
        world.forth(0);
        world.handle();
        world.home(0);
    }
    world.there.clear();
    world.back.clear();
    world.receiving = Receiving::new(WINDOW);
    // The first message of the session, which came late, makes the new consumer begin with what is confirmed already.
    world.there.push(late);
    world.heal();
    assert_eq!(world.confirmed, [0, 1, 2, 3]);
}

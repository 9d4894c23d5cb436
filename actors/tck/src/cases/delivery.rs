//! Reliable delivery: order, duplicates, losses, the window, and starts anew.

use std::time::Duration;

use crate::{
    case::{
        Case, CaseResult, Failure, SEED,
        Stance::{Different, Same},
        ensure, ensure_eq,
    },
    cases,
    driver::delivery::{Driver, Pair, Spec, Way, Weather, settle},
};

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L3;
    messages_are_delivered_in_order_and_one_at_a_time => "ReliableDeliverySpec: illustrate point-to-point usage", Same;
    messages_wait_while_one_is_not_confirmed => "ConsumerControllerSpec: stash while waiting for consumer confirmation", Same;
    a_slow_producer_is_no_trouble => "ReliableDeliverySpec: work with slow producer and fast consumer", Same;
    no_more_than_the_window_is_under_way => "ReliableDeliverySpec: work with fast producer and slow consumer", Same;
    more_is_asked_for_when_half_a_window_is_confirmed => "ConsumerControllerSpec: send Request after half window size", Same;
    a_window_of_one_delivers_all => "ReliableDeliverySpec: allow flow control window of one", Same;
    a_producer_is_asked_as_far_as_the_window_reaches => "ProducerControllerSpec: handle RequestNext", Same;
    a_producer_that_registers_anew_is_asked => "ProducerControllerSpec: allow restart of producer", Same;
    a_lost_first_message_is_sent_again => "ProducerControllerSpec: resend lost initial SequencedMessage", Same;
    a_message_that_is_lost_between_others_is_sent_again => "ProducerControllerSpec: resend lost SequencedMessage when receiving Resend", Same;
    a_lost_last_message_is_sent_again => "ProducerControllerSpec: resend last lost SequencedMessage when receiving Request", Same;
    many_lost_messages_are_sent_again => "ConsumerControllerSpec: detect lost message", Same;
    what_comes_early_is_kept => "ConsumerControllerSpec: detect lost message",
        Different("a message behind a gap is kept within the window; Pekko drops it and has it sent again");
    a_lost_registration_is_repeated => "ConsumerControllerSpec: resend RegisterConsumer", Same;
    a_lost_first_request_is_repeated => "ConsumerControllerSpec: resend initial Request", Same;
    a_lost_request_is_repeated => "ConsumerControllerSpec: resend Request", Same;
    a_message_that_comes_twice_is_delivered_once => "ConsumerControllerSpec: deduplicate resend of first message", Same;
    a_producer_hears_when_its_message_is_confirmed_and_not_before => "ProducerControllerSpec: reply to MessageWithConfirmation", Same;
    a_lost_confirmation_is_heard_later => "ProducerControllerSpec: reply to MessageWithConfirmation", Same;
    a_new_worker_gets_the_message_that_is_not_confirmed => "ConsumerControllerSpec: allow restart of consumer", Same;
    a_confirmation_of_a_worker_that_was_replaced_has_no_effect => "ConsumerControllerSpec: allow restart of consumer", Same;
    a_consumer_outlives_its_worker => "ConsumerControllerSpec: stop ConsumerController when consumer is stopped",
        Different("the consumer waits for the next worker; Pekko's stops with its consumer and must be replaced");
    a_forgotten_message_is_delivered_again => "ConsumerControllerSpec: allow restart of consumer",
        Different("a delivery that is dropped comes again at once; Pekko delivers it again when a consumer registers anew");
    a_slow_worker_causes_no_resending => "ConsumerControllerSpec: resend Request",
        Different("a silent consumer says what has arrived, so that only what is lost is sent again");
    a_new_consumer_gets_what_is_not_confirmed => "ProducerControllerSpec: support registration of new ConsumerController", Same;
    a_new_producer_is_served_from_its_first_message => "ConsumerControllerSpec: handle first message when switching producer", Same;
    what_waits_of_an_earlier_producer_is_dropped => "ReliableDeliverySpec: allow replacement of producer", Same;
    a_full_buffer_refuses => "ProducerControllerSpec: handle RequestNext",
        Different("a message is accepted without a request while the buffer has room, and refused beyond it");
    a_link_that_was_down_loses_nothing => "ReliableDeliveryRandomSpec: work with flaky network", Same;
    a_link_that_repeats_everything_delivers_each_once => "ReliableDeliveryRandomSpec: work with flaky network", Same;
    a_foul_link_delivers_each_once_and_in_order => "ReliableDeliveryRandomSpec: work with flaky network", Same;
    a_foul_link_delivers_with_a_small_window => "ReliableDeliveryRandomSpec: work with flaky network", Same;
];

/// Longer than every wait before something is sent again.
const LONG: Duration = Duration::from_secs(61);

fn open(driver: &dyn Driver, window: u32) -> Result<Box<dyn Pair>, Failure> {
    let spec = Spec {
        window: Some(window),
        ..Spec::default()
    };
    Ok(driver.open(spec)?)
}

/// Waits until what is lost has been sent again.
async fn patience() {
    tokio::time::sleep(LONG).await;
}

async fn messages_are_delivered_in_order_and_one_at_a_time(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 20)?;
    let worker = pair.worker("worker");
    pair.offer_all(1..=42)?;
    worker.take(1..=42).await?;
    worker.expect(&[]).await
}

async fn messages_wait_while_one_is_not_confirmed(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 20)?;
    let worker = pair.worker("worker");
    pair.offer_all(1..=3)?;
    worker.expect(&[1]).await?;
    patience().await;
    worker.expect(&[1]).await?;
    worker.take(1..=3).await
}

async fn a_slow_producer_is_no_trouble(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 20)?;
    let worker = pair.worker("worker");
    for message in 1..=5 {
        worker.expect(&[]).await?;
        patience().await;
        pair.offer_all([message])?;
        worker.take([message]).await?;
    }
    ensure_eq("sent", &pair.sent(), &vec![1, 2, 3, 4, 5])
}

async fn no_more_than_the_window_is_under_way(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 5)?;
    let worker = pair.worker("worker");
    pair.offer_all(1..=20)?;
    worker.expect(&[1]).await?;
    ensure_eq("sent", &pair.sent(), &(1..=5).collect())?;
    worker.take(1..=20).await?;
    ensure_eq("sent", &pair.sent(), &(1..=20).collect())
}

async fn more_is_asked_for_when_half_a_window_is_confirmed(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 10)?;
    let worker = pair.worker("worker");
    pair.offer_all(1..=20)?;
    worker.take(1..=4).await?;
    ensure_eq("sent", &pair.sent().len(), &10)?;
    worker.take([5]).await?;
    ensure_eq("sent", &pair.sent().len(), &15)
}

async fn a_window_of_one_delivers_all(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 1)?;
    let worker = pair.worker("worker");
    pair.offer_all(1..=5)?;
    worker.take(1..=5).await?;
    ensure_eq("sent", &pair.sent(), &(1..=5).collect())
}

async fn a_producer_is_asked_as_far_as_the_window_reaches(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 4)?;
    let worker = pair.worker("worker");
    pair.start_producer();
    let mut sent = 0;
    settle().await;
    while pair.requests() > 0 && sent < 100 {
        sent += 1;
        ensure_eq("asked once at a time", &pair.requests(), &1)?;
        pair.send(sent);
        settle().await;
    }
    ensure_eq("asked for", &sent, &4)?;
    worker.take([1, 2]).await?;
    ensure_eq("asked when there is room", &pair.requests(), &1)
}

async fn a_producer_that_registers_anew_is_asked(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 4)?;
    let worker = pair.worker("worker");
    pair.start_producer();
    settle().await;
    ensure_eq("asked", &pair.requests(), &1)?;
    pair.start_producer();
    settle().await;
    ensure(pair.send(1), || "not asked anew".to_owned())?;
    worker.take([1]).await
}

async fn a_lost_first_message_is_sent_again(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 10)?;
    let worker = pair.worker("worker");
    settle().await;
    pair.weather(Way::Forth, Weather::Loses(1));
    pair.offer_all(1..=3)?;
    worker.expect(&[]).await?;
    patience().await;
    worker.take(1..=3).await
}

async fn a_message_that_is_lost_between_others_is_sent_again(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 10)?;
    let worker = pair.worker("worker");
    pair.offer_all([1])?;
    worker.take([1]).await?;
    pair.weather(Way::Forth, Weather::Loses(1));
    pair.offer_all([2])?;
    settle().await;
    pair.offer_all([3])?;
    // The gap shows the loss at once.
    worker.take([2, 3]).await
}

async fn a_lost_last_message_is_sent_again(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 10)?;
    let worker = pair.worker("worker");
    pair.offer_all([1])?;
    worker.take([1]).await?;
    pair.weather(Way::Forth, Weather::Loses(1));
    pair.offer_all([2])?;
    worker.expect(&[]).await?;
    patience().await;
    worker.take([2]).await
}

async fn many_lost_messages_are_sent_again(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 10)?;
    let worker = pair.worker("worker");
    pair.offer_all([1])?;
    worker.take([1]).await?;
    pair.weather(Way::Forth, Weather::Loses(4));
    pair.offer_all(2..=7)?;
    patience().await;
    worker.take(2..=7).await
}

async fn what_comes_early_is_kept(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 10)?;
    let worker = pair.worker("worker");
    pair.offer_all([1])?;
    worker.take([1]).await?;
    pair.weather(Way::Forth, Weather::Loses(1));
    // What asks for the message again is lost too, so that it comes late.
    pair.weather(Way::Back, Weather::Loses(1));
    pair.offer_all(2..=4)?;
    settle().await;
    pair.weather(Way::Forth, Weather::Clear);
    patience().await;
    worker.take(2..=4).await
}

async fn a_lost_registration_is_repeated(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 10)?;
    let worker = pair.worker("worker");
    pair.offer_all([1])?;
    worker.take([1]).await?;
    pair.weather(Way::Back, Weather::Loses(1));
    pair.replace_consumer();
    let worker = pair.worker("next");
    pair.offer_all([2])?;
    patience().await;
    // What the first has confirmed and could not tell may come again.
    if worker.messages() == [1] {
        worker.take([1]).await?;
    }
    worker.take([2]).await
}

async fn a_lost_first_request_is_repeated(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 10)?;
    let worker = pair.worker("worker");
    settle().await;
    pair.weather(Way::Back, Weather::Loses(1));
    pair.offer_all(1..=3)?;
    worker.take([1]).await?;
    patience().await;
    worker.take([2, 3]).await
}

async fn a_lost_request_is_repeated(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 4)?;
    let worker = pair.worker("worker");
    pair.offer_all(1..=8)?;
    worker.take([1]).await?;
    pair.weather(Way::Back, Weather::Down);
    worker.take(2..=4).await?;
    worker.expect(&[]).await?;
    pair.weather(Way::Back, Weather::Clear);
    patience().await;
    worker.take(5..=8).await
}

async fn a_message_that_comes_twice_is_delivered_once(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 10)?;
    pair.weather(Way::Forth, Weather::Repeats);
    let worker = pair.worker("worker");
    pair.offer_all(1..=5)?;
    worker.take(1..=5).await?;
    patience().await;
    worker.expect(&[]).await
}

async fn a_producer_hears_when_its_message_is_confirmed_and_not_before(
    driver: &dyn Driver,
) -> CaseResult {
    let pair = open(driver, 10)?;
    let worker = pair.worker("worker");
    let mut receipt = pair.submit(1);
    worker.expect(&[1]).await?;
    ensure(!receipt.is_confirmed(), || "confirmed early".to_owned())?;
    worker.take([1]).await?;
    ensure(receipt.is_confirmed(), || "not confirmed".to_owned())
}

async fn a_lost_confirmation_is_heard_later(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 10)?;
    let worker = pair.worker("worker");
    let mut receipt = pair.submit(1);
    worker.expect(&[1]).await?;
    pair.weather(Way::Back, Weather::Loses(1));
    worker.take([1]).await?;
    ensure(!receipt.is_confirmed(), || "nothing was lost".to_owned())?;
    patience().await;
    ensure(receipt.is_confirmed(), || "not confirmed".to_owned())?;
    worker.expect(&[]).await
}

async fn a_new_worker_gets_the_message_that_is_not_confirmed(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 10)?;
    let first = pair.worker("first");
    pair.offer_all(1..=3)?;
    first.take([1]).await?;
    first.expect(&[2]).await?;
    let second = pair.worker("second");
    second.take([2, 3]).await
}

async fn a_confirmation_of_a_worker_that_was_replaced_has_no_effect(
    driver: &dyn Driver,
) -> CaseResult {
    let pair = open(driver, 10)?;
    let first = pair.worker("first");
    pair.offer_all(1..=2)?;
    first.expect(&[1]).await?;
    let second = pair.worker("second");
    second.expect(&[1]).await?;
    first.confirm();
    second.expect(&[1]).await?;
    second.take([1, 2]).await
}

async fn a_consumer_outlives_its_worker(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 10)?;
    let first = pair.worker("first");
    pair.offer_all(1..=2)?;
    first.expect(&[1]).await?;
    first.stop();
    settle().await;
    let second = pair.worker("second");
    second.take([1, 2]).await
}

async fn a_forgotten_message_is_delivered_again(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 10)?;
    let worker = pair.worker("worker");
    pair.offer_all(1..=2)?;
    worker.expect(&[1]).await?;
    worker.forget()?;
    worker.take([1, 2]).await
}

async fn a_slow_worker_causes_no_resending(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 5)?;
    let worker = pair.worker("worker");
    pair.offer_all(1..=5)?;
    worker.expect(&[1]).await?;
    patience().await;
    patience().await;
    ensure_eq("sent", &pair.sent(), &(1..=5).collect())?;
    worker.take(1..=5).await
}

async fn a_new_consumer_gets_what_is_not_confirmed(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 4)?;
    let worker = pair.worker("worker");
    pair.offer_all(1..=6)?;
    worker.take([1, 2]).await?;
    pair.replace_consumer();
    let worker = pair.worker("next");
    worker.take(3..=6).await
}

async fn a_new_producer_is_served_from_its_first_message(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 4)?;
    let worker = pair.worker("worker");
    pair.offer_all(1..=6)?;
    worker.take(1..=6).await?;
    pair.replace_producer();
    pair.offer_all(11..=16)?;
    worker.take(11..=16).await
}

async fn what_waits_of_an_earlier_producer_is_dropped(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 4)?;
    let worker = pair.worker("worker");
    pair.offer_all(1..=3)?;
    worker.take([1]).await?;
    worker.expect(&[2]).await?;
    pair.replace_producer();
    pair.offer_all([11])?;
    settle().await;
    // It holds that of the earlier producer, whose confirmation has no effect any more.
    ensure_eq("messages in hand", &worker.messages(), &vec![2, 11])?;
    worker.confirm();
    worker.take([11]).await?;
    worker.expect(&[]).await
}

async fn a_full_buffer_refuses(driver: &dyn Driver) -> CaseResult {
    let pair = driver.open(Spec {
        window: Some(2),
        buffer: Some(3),
    })?;
    let worker = pair.worker("worker");
    pair.offer_all(1..=3)?;
    ensure(!pair.offer(4), || "more than the buffer".to_owned())?;
    worker.take([1]).await?;
    ensure(pair.offer(4), || "no room after a confirmation".to_owned())?;
    worker.take(2..=4).await
}

async fn a_link_that_was_down_loses_nothing(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 10)?;
    let worker = pair.worker("worker");
    pair.offer_all([1])?;
    worker.take([1]).await?;
    for way in [Way::Forth, Way::Back] {
        pair.weather(way, Weather::Down);
    }
    pair.offer_all(2..=30)?;
    patience().await;
    worker.expect(&[]).await?;
    for way in [Way::Forth, Way::Back] {
        pair.weather(way, Weather::Clear);
    }
    patience().await;
    worker.take(2..=30).await
}

async fn a_link_that_repeats_everything_delivers_each_once(driver: &dyn Driver) -> CaseResult {
    let pair = open(driver, 6)?;
    for way in [Way::Forth, Way::Back] {
        pair.weather(way, Weather::Repeats);
    }
    let worker = pair.worker("worker");
    pair.offer_all(1..=40)?;
    worker.take(1..=40).await?;
    patience().await;
    worker.expect(&[]).await
}

/// Delivers all over a link that is foul in both directions.
async fn through_foul_weather(driver: &dyn Driver, window: u32, seed: u64) -> CaseResult {
    let pair = open(driver, window)?;
    pair.weather(Way::Forth, Weather::Foul(seed));
    pair.weather(Way::Back, Weather::Foul(seed + 1));
    let worker = pair.worker("worker");
    pair.offer_all(1..=60)?;
    for expected in 1..=60 {
        let mut waits = 0;
        settle().await;
        while worker.messages().is_empty() && waits < 50 {
            patience().await;
            waits += 1;
        }
        ensure_eq("messages in hand", &worker.messages(), &vec![expected])?;
        worker.confirm();
    }
    patience().await;
    worker.expect(&[]).await
}

async fn a_foul_link_delivers_each_once_and_in_order(driver: &dyn Driver) -> CaseResult {
    for seed in 0..10 {
        through_foul_weather(driver, 20, SEED + 10 * seed).await?;
    }
    Ok(())
}

async fn a_foul_link_delivers_with_a_small_window(driver: &dyn Driver) -> CaseResult {
    for seed in 0..10 {
        through_foul_weather(driver, 2, SEED + 10 * seed).await?;
    }
    Ok(())
}

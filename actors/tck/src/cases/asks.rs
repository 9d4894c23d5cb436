//! Asks: answers, timeouts, and why there is no answer.

use futures_util::{FutureExt, future::join_all};

use super::prelude::*;

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L1;
    an_ask_is_answered => "AskSpec: succeed when the actor is alive", Same;
    asks_and_tells_of_one_sender_are_handled_in_their_order => "DispatcherActorSpec: support ask/reply", Same;
    each_asker_gets_its_own_answer => "AskSpec: succeed when the actor is alive", Same;
    an_actor_handles_others_until_a_late_answer_is_given => "AskSpec: succeed when the actor is alive", Same;
    a_refusal_is_an_ordinary_answer => "AskSpec: fail future for a fail response with text",
        Different("a refusal is a value of the answer's type, checked by the compiler, in place of a `StatusReply`");
    an_ask_of_a_stopped_actor_fails_at_once => "AskSpec: fail the future if the actor is already terminated", Same;
    an_ask_without_an_answer_in_time_fails_then => "AskSpec: fail the future if the actor doesn't reply in time", Same;
    an_ask_does_not_time_out_early => "AskSpec: fail the future if the actor doesn't reply in time", Same;
    an_ask_times_out_while_it_waits_in_the_mailbox => "AskSpec: fail the future if the actor doesn't reply in time", Same;
    an_actor_lives_on_after_an_answer_that_came_too_late => "AskSpec: publish dead-letter if the AskPattern.ask has completed on timeout", Same;
    an_answer_that_came_too_late_is_no_dead_letter => "AskSpec: publish dead-letter if the AskPattern.ask has completed on timeout",
        Different("an answer is no message to an actor, so that nobody reads of it twice: the asker had its timeout");
    an_actor_that_stops_fails_the_asks_that_wait => "AskSpec: fail the future if the actor is already terminated", Same;
    an_ask_that_fails_the_actor_fails_before_its_timeout => "AskSpec: fail asking actor if responder function throws",
        Different("the asker hears at once; in Pekko it waits for its timeout");
    an_asker_learns_that_the_actor_had_stopped => "AskSpec: fail the future if the actor is already terminated", Trap("T15");
    an_asker_learns_that_the_actor_stopped_before_its_message => "AskSpec: fail the future if the actor is already terminated", Trap("T15");
    an_asker_learns_that_the_handler_failed => "AskSpec: fail asking actor if responder function throws", Trap("T15");
    one_panic_among_a_hundred_asks_is_told_from_its_bystanders => "none",
        Trap("stock actix closes all hundred, and Pekko lets all hundred run into their timeouts");
    an_ask_under_way_when_its_actor_stops_is_interrupted => "AskSpec: fail the future if the actor is already terminated", Trap("T15");
    an_actor_that_answers_by_futures_takes_no_more_than_its_maximum => "MapAsyncSpec: not run more futures than requested parallelism",
        Different("Pekko bounds the asks under way in the stream that asks, not in the actor");
    answers_beyond_the_maximum_wait_in_the_mailbox_within_its_bound => "none", Trap("a mailbox does not bound what was taken from it");
    an_asker_learns_that_the_answer_was_dropped => "AskSpec: fail the future if the actor doesn't reply in time", Trap("T15");
    an_asker_learns_that_the_mailbox_was_full => "MailboxSelectorSpec: set capacity on a bounded mailbox", Trap("T15");
    an_asker_learns_that_the_actor_restarts_so_that_a_new_try_is_safe => "BackoffSupervisorSpec: reply to sender if replyWhileStopped is specified", Trap("T15");
    an_ask_during_a_backoff_is_answered_by_the_next_incarnation => "SupervisionSpec: restart after exponential backoff", Same;
    an_ask_that_was_dropped_before_its_turn_is_skipped => "none", Trap("T17");
    an_ask_that_timed_out_before_its_turn_is_skipped => "none", Trap("T17");
    work_begun_for_a_dropped_ask_sees_its_token_cancelled => "none", Trap("T17");
    work_begun_for_an_ask_that_timed_out_sees_its_token_cancelled => "none", Trap("T17");
    the_token_of_a_tell_is_never_cancelled => "none", Trap("T17");
    an_actor_gets_the_answer_to_its_ask_as_a_message => "ActorContextAskSpec: provide a safe ask", Same;
    an_actor_gets_the_timeout_of_its_ask_as_a_message => "ActorContextAskSpec: must timeout if recipient doesn't reply in time", Same;
    an_actor_gets_answers_in_the_order_of_its_asks => "ActorContextAskSpec: receive replies in same order as sent", Same;
];

/// Asks, and expects this refusal.
async fn expect_refusal(
    puppet: &Puppet,
    script: impl Into<Script>,
    expected: Refusal,
) -> CaseResult {
    let answer = puppet.try_ask(script, ANSWER_TIMEOUT).await;
    ensure_eq("answer", &answer, &Err(expected))
}

async fn an_ask_is_answered(driver: &dyn Driver) -> CaseResult {
    let (_world, a) = driver.with(plain("a")).await?;
    ensure_eq("answer", &a.ask_number(Add(7)).await?, &7)
}

async fn asks_and_tells_of_one_sender_are_handled_in_their_order(
    driver: &dyn Driver,
) -> CaseResult {
    let (_world, a) = driver.with(plain("a")).await?;
    a.tell(Add(1))?;
    ensure_eq("first", &a.ask_number(Add(1)).await?, &2)?;
    a.tell(Add(1))?;
    ensure_eq("second", &a.ask_number(Add(1)).await?, &4)
}

async fn each_asker_gets_its_own_answer(driver: &dyn Driver) -> CaseResult {
    let (_world, a) = driver.with(plain("a")).await?;
    let asks = [(300, 1), (100, 2), (200, 3)];
    let asks =
        asks.map(|(delay, number)| a.try_ask(AnswerAfter(ms(delay), number), ANSWER_TIMEOUT));
    let answers = join_all(asks).await;
    let expected: Vec<_> = (1..=3).map(|number| Ok(Answer::Number(number))).collect();
    ensure_eq("answers", &answers, &expected)
}

async fn an_actor_handles_others_until_a_late_answer_is_given(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let late = a.try_ask(AnswerAfter(SECOND, 5), ANSWER_TIMEOUT);
    let quick = async {
        a.tell(Note("meanwhile"))?;
        world.expect_notes(&["a meanwhile"]).await
    };
    let (late, quick) = futures_util::join!(late, quick);
    quick?;
    ensure_eq("late answer", &late, &Ok(Answer::Number(5)))
}

async fn a_refusal_is_an_ordinary_answer(driver: &dyn Driver) -> CaseResult {
    let (_world, a) = driver.with(plain("a")).await?;
    let answer = a.ask(Refuse("no such thing")).await?;
    ensure_eq("answer", &answer, &Answer::Refused("no such thing"))?;
    ensure(a.is_alive(), || "the refusal stopped the actor".to_owned())
}

async fn an_ask_of_a_stopped_actor_fails_at_once(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(Stop)?;
    world.settle().await?;
    let before = world.shared.millis();
    let answer = a.try_ask(Get, ANSWER_TIMEOUT).await;
    ensure(answer.is_err(), || format!("answered {answer:?}"))?;
    ensure_eq("millis", &(world.shared.millis() - before), &0)
}

async fn an_ask_without_an_answer_in_time_fails_then(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let answer = a.try_ask(AnswerAfter(10 * SECOND, 1), SECOND).await;
    ensure_eq("answer", &answer, &Err(Refusal::TimedOut))?;
    // Timers of some libraries and of tokio are exact to the millisecond.
    ensure(world.shared.millis().abs_diff(1000) <= 2, || {
        format!("after {} ms", world.shared.millis())
    })
}

async fn an_ask_does_not_time_out_early(driver: &dyn Driver) -> CaseResult {
    let (_world, a) = driver.with(plain("a")).await?;
    let answer = a.try_ask(AnswerAfter(ms(990), 1), SECOND).await;
    ensure_eq("answer", &answer, &Ok(Answer::Number(1)))
}

async fn an_ask_times_out_while_it_waits_in_the_mailbox(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(Hold(10 * SECOND))?;
    world.settle().await?;
    let answer = a.try_ask(Get, SECOND).await;
    ensure_eq("answer", &answer, &Err(Refusal::TimedOut))
}

async fn an_actor_lives_on_after_an_answer_that_came_too_late(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let answer = a
        .try_ask([Add(1), AnswerAfter(2 * SECOND, 1)], SECOND)
        .await;
    ensure_eq("answer", &answer, &Err(Refusal::TimedOut))?;
    world.pass(2 * SECOND).await?;
    ensure_eq("sum", &a.ask_number(Get).await?, &1)
}

async fn an_answer_that_came_too_late_is_no_dead_letter(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let answer = a.try_ask(AnswerAfter(2 * SECOND, 1), SECOND).await;
    ensure_eq("answer", &answer, &Err(Refusal::TimedOut))?;
    world.pass(2 * SECOND).await?;
    ensure_eq("dead letters", &world.dead_letters()?, &0)
}

/// Has three asks wait behind a stop; returns how they ended.
async fn ended_by_a_stop(driver: &dyn Driver) -> Result<Vec<Result<Answer, Refusal>>, Failure> {
    let (_world, a) = driver.with(plain("a")).await?;
    let stop = a.try_ask([Stop, Add(1)], ANSWER_TIMEOUT);
    let asks = (0..3).map(|_| a.try_ask(Add(1), ANSWER_TIMEOUT));
    let (_, answers) = futures_util::join!(stop, join_all(asks));
    Ok(answers)
}

async fn an_actor_that_stops_fails_the_asks_that_wait(driver: &dyn Driver) -> CaseResult {
    let answers = ended_by_a_stop(driver).await?;
    ensure(answers.iter().all(Result::is_err), || {
        format!("{answers:?}")
    })
}

async fn an_ask_that_fails_the_actor_fails_before_its_timeout(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let answer = a.try_ask(Panic("on purpose"), ANSWER_TIMEOUT).await;
    ensure(answer.is_err(), || format!("answered {answer:?}"))?;
    ensure_eq("millis", &world.shared.millis(), &0)
}

async fn an_asker_learns_that_the_actor_had_stopped(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::AskSaysWhy)?;
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(Stop)?;
    world.settle().await?;
    expect_refusal(&a, Get, Refusal::Stopped).await
}

async fn an_asker_learns_that_the_actor_stopped_before_its_message(
    driver: &dyn Driver,
) -> CaseResult {
    driver.needs(Claim::AskSaysWhy)?;
    let answers = ended_by_a_stop(driver).await?;
    ensure_eq("answers", &answers, &vec![Err(Refusal::Stopped); 3])
}

async fn an_asker_learns_that_the_handler_failed(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::AskSaysWhy)?;
    let (_world, a) = driver.with(plain("a")).await?;
    expect_refusal(&a, Panic("on purpose"), Refusal::Failed).await
}

async fn one_panic_among_a_hundred_asks_is_told_from_its_bystanders(
    driver: &dyn Driver,
) -> CaseResult {
    driver.needs(Claim::AskSaysWhy)?;
    let (world, a) = driver.with(restarted("a")).await?;
    let asks = (0..100).map(|n| {
        let answer = if n == 50 { (1, None) } else { (2, Some(n)) };
        a.try_ask(AnswerWithin(ms(answer.0), answer.1), ANSWER_TIMEOUT)
    });
    let answers = join_all(asks).await;
    world.settle().await?;
    for (n, answer) in answers.into_iter().enumerate() {
        let expected = if n == 50 {
            Refusal::Failed
        } else {
            Refusal::Interrupted
        };
        ensure_eq("answer", &answer, &Err(expected))?;
    }
    ensure_eq("incarnation", &a.ask_number(Incarnation).await?, &2)
}

async fn an_ask_under_way_when_its_actor_stops_is_interrupted(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::AskSaysWhy)?;
    let (world, a) = driver.with(plain("a")).await?;
    let asked = a.try_ask(AnswerWithin(SECOND, Some(1)), ANSWER_TIMEOUT);
    let stopped = async {
        world.settle().await?;
        a.tell(Stop)
    };
    let (answer, stopped) = futures_util::join!(asked, stopped);
    stopped?;
    ensure_eq("answer", &answer, &Err(Refusal::Interrupted))
}

async fn an_actor_that_answers_by_futures_takes_no_more_than_its_maximum(
    driver: &dyn Driver,
) -> CaseResult {
    let spec = plain("a").max_in_flight(3);
    let (world, a) = driver.with(spec).await?;
    let asks = (0..9).map(|_| {
        a.try_ask(
            [NoteTime("begun"), AnswerWithin(ms(10), Some(0))],
            ANSWER_TIMEOUT,
        )
    });
    join_all(asks).await;
    let begun = [0, 10, 20].map(|at| world.times(&format!("a begun at {at} ms")));
    ensure_eq("begun", &begun, &[3, 3, 3])
}

async fn answers_beyond_the_maximum_wait_in_the_mailbox_within_its_bound(
    driver: &dyn Driver,
) -> CaseResult {
    let spec = plain("a").max_in_flight(1).mailbox(2);
    let (world, a) = driver.with(spec).await?;
    let first = a.try_ask(AnswerWithin(SECOND, Some(0)), ANSWER_TIMEOUT);
    let rest = async {
        world.settle().await?;
        let offers = (1..=4).map(|number| a.tell(NoteNumber(number)));
        let offers = offers.collect::<Result<Vec<_>, _>>()?;
        let expected = [
            Offer::Enqueued,
            Offer::Enqueued,
            Offer::Dropped,
            Offer::Dropped,
        ];
        ensure_eq("offers", &offers[..], &expected[..])
    };
    let (first, rest) = futures_util::join!(first, rest);
    rest?;
    ensure_eq("answer", &first, &Ok(Answer::Number(0)))?;
    world.expect_notes(&["a 1", "a 2"]).await
}

async fn an_asker_learns_that_the_answer_was_dropped(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::AskSaysWhy)?;
    let (_world, a) = driver.with(plain("a")).await?;
    expect_refusal(&a, NeverAnswer, Refusal::Failed).await
}

async fn an_asker_learns_that_the_mailbox_was_full(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::AskSaysWhy)?;
    let spec = plain("a").mailbox(1).overflow(Overflow::DropNew);
    let (world, a) = driver.with(spec).await?;
    a.tell(Hold(SECOND))?;
    world.settle().await?;
    a.tell(Note("waits"))?;
    expect_refusal(&a, Get, Refusal::MailboxFull).await
}

async fn an_asker_learns_that_the_actor_restarts_so_that_a_new_try_is_safe(
    driver: &dyn Driver,
) -> CaseResult {
    let spec = plain("a").mailbox(1).overflow(Overflow::DropNew);
    let supervision = Supervision::backoff(SECOND, SECOND);
    let (world, a) = driver.with(spec.supervised(supervision)).await?;
    a.tell(Panic("on purpose"))?;
    world.settle().await?;
    a.tell(Note("waits"))?;
    expect_refusal(&a, Get, Refusal::Restarting).await
}

async fn an_ask_during_a_backoff_is_answered_by_the_next_incarnation(
    driver: &dyn Driver,
) -> CaseResult {
    let supervision = Supervision::backoff(SECOND, SECOND);
    let (world, a) = driver.with(plain("a").supervised(supervision)).await?;
    a.tell(Panic("on purpose"))?;
    world.settle().await?;
    ensure_eq("incarnation", &a.ask_number(Incarnation).await?, &2)
}

async fn an_ask_that_was_dropped_before_its_turn_is_skipped(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::AskIsCancelled)?;
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(Hold(SECOND))?;
    world.settle().await?;
    let early = a.try_ask(Add(1), ANSWER_TIMEOUT).now_or_never();
    ensure(early.is_none(), || format!("answered {early:?}"))?;
    ensure_eq("sum", &a.ask_number(Get).await?, &0)
}

async fn an_ask_that_timed_out_before_its_turn_is_skipped(driver: &dyn Driver) -> CaseResult {
    driver.needs(Claim::AskIsCancelled)?;
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(Hold(2 * SECOND))?;
    world.settle().await?;
    let answer = a.try_ask(Add(1), SECOND).await;
    ensure_eq("answer", &answer, &Err(Refusal::TimedOut))?;
    ensure_eq("sum", &a.ask_number(Get).await?, &0)
}

async fn work_begun_for_a_dropped_ask_sees_its_token_cancelled(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let script = [NoteWhenAbandoned("abandoned"), AnswerAfter(10 * SECOND, 1)];
    let mut asked = a.try_ask(script, ANSWER_TIMEOUT);
    let early = (&mut asked).now_or_never();
    world.expect_notes(&[]).await?;
    ensure(early.is_none(), || format!("answered {early:?}"))?;
    drop(asked);
    world.expect_notes(&["abandoned"]).await
}

async fn work_begun_for_an_ask_that_timed_out_sees_its_token_cancelled(
    driver: &dyn Driver,
) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let script = [NoteWhenAbandoned("abandoned"), AnswerAfter(10 * SECOND, 1)];
    let answer = a.try_ask(script, SECOND).await;
    world.expect_notes(&["abandoned"]).await?;
    ensure_eq("answer", &answer, &Err(Refusal::TimedOut))
}

async fn the_token_of_a_tell_is_never_cancelled(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    a.tell(NoteWhenAbandoned("abandoned"))?;
    world.pass(ANSWER_TIMEOUT).await?;
    world.expect_notes(&[]).await
}

async fn an_actor_gets_the_answer_to_its_ask_as_a_message(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let b = world.spawn(plain("b")).await?;
    a.tell([AskAndPipe(b, Add(5).into(), SECOND), Note("asked")])?;
    world.expect_notes(&["a asked", "a got", "a 5"]).await
}

async fn an_actor_gets_the_timeout_of_its_ask_as_a_message(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let b = world.spawn(plain("b")).await?;
    a.tell(AskAndPipe(b, AnswerAfter(10 * SECOND, 1).into(), SECOND))?;
    world.pass(2 * SECOND).await?;
    world.expect_notes(&["a got no answer"]).await
}

async fn an_actor_gets_answers_in_the_order_of_its_asks(driver: &dyn Driver) -> CaseResult {
    let (world, a) = driver.with(plain("a")).await?;
    let b = world.spawn(plain("b")).await?;
    let asks = (0..4).map(|_| AskAndPipe(b.clone(), Add(1).into(), SECOND));
    a.tell(Script(asks.collect()))?;
    world.settle().await?;
    let mut notes = world.notes();
    notes.retain(|note| note != "a got");
    ensure_eq(
        "answers",
        &notes,
        &["a 1", "a 2", "a 3", "a 4"].map(str::to_owned).to_vec(),
    )
}

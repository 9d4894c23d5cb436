//! What actix promises of a context: each method of `AsyncContext` and `ActorContext`, the helpers that spawn futures,
//! the wrappers of futures and streams, and each kind of answer.
//!
//! The cases ask for what stock actix does. Where it does not do what it says, the case is marked as a trap.

use crate::{
    case::{
        Case, CaseResult,
        Stance::{Different, Same, Trap},
        ensure_eq,
    },
    cases,
    driver::contexts::ContextDriver,
};

/// Writes the cases: the sentence, the scene that shows it, and what is noted.
macro_rules! scene_cases {
    ($($name:ident: $scene:ident, [$($entry:literal),*];)*) => {
        $(async fn $name(driver: &dyn ContextDriver) -> CaseResult {
            let expected: &[&str] = &[$($entry),*];
            let entries = driver.play(stringify!($scene)).await;
            ensure_eq("notes", &entries.iter().map(String::as_str).collect::<Vec<_>>()[..], expected)
        })*
    };
}

pub(super) const CASES: &[Case<dyn ContextDriver>] = cases![dyn ContextDriver, L1;
    stopping_a_context_lets_the_handler_end => "actix: ActorContext::stop", Same;
    terminating_a_context_skips_the_stopping_hook => "actix: ActorContext::terminate", Same;
    the_state_says_where_an_actor_is_in_its_life => "actix: ActorContext::state", Same;
    an_actors_own_address_reaches_it => "actix: AsyncContext::address", Same;
    the_address_of_a_stopped_actor_is_closed => "actix: AsyncContext::address", Same;
    an_address_takes_ten_thousand_messages_sent_by_do_send => "actix: AsyncContext::address", Same;
    a_spawned_future_runs_beside_messages => "actix: AsyncContext::spawn", Same;
    spawned_futures_end_with_their_actor => "actix: AsyncContext::spawn", Same;
    ten_thousand_spawned_futures_all_end => "actix: AsyncContext::spawn", Same;
    a_wait_holds_back_messages_futures_and_timers => "actix: AsyncContext::wait", Same;
    of_two_waits_the_last_given_ends_first => "actix: AsyncContext::wait", Same;
    a_wait_begun_in_a_wait_follows_it => "actix: AsyncContext::wait", Same;
    a_wait_may_stop_its_actor => "actix: AsyncContext::wait", Same;
    a_context_is_waiting_in_a_wait_and_at_a_stop => "actix: AsyncContext::waiting", Same;
    a_context_is_not_waiting_because_a_turn_ends => "actix: AsyncContext::waiting", Same;
    a_cancelled_future_delay_interval_message_or_stream_is_never_heard_of => "actix: AsyncContext::cancel_future", Same;
    an_interval_may_cancel_itself => "actix: AsyncContext::cancel_future", Same;
    a_streams_hooks_and_items_come_in_their_order => "actix: AsyncContext::add_stream", Same;
    a_stream_of_a_hundred_thousand_ready_items_is_read_to_its_end => "actix: AsyncContext::add_stream", Same;
    a_stream_whose_handler_waits_goes_on => "actix: AsyncContext::add_stream", Same;
    a_stream_whose_handler_stops_the_actor_is_read_no_further => "actix: AsyncContext::add_stream", Same;
    the_end_of_a_stream_stops_the_actor_by_default => "actix: StreamHandler::finished", Same;
    two_streams_are_both_read_to_their_ends => "actix: AsyncContext::add_stream", Same;
    a_stream_without_end_leaves_messages_their_turn => "actix: AsyncContext::add_stream", Same, isolated;
    the_items_of_a_message_stream_are_handled_as_messages => "actix: AsyncContext::add_message_stream", Same;
    a_message_stream_of_a_hundred_thousand_ready_items_is_read_to_its_end => "actix: AsyncContext::add_message_stream", Same;
    a_message_stream_whose_handler_waits_goes_on => "actix: AsyncContext::add_message_stream",
        Trap("stock actix goes on too; a context that polls only what was woken does not");
    a_message_stream_without_end_leaves_others_their_turn => "actix: AsyncContext::add_message_stream",
        Trap("T6"), isolated;
    a_notification_comes_behind_the_message_in_hand => "actix: AsyncContext::notify", Same;
    delayed_notifications_come_in_the_order_of_their_times => "actix: AsyncContext::notify_later", Same;
    delays_end_at_their_times_and_with_their_actor => "actix: AsyncContext::run_later", Same;
    an_interval_ticks_first_after_its_time => "actix: AsyncContext::run_interval", Same;
    an_interval_makes_up_for_ticks_that_a_wait_held_back => "actix: AsyncContext::run_interval", Same;
    an_interval_may_begin_at_an_instant => "actix: AsyncContext::run_interval_at", Same;
    futures_are_spawned_and_awaited_by_their_own_methods => "actix: ContextFutureSpawner", Same;
    wrapped_futures_map_chain_and_time_out => "actix: WrapFuture, ActorFutureExt", Same;
    wrapped_futures_of_results_map_both_sides => "actix: ActorTryFutureExt", Same;
    wrapped_streams_map_filter_fold_and_collect => "actix: WrapStream, ActorStreamExt", Same;
    response_futures_of_several_asks_run_at_the_same_time => "actix: ResponseFuture", Same;
    a_response_answers_at_once_or_by_a_future => "actix: Response, MessageResult", Same;
    response_futures_of_the_actor_run_at_the_same_time_and_see_its_state => "actix: ResponseActFuture", Same;
    atomic_responses_run_one_after_another => "actix: AtomicResponse", Same;
    a_panic_in_a_response_future_meets_supervision => "actix: ResponseFuture",
        Different("stock actix loses the panic with its task, and the actor goes on as if nothing were");
    a_panic_in_a_response_meets_supervision => "actix: Response",
        Different("stock actix loses the panic with its task, and the actor goes on as if nothing were");
];

scene_cases! {
    stopping_a_context_lets_the_handler_end: stop,
        ["started Running", "a", "b", "stopping Stopping", "stopped Stopped"];
    terminating_a_context_skips_the_stopping_hook: terminate,
        ["started Running", "Stopped", "stopped Stopped"];
    the_state_says_where_an_actor_is_in_its_life: state,
        ["started Running", "Running", "Stopping", "stopping Stopping", "stopped Stopped"];
    an_actors_own_address_reaches_it: address, ["same true", "by its own address", "7"];
    the_address_of_a_stopped_actor_is_closed: address_closes, ["no answer", "connected false"];
    an_address_takes_ten_thousand_messages_sent_by_do_send: address_takes_all, ["10000"];
    a_spawned_future_runs_beside_messages: spawn,
        ["two handles true", "a message meanwhile", "first", "second"];
    spawned_futures_end_with_their_actor: spawn_ends_with_the_actor, [];
    ten_thousand_spawned_futures_all_end: spawn_many, ["10000"];
    a_wait_holds_back_messages_futures_and_timers: wait,
        ["the wait", "a future", "a message", "a timer"];
    of_two_waits_the_last_given_ends_first: wait_twice, ["last given", "first given", "a message"];
    a_wait_begun_in_a_wait_follows_it: wait_within_a_wait, ["outer", "inner", "a message"];
    a_wait_may_stop_its_actor: wait_that_stops, ["stops"];
    a_context_is_waiting_in_a_wait_and_at_a_stop: waiting,
        ["at first false", "with a wait true", "behind it false", "with a stop true"];
    a_context_is_not_waiting_because_a_turn_ends: waiting_in_a_full_turn, [];
    a_cancelled_future_delay_interval_message_or_stream_is_never_heard_of: cancel_future, ["cancelled 5"];
    an_interval_may_cancel_itself: cancel_by_itself, ["tick at 1", "tick at 2"];
    a_streams_hooks_and_items_come_in_their_order: add_stream,
        ["stream started", "stream finished with 3"];
    a_stream_of_a_hundred_thousand_ready_items_is_read_to_its_end: add_stream_of_many,
        ["stream started", "stream finished with 100000"];
    a_stream_whose_handler_waits_goes_on: add_stream_whose_handler_waits,
        ["stream started", "stream finished with 100"];
    a_stream_whose_handler_stops_the_actor_is_read_no_further: add_stream_whose_handler_stops,
        ["stream started", "connected false"];
    the_end_of_a_stream_stops_the_actor_by_default: add_stream_with_its_default_end,
        ["started Running", "item", "stopping Stopping", "stopped Stopped"];
    two_streams_are_both_read_to_their_ends: add_two_streams, ["2000"];
    a_stream_without_end_leaves_messages_their_turn: add_stream_beside_messages,
        ["stream started", "answered", "answered", "answered", "answered", "answered", "answered",
         "answered", "answered", "answered", "answered"];
    the_items_of_a_message_stream_are_handled_as_messages: add_message_stream, ["1", "2", "3", "7"];
    a_message_stream_of_a_hundred_thousand_ready_items_is_read_to_its_end: add_message_stream_of_many, ["100000"];
    a_message_stream_whose_handler_waits_goes_on: add_message_stream_whose_handler_waits, ["100"];
    a_message_stream_without_end_leaves_others_their_turn: add_message_stream_without_end,
        ["a turn", "a turn", "a turn", "a turn", "a turn", "a turn", "a turn", "a turn", "a turn", "a turn"];
    a_notification_comes_behind_the_message_in_hand: notify, ["before", "notified"];
    delayed_notifications_come_in_the_order_of_their_times: notify_later, ["first", "second"];
    delays_end_at_their_times_and_with_their_actor: run_later, ["first at 1", "second at 2"];
    an_interval_ticks_first_after_its_time: run_interval, ["tick at 10", "tick at 20", "tick at 30"];
    an_interval_makes_up_for_ticks_that_a_wait_held_back: run_interval_makes_up,
        ["tick at 35", "tick at 35", "tick at 35", "tick at 40"];
    an_interval_may_begin_at_an_instant: run_interval_at, ["tick at 5", "tick at 15"];
    futures_are_spawned_and_awaited_by_their_own_methods: spawner, ["waited", "spawned"];
    wrapped_futures_map_chain_and_time_out: futures, ["then 4", "map 5", "timeout true"];
    wrapped_futures_of_results_map_both_sides: futures_of_results, ["Err(4)"];
    wrapped_streams_map_filter_fold_and_collect: streams, ["[30, 40, 50]", "fold 10", "sum 500500"];
    response_futures_of_several_asks_run_at_the_same_time: response_future, ["2", "4", "6", "all at 10"];
    a_response_answers_at_once_or_by_a_future: response_of_each_kind, ["0", "4", "3"];
    response_futures_of_the_actor_run_at_the_same_time_and_see_its_state: response_of_the_actor,
        ["3 answered at 10", "6"];
    atomic_responses_run_one_after_another: response_alone, ["1", "3", "6", "all at 30"];
    a_panic_in_a_response_future_meets_supervision: response_future_that_panics, ["5", "no answer", "0"];
    a_panic_in_a_response_meets_supervision: response_that_panics, ["5", "no answer", "0"];
}

//! Messages and their order.

use crate::{
    case::{Case, Stance::Same, Verdict, ensure_eq},
    cases,
    driver::actors::Driver,
    puppet::{
        Command::{Add, Get, Note},
        Spec,
    },
};

pub(super) const CASES: &[Case<dyn Driver>] = cases![dyn Driver, L1;
    a_message_is_handled_once => "ActorSpecSpec: tell", Same;
    messages_of_one_sender_are_handled_in_their_order => "AskSpec", Same;
];

async fn a_message_is_handled_once(driver: &dyn Driver) -> Verdict {
    let world = driver.open();
    let a = world.spawn(Spec::named("a")).await?;
    a.tell(Add(1))?;
    world.settle().await?;
    ensure_eq("sum", &a.ask_number(Get).await?, &1)
}

async fn messages_of_one_sender_are_handled_in_their_order(driver: &dyn Driver) -> Verdict {
    let world = driver.open();
    let a = world.spawn(Spec::named("a")).await?;
    a.tell_all(["1", "2", "3"].map(Note))?;
    world.expect_notes(&["a 1", "a 2", "a 3"]).await
}

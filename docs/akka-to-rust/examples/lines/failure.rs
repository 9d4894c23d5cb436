//! Chapter 4.

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorSystem, AskError, Context, Props, Strategy};

use crate::{Part, SECOND, say};

#[derive(Debug, thiserror::Error)]
#[error("only {0} left")]
struct Insufficient(u32);

#[derive(Message)]
#[rtype(result = "Result<u32, Insufficient>")]
struct Withdraw(u32);

struct Account {
    balance: u32,
}

impl Actor for Account {
    type Context = Context<Self>;
}

impl Handler<Withdraw> for Account {
    type Result = Result<u32, Insufficient>;

    fn handle(&mut self, Withdraw(amount): Withdraw, _: &mut Context<Self>) -> Self::Result {
        assert_ne!(amount, 13, "a bug");
        let left = self.balance.checked_sub(amount);
        self.balance = left.ok_or(Insufficient(self.balance))?;
        Ok(self.balance)
    }
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("failure", 1);
    let props = Props::new(|| Account { balance: 100 }).supervise(Strategy::restart());
    let account = system.spawn(props, "account");
    let ask = |amount| account.ask(Withdraw(amount), SECOND);
    say(&format!("4 granted: {}", ask(40).await??))?;
    if let Err(error) = ask(101).await? {
        say(&format!("4 the caller's error: {error}"))?;
    }
    say(&format!("4 after it: {}", ask(0).await??))?;
    let bug = match ask(13).await {
        Err(AskError::Failed) => "told at once that it failed",
        _ => "told something else",
    };
    say(&format!("differs: 4 who asked for a bug is {bug}"))?;
    say(&format!("4 fresh state: {}", ask(0).await??))?;
    Ok(())
}

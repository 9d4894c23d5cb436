//! Exercise 4. A line that is no number is its sender's error: the parser is to answer it, and to keep its sum. A
//! sum that does not fit is the parser's failure: it is to start anew, at 0.

use std::time::Duration;

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorSystem, Context, Props, Strategy};

#[derive(Debug, PartialEq)]
enum LineError {
    NotANumber,
    Overflow,
}

/// Adds a line to the sum and answers with the sum.
#[derive(Message)]
#[rtype(result = "Result<u8, LineError>")]
struct Line(&'static str);

struct Parser {
    sum: u8,
}

impl Actor for Parser {
    type Context = Context<Self>;
}

impl Handler<Line> for Parser {
    type Result = Result<u8, LineError>;

    fn handle(&mut self, Line(line): Line, ctx: &mut Context<Self>) -> Self::Result {
        let number: u8 = match line.parse() {
            Ok(number) => number,
            Err(error) => {
                ctx.fail(error);
                return Err(LineError::NotANumber);
            }
        };
        let Some(sum) = self.sum.checked_add(number) else {
            ctx.fail("the sum does not fit");
            return Err(LineError::Overflow);
        };
        self.sum = sum;
        Ok(sum)
    }
}

// The check: leave it as it is.

pub(crate) async fn check() {
    let system = ActorSystem::new("exercise", 1);
    let props = Props::new(|| Parser { sum: 0 }).supervise(Strategy::restart());
    let parser = system.spawn(props, "parser");
    let ask = async |line| {
        parser
            .ask(Line(line), Duration::from_secs(1))
            .await
            .unwrap()
    };
    assert_eq!(ask("200").await, Ok(200));
    assert_eq!(ask("many").await, Err(LineError::NotANumber));
    assert_eq!(
        ask("50").await,
        Ok(250),
        "exercise 4: a sender's error costs the parser nothing"
    );
    assert_eq!(ask("50").await, Err(LineError::Overflow));
    assert_eq!(
        ask("50").await,
        Ok(50),
        "exercise 4: after a failure the state is fresh"
    );
    assert_eq!(
        parser.report().restarts,
        1,
        "exercise 4: one failure, one restart"
    );
}

//! Chapter 14.

use std::{cell::RefCell, rc::Rc};

use futures_util::{StreamExt, future::join_all, stream};
use kebne_streams::{FlowExt, Pace, TokenBucket};
use tokio::time::{Instant, sleep};

use crate::{Part, SECOND, say, words};

struct Prompt {
    tokens: u64,
}

pub(crate) async fn run() -> Part {
    let prompts = || stream::iter([200, 100, 100, 300]).map(|tokens| Prompt { tokens });
    let pace = Pace::new(200, SECOND)?.burst(200);
    let begun = Instant::now();
    let shaped = prompts().throttle_by(pace, |prompt: &Prompt| prompt.tokens);
    let passed = shaped.map(|_| begun.elapsed().as_millis() / 500 * 500);
    let at = words(passed.collect::<Vec<_>>().await);
    say(&format!(
        "14 prompts of 200, 100, 100 and 300 tokens pass at ms: {at}"
    ))?;

    let enforced = prompts().throttle_enforcing(pace, |prompt: &Prompt| prompt.tokens);
    let enforced: Vec<_> = enforced.collect().await;
    let seen = enforced.iter().filter(|passed| passed.is_ok()).count();
    let failed = enforced.last().is_some_and(Result::is_err);
    say(&format!(
        "14 enforced: {seen} passes, then it fails: {failed}"
    ))?;

    let start = Instant::now();
    let bucket = Rc::new(RefCell::new(TokenBucket::new(2, SECOND, start)));
    let takes = (0..5).map(|_| {
        let bucket = Rc::clone(&bucket);
        async move {
            let wait = bucket.borrow_mut().offer(Instant::now(), 1);
            sleep(wait).await;
            start.elapsed().as_secs()
        }
    });
    let grants = words(join_all(takes).await);
    say(&format!("14 one limiter for five, granted at s: {grants}"))?;
    Ok(())
}

//! Makes the vectors of the examples of a route, in the background.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use kebne_retrieval::{EmbedError, Embedder, Role, Vector};
use kebne_routing::IntentIndex;

use crate::routes::Route;

/// The examples of one call of the embedder, so that questions are not kept waiting behind all of them.
const BATCH: usize = 32;
/// The first and the longest wait before a call is repeated.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// Begins to make the vectors. The work ends when they are there, or the route is gone.
pub(super) fn begin(route: &Arc<Route>, embedder: Arc<dyn Embedder>) {
    let index = Arc::downgrade(&route.index);
    let name = route.name().to_owned();
    let intents = route.settings().intents.iter();
    let intents: Vec<(String, Vec<String>)> = intents
        .map(|intent| (intent.name.clone(), intent.examples.clone()))
        .collect();
    actix_rt::spawn(async move {
        if let Some(made) = make(&name, &intents, &*embedder, &index).await
            && let Some(index) = index.upgrade()
        {
            let _is_first = index.set(made);
            let space = embedder.space();
            tracing::info!(route = name, space, "the intents of the route are ready");
        }
    });
}

/// Makes the vectors of all examples, and repeats what fails until the route is gone.
async fn make(
    route: &str,
    intents: &[(String, Vec<String>)],
    embedder: &dyn Embedder,
    index: &Weak<std::sync::OnceLock<IntentIndex>>,
) -> Option<IntentIndex> {
    let mut made = Vec::with_capacity(intents.len());
    for (name, examples) in intents {
        let mut vectors: Vec<Vector> = Vec::with_capacity(examples.len());
        for batch in examples.chunks(BATCH) {
            let mut wait = BACKOFF.0;
            loop {
                // Nobody uses the route any more.
                index.upgrade()?;
                match embed(embedder, batch).await {
                    Ok(more) => {
                        vectors.extend(more);
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(route, intent = name, %error, "the examples of an intent have no vectors yet");
                        tokio::time::sleep(wait).await;
                        wait = (2 * wait).min(BACKOFF.1);
                    }
                }
            }
        }
        made.push((name.clone(), vectors));
    }
    Some(IntentIndex::new(made))
}

async fn embed(embedder: &dyn Embedder, examples: &[String]) -> Result<Vec<Vector>, EmbedError> {
    // Examples are questions, so that they are embedded as questions are.
    let made = embedder.embed(examples.to_vec(), Role::Query).await?;
    if made.len() == examples.len() {
        return Ok(made);
    }
    let message = format!("{} vectors for {} texts", made.len(), examples.len());
    Err(EmbedError::Refused(message))
}

//! What collections need, from the settings and the environment.

use std::sync::Arc;

use kebne_actors::ActorRef;
use kebne_collections::{Collections, CollectionsParts, Keyring, PdfReader};
use kebne_retrieval::Embedder;

use crate::{
    gateway::{StartError, context::keyring_of},
    pdf::ChildReader,
    settings::{CollectionsSettings, Environment, Settings},
    supervisor::Supervisor,
    unix_time,
};

/// Returns the keys of the store of collections. An error comes with the setting that is to blame.
pub(super) fn keyring(
    settings: &CollectionsSettings,
    environment: &dyn Environment,
) -> Result<Option<Keyring>, (&'static str, String)> {
    let files = (&settings.key_file, &settings.old_keys_file);
    let variables = (&*settings.key_env, &*settings.old_keys_env);
    keyring_of(files, variables, environment)
}

/// Creates the handle of collections, and starts their actors if there is a file.
pub(super) async fn start(
    supervisor: &ActorRef<Supervisor>,
    settings: &Settings,
    environment: &dyn Environment,
    embedder: Arc<dyn Embedder>,
) -> Result<Collections, StartError> {
    let failed = |key, reason| StartError::Collections { key, reason };
    let keyring = keyring(&settings.collections, environment);
    let tokenizer = settings.context.tokenizer;
    let count = move |text: &str| usize::try_from(tokenizer.count(text)).unwrap_or(usize::MAX);
    let parts = CollectionsParts {
        settings: settings.collections.clone(),
        keyring: keyring.map_err(|(key, reason)| failed(key, reason))?,
        clock: Arc::new(unix_time::millis),
        count: Arc::new(count),
        embedder,
        pdf: pdf_reader(),
    };
    let collections = Collections::new(supervisor, parts);
    match collections.check() {
        Err(error @ kebne_collections::StoreError::Failed(_)) => {
            tracing::error!(%error, "collections cannot be read now");
        }
        checked => checked.map_err(|error| failed("path", error.to_string()))?,
    }
    collections.resume().await?;
    Ok(collections)
}

/// Returns what reads PDF files; `None` if it is not known where this program is.
fn pdf_reader() -> Option<Arc<dyn PdfReader>> {
    match ChildReader::new() {
        Ok(reader) => Some(Arc::new(reader)),
        Err(error) => {
            tracing::error!(%error, "PDF files are not read");
            None
        }
    }
}

//! Files and batches that backends hold for callers: whose they are, and where.
//!
//! An object of a backend has an id of its own here, which depends on its owner, and is remembered in the store of
//! sessions, in a space of its owner's: it is not among the sessions and does not count as one. What is not in a caller's
//! space does not exist for it.

use std::collections::BTreeMap;

use kebne_context::{
    ContextError, ContextHandle,
    store::{Details, Part, Session, StoreError},
};
use sha2::{Digest, Sha256};

/// Bytes of the digest that an id is made of: nobody guesses it, and no two are the same.
const ID_SIZE: usize = 16;
/// The character that no owner's name has.
const SEPARATOR: char = '\u{1f}';
/// The keys of what is remembered.
const BACKEND: &str = "backend";
const UPSTREAM: &str = "upstream";

/// A kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A file.
    File,
    /// A batch of calls.
    Batch,
}

/// An object of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The id that its owner knows.
    pub id: String,
    /// The backend that holds it.
    pub backend: String,
    /// Its id there.
    pub upstream: String,
}

/// All objects.
#[derive(Clone, Debug)]
pub struct Objects {
    context: ContextHandle,
}

impl ObjectKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::File => "file_",
            Self::Batch => "batch_",
        }
    }

    fn space_of(self, owner: &str) -> String {
        let kind = match self {
            Self::File => "files",
            Self::Batch => "batches",
        };
        format!("{owner}{SEPARATOR}{kind}")
    }
}

impl Objects {
    /// Remembers objects in the store of sessions.
    pub fn new(context: ContextHandle) -> Self {
        Self { context }
    }

    /// Remembers an object of a backend, and returns the id that its owner knows. One that is remembered keeps its id.
    ///
    /// # Errors
    /// Returns an error if the owner's quota is used up, or the store fails.
    pub async fn remember(
        &self,
        owner: &str,
        kind: ObjectKind,
        backend: &str,
        upstream: &str,
    ) -> Result<String, ContextError> {
        let space = kind.space_of(owner);
        let text = [space.as_str(), backend, upstream].join(&SEPARATOR.to_string());
        let digest = Sha256::digest(text);
        let id = format!("{}{}", kind.prefix(), hex::encode(&digest[..ID_SIZE]));
        match self.context.read(&space, &id).await {
            Ok(_) => return Ok(id),
            Err(ContextError::Store(StoreError::NoSuchSession)) => {}
            Err(error) => return Err(error),
        }
        let metadata = [(BACKEND, backend), (UPSTREAM, upstream)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let details = Details {
            metadata: BTreeMap::from(metadata),
            ..Details::default()
        };
        self.context.create(&space, id.clone(), details).await?;
        Ok(id)
    }

    /// Returns an object of an owner; `None` if there is none.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    pub async fn find(
        &self,
        owner: &str,
        kind: ObjectKind,
        id: &str,
    ) -> Result<Option<Object>, ContextError> {
        match self.context.read(&kind.space_of(owner), id).await {
            Ok(session) => Ok(object_of(&session)),
            Err(ContextError::Store(StoreError::NoSuchSession)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the objects of an owner after the object `after`, the newest first.
    ///
    /// # Errors
    /// Returns an error if there is no object `after`, or the store fails.
    pub async fn list(
        &self,
        owner: &str,
        kind: ObjectKind,
        after: Option<String>,
        limit: usize,
    ) -> Result<Part<Object>, ContextError> {
        let space = kind.space_of(owner);
        let part = self.context.list(&space, after, limit).await?;
        Ok(Part {
            items: part.items.iter().filter_map(object_of).collect(),
            has_more: part.has_more,
        })
    }

    /// Forgets an object.
    ///
    /// # Errors
    /// Returns an error if there is no such object, or the store fails.
    pub async fn forget(
        &self,
        owner: &str,
        kind: ObjectKind,
        id: &str,
    ) -> Result<(), ContextError> {
        self.context.remove(&kind.space_of(owner), id).await
    }
}

fn object_of(session: &Session) -> Option<Object> {
    let metadata = &session.details.metadata;
    Some(Object {
        id: session.id.clone(),
        backend: metadata.get(BACKEND)?.clone(),
        upstream: metadata.get(UPSTREAM)?.clone(),
    })
}

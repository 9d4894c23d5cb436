//! What makes vectors of texts: built in, or a model that is asked.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{HashedNgrams, Vector};

/// The answer of an embedder. It stays on the thread that waits for it, as the call of a lane does.
pub type Embedded<'a> = Pin<Box<dyn Future<Output = Result<Vec<Vector>, EmbedError>> + 'a>>;

/// What a text is for. Some models embed questions and documents differently, and questions are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is searched for.
    Query,
    /// It is to be found.
    Document,
}

/// Makes vectors of texts.
///
/// All vectors of an embedder are in one space, and only vectors of one space can be compared: whoever keeps vectors keeps the name of
/// their space beside them.
pub trait Embedder: Send + Sync + 'static {
    /// Returns the name of the space of its vectors, such as `hashed-ngrams-v2-384` or `model:minilm`.
    fn space(&self) -> &str;

    /// Returns the number of components of its vectors; `None` as long as it is not known.
    fn dimensions(&self) -> Option<usize>;

    /// Returns `true` if its vectors are made of the words themselves, so that they know nothing of meaning.
    fn is_lexical(&self) -> bool {
        false
    }

    /// Returns the embedder as it embeds for an owner of documents, who pays for it; `None` if it costs nothing.
    fn for_owner(&self, _owner: &str) -> Option<Arc<dyn Embedder>> {
        None
    }

    /// Returns the vectors of texts, in their order. One that is answered by a model waits while the model loads, within the time that the
    /// embedder's settings allow.
    ///
    /// # Errors
    /// Returns [`EmbedError::Unavailable`] if a retry may succeed, [`EmbedError::Unpaid`] if it may succeed once there is room in a budget, and
    /// [`EmbedError::Refused`] if it would fail again.
    fn embed(&self, texts: Vec<String>, role: Role) -> Embedded<'_>;
}

/// The reason why there are no vectors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// The model does not answer now.
    #[error("the embedder is unavailable: {0}")]
    Unavailable(String),
    /// A budget of those who pay has no room.
    #[error("{0}")]
    Unpaid(String),
    /// The model does not take these texts, or answers what is not their vectors.
    #[error("the embedder refused: {0}")]
    Refused(String),
}

impl EmbedError {
    /// Returns `true` if a retry may succeed.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Unpaid(_))
    }
}

/// The built-in embedder, which answers at once.
#[derive(Clone, Debug)]
pub struct BuiltIn {
    hashed: HashedNgrams,
    space: String,
}

impl BuiltIn {
    /// Creates the embedder around a function of texts.
    pub fn new(hashed: HashedNgrams) -> Self {
        Self {
            hashed,
            space: hashed.name(),
        }
    }
}

impl Embedder for BuiltIn {
    fn space(&self) -> &str {
        &self.space
    }

    fn dimensions(&self) -> Option<usize> {
        Some(self.hashed.dimensions())
    }

    fn is_lexical(&self) -> bool {
        true
    }

    fn embed(&self, texts: Vec<String>, _role: Role) -> Embedded<'_> {
        let hashed = self.hashed;
        let vectors = texts.iter().map(|text| hashed.embed(text)).collect();
        Box::pin(std::future::ready(Ok(vectors)))
    }
}

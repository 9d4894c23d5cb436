//! What makes the vectors of an evaluation: the embedder that is built in, or a server.

use std::time::Duration;

use kebne_retrieval::{HashedNgrams, Vector};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The components of the vectors of the built-in embedder, as in the program.
const DIMENSIONS: usize = 384;
/// Texts of one request.
const BATCH: usize = 32;
/// The time for one request, the load of the model included.
const TIMEOUT: Duration = Duration::from_mins(2);

/// Which embedder is evaluated.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct EmbedderArgs {
    /// The base URL of a server with `/embeddings` in OpenAI's dialect, such as `http://127.0.0.1:8081/v1`; without it, the embedder that is
    /// built in.
    #[arg(long = "embedder", value_name = "URL")]
    pub url: Option<String>,
    /// The model that this server is asked for.
    #[arg(long, value_name = "NAME", default_value = "minilm")]
    pub model: String,
    /// The environment variable with the key for the server.
    #[arg(long, value_name = "NAME")]
    pub key_env: Option<String>,
}

/// What makes vectors.
#[derive(Debug)]
pub(crate) enum Embedding {
    BuiltIn(HashedNgrams),
    Server {
        url: String,
        model: String,
        key: Option<String>,
        runtime: tokio::runtime::Runtime,
    },
}

/// The reason why there are no vectors.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The program cannot make requests.
    #[error("cannot make requests: {0}")]
    Runtime(#[source] std::io::Error),
    /// The server does not answer.
    #[error("the server does not answer: {0}")]
    Request(#[from] reqwest::Error),
    /// The variable with the key is not set.
    #[error("the environment variable `{0}` is not set")]
    NoKey(String),
    /// The server answers what is not the vectors of the texts.
    #[error("the server answers what is not one vector for each text")]
    Unreadable,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    index: usize,
    embedding: Vec<f32>,
}

impl Embedding {
    /// Creates the embedder that the arguments name.
    pub(crate) fn new(arguments: &EmbedderArgs) -> Result<Self, EmbedError> {
        let Some(url) = &arguments.url else {
            return Ok(Self::BuiltIn(HashedNgrams::new(DIMENSIONS)));
        };
        let key = arguments.key_env.as_ref();
        let key = key.map(|name| std::env::var(name).map_err(|_| EmbedError::NoKey(name.clone())));
        // The program that calls this may have set another one.
        let _another_may_be_set = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(EmbedError::Runtime)?;
        Ok(Self::Server {
            url: url.trim_end_matches('/').to_owned(),
            model: arguments.model.clone(),
            key: key.transpose()?,
            runtime,
        })
    }

    /// Returns the name in reports.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::BuiltIn(hashed) => hashed.name(),
            Self::Server { model, .. } => model.clone(),
        }
    }

    /// Returns the vectors of texts, in their order.
    pub(crate) fn embed<T>(&self, texts: &[T]) -> Result<Vec<Vector>, EmbedError>
    where
        T: AsRef<str> + Serialize,
    {
        match self {
            Self::BuiltIn(hashed) => {
                let texts = texts.iter();
                Ok(texts.map(|text| hashed.embed(text.as_ref())).collect())
            }
            Self::Server {
                url,
                model,
                key,
                runtime,
            } => runtime.block_on(async {
                let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
                let mut vectors = Vec::with_capacity(texts.len());
                for batch in texts.chunks(BATCH) {
                    let body = json!({"model": model, "input": batch, "encoding_format": "float"});
                    let mut request = client.post(format!("{url}/embeddings"));
                    request = request.header("content-type", "application/json");
                    if let Some(key) = key {
                        request = request.header("authorization", format!("Bearer {key}"));
                    }
                    let answer = request.body(body.to_string()).send().await?;
                    let answer = answer.error_for_status()?.bytes().await?;
                    vectors.extend(read(&answer, batch.len())?);
                }
                Ok(vectors)
            }),
        }
    }
}

fn read(answer: &[u8], count: usize) -> Result<Vec<Vector>, EmbedError> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| EmbedError::Unreadable)?;
    let mut data = answer.data;
    data.sort_by_key(|one| one.index);
    let vectors = data.iter().map(|one| Vector::new(&one.embedding));
    let vectors: Vec<Vector> = vectors
        .collect::<Result<_, _>>()
        .map_err(|_| EmbedError::Unreadable)?;
    let is_whole = vectors.len() == count;
    is_whole.then_some(vectors).ok_or(EmbedError::Unreadable)
}

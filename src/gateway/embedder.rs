//! The embedder of the program: the one that is built in, or a model of the gateway that is asked through its lane.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use kebne_retrieval::{BuiltIn, EmbedError, Embedded, Embedder, HashedNgrams, Role, Vector};
use kebne_wire::request::Endpoint;
use serde_json::{Value, json};

use crate::{
    gateway::{
        Gateway, WeakGateway,
        behalf::Behalf,
        inner::{self, InnerCall, InnerError, Keeps, Purpose},
    },
    settings::EmbedderSettings,
};

/// The components of the vectors of the built-in embedder.
const BUILT_IN_DIMENSIONS: usize = 384;
/// The priority of texts that nobody waits for: the lowest.
const BACKGROUND: u8 = 9;

/// A model of the gateway as an embedder; clones ask the same one.
#[derive(Clone)]
pub(super) struct LaneEmbedder {
    shared: Arc<Shared>,
    who: Who,
}

/// For whom texts are embedded.
#[derive(Clone)]
enum Who {
    /// The operator: nobody pays.
    Operator,
    /// Somebody whose call, or whose request, needs the vectors.
    Behalf(Behalf),
    /// An owner, in the background.
    Owner(String),
}

struct Shared {
    settings: EmbedderSettings,
    model: String,
    space: String,
    gateway: OnceLock<WeakGateway>,
    /// The number of components; 0 until the first answer.
    dimensions: AtomicUsize,
}

/// Creates the embedder of the settings. One that asks a model is returned a second time, to be connected with the gateway.
pub(super) fn new(settings: &EmbedderSettings) -> (Arc<dyn Embedder>, Option<LaneEmbedder>) {
    let Some(model) = settings.model.clone() else {
        let built_in = BuiltIn::new(HashedNgrams::new(BUILT_IN_DIMENSIONS));
        return (Arc::new(built_in), None);
    };
    let version = match settings.version.as_str() {
        "" => String::new(),
        version => format!("@{version}"),
    };
    let shared = Shared {
        space: format!("model:{model}{version}"),
        model,
        settings: settings.clone(),
        gateway: OnceLock::new(),
        dimensions: AtomicUsize::new(0),
    };
    let embedder = LaneEmbedder {
        shared: Arc::new(shared),
        who: Who::Operator,
    };
    (Arc::new(embedder.clone()), Some(embedder))
}

impl LaneEmbedder {
    /// Tells the embedder through which gateway it asks. Until then it is unavailable.
    pub(super) fn connect(&self, gateway: WeakGateway) {
        let _first_one_stays = self.shared.gateway.set(gateway);
    }

    /// Returns the embedder as it embeds on somebody's behalf.
    pub(super) fn on_behalf(&self, behalf: Behalf) -> Self {
        self.of(Who::Behalf(behalf))
    }

    fn of(&self, who: Who) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            who,
        }
    }

    async fn ask(&self, texts: &[String], role: Role) -> Result<Vec<Vector>, EmbedError> {
        let shared = &*self.shared;
        let absent = || EmbedError::Unavailable("the gateway starts or stops".to_owned());
        let gateway = shared.gateway.get().and_then(WeakGateway::upgrade);
        let gateway = gateway.ok_or_else(absent)?;
        let (behalf, keeps) = self.who.pays(&gateway).ok_or_else(absent)?;
        let settings = &shared.settings;
        let prefix = match role {
            Role::Query => &settings.query_prefix,
            Role::Document => &settings.document_prefix,
        };
        let input: Vec<String> = texts.iter().map(|text| format!("{prefix}{text}")).collect();
        let call = InnerCall {
            purpose: Purpose::Embedding,
            model: &shared.model,
            endpoint: Endpoint::Embeddings,
            body: json!({"model": shared.model, "input": input, "encoding_format": "float"}),
            time: match role {
                Role::Query => settings.timeout.0,
                Role::Document => settings.document_timeout.0,
            },
            priority: match role {
                Role::Query => 0,
                Role::Document => BACKGROUND,
            },
            behalf: &behalf,
            keeps,
        };
        let count = texts.len();
        let asked = inner::ask(&gateway, call, |answer| vectors(answer, count));
        let vectors = asked.await.map_err(|error| of_call(&error))?;
        shared.check(&vectors)?;
        Ok(vectors)
    }
}

impl Who {
    /// Returns who pays, and the limits that hold; `None` as long as that is not known.
    fn pays(&self, gateway: &Gateway) -> Option<(Behalf, Keeps)> {
        match self {
            Self::Operator => Some((Behalf::of_operator(), Keeps::NoLimit)),
            Self::Behalf(behalf) => Some((behalf.clone(), Keeps::Budgets)),
            Self::Owner(owner) => Some((gateway.behalf_of(owner)?, Keeps::Budgets)),
        }
    }
}

impl Shared {
    /// Checks that vectors are of the same size as all before.
    fn check(&self, vectors: &[Vector]) -> Result<(), EmbedError> {
        for vector in vectors {
            let size = vector.dimensions();
            let known = self.dimensions.compare_exchange(0, size, Relaxed, Relaxed);
            if known.is_err_and(|known| known != size) {
                let why = format!("`{}` answers with vectors of different sizes", self.model);
                return Err(EmbedError::Unavailable(why));
            }
        }
        Ok(())
    }
}

impl Embedder for LaneEmbedder {
    fn space(&self) -> &str {
        &self.shared.space
    }

    fn dimensions(&self) -> Option<usize> {
        let dimensions = self.shared.dimensions.load(Relaxed);
        Some(dimensions).filter(|dimensions| *dimensions > 0)
    }

    fn for_owner(&self, owner: &str) -> Option<Arc<dyn Embedder>> {
        Some(Arc::new(self.of(Who::Owner(owner.to_owned()))))
    }

    fn embed(&self, texts: Vec<String>, role: Role) -> Embedded<'_> {
        Box::pin(async move {
            let mut vectors = Vec::with_capacity(texts.len());
            for batch in texts.chunks(self.shared.settings.batch_max.max(1)) {
                vectors.extend(self.ask(batch, role).await?);
            }
            Ok(vectors)
        })
    }
}

/// Returns the vectors of an answer, in the order of their texts.
fn vectors(answer: &Value, count: usize) -> Option<Vec<Vector>> {
    let data = answer["data"].as_array()?;
    if data.len() != count {
        return None;
    }
    let mut vectors: Vec<Option<Vector>> = vec![None; count];
    for (position, item) in data.iter().enumerate() {
        let index = item["index"]
            .as_u64()
            .map_or(Some(position), |at| usize::try_from(at).ok())?;
        let components = item["embedding"].as_array()?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "vectors have the precision of f32"
        )]
        let components = components
            .iter()
            .map(|value| value.as_f64().map(|value| value as f32));
        let components: Option<Vec<f32>> = components.collect();
        *vectors.get_mut(index)? = Some(Vector::new(&components?).ok()?);
    }
    vectors.into_iter().collect()
}

fn of_call(error: &InnerError) -> EmbedError {
    let message = error.to_string();
    match error {
        InnerError::Invalid(_) | InnerError::NoAnswer { is_final: true, .. } => {
            EmbedError::Refused(message)
        }
        InnerError::Denied(_) => EmbedError::Unpaid(message),
        InnerError::Slow | InnerError::NoAnswer { .. } | InnerError::Unreadable => {
            EmbedError::Unavailable(message)
        }
    }
}

impl fmt::Debug for LaneEmbedder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LaneEmbedder")
            .field("space", &self.shared.space)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_in_the_order_of_their_texts_and_complete() {
        let answer = json!({"data": [
            {"index": 1, "embedding": [0.0, 2.0]},
            {"index": 0, "embedding": [3.0, 0.0]},
        ]});
        let found = vectors(&answer, 2).unwrap();
        assert_eq!(found[0], Vector::new(&[1.0, 0.0]).unwrap());
        assert_eq!(found[1], Vector::new(&[0.0, 1.0]).unwrap());
        assert_eq!(vectors(&answer, 3), None);
        let twice =
            json!({"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]});
        assert_eq!(vectors(&twice, 2), None);
        let zero = json!({"data": [{"index": 0, "embedding": [0.0]}]});
        assert_eq!(vectors(&zero, 1), None);
    }

    #[test]
    fn a_text_that_is_refused_for_good_is_told_from_a_model_that_is_away() {
        let of = |is_final| InnerError::NoAnswer {
            message: "no".to_owned(),
            is_final,
        };
        assert!(!of_call(&of(true)).is_temporary());
        assert!(of_call(&of(false)).is_temporary());
        assert!(of_call(&InnerError::Slow).is_temporary());
    }

    #[test]
    fn without_a_model_the_embedder_is_the_built_in_one() {
        let (embedder, of_lane) = new(&EmbedderSettings::default());
        assert_eq!(embedder.space(), "hashed-ngrams-v2-384");
        assert!(of_lane.is_none());
        let settings = EmbedderSettings {
            model: Some("minilm".to_owned()),
            version: "2".to_owned(),
            ..EmbedderSettings::default()
        };
        let (embedder, of_lane) = new(&settings);
        assert_eq!(embedder.space(), "model:minilm@2");
        assert_eq!(embedder.dimensions(), None);
        assert!(of_lane.is_some());
    }
}

//! Texts become vectors, whatever the embedder takes.

use std::sync::Arc;

use kebne_retrieval::{EmbedError, Embedder, Role, Vector};

use crate::sqlite::Outcome;

/// The reason why texts have no vectors yet: they are to be asked for again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotNow {
    /// The embedder is away.
    Away(String),
    /// A budget of the owner has no room.
    Unpaid(String),
}

/// The fewest bytes of a text that is divided if the embedder refuses it: shorter ones fit every model.
const DIVIDED_MIN: usize = 512;
/// How often a text is divided at most: into 16 parts.
const DIVISIONS_MAX: u32 = 4;

/// Returns the outcomes of texts, in their order.
///
/// If the embedder refuses some texts together, they are asked for one by one. A text that it refuses alone is perhaps too long for the
/// model: its halves are asked for, and the direction of the sum of their vectors stands for it.
///
/// # Errors
/// Returns why the embedder is to be asked for all of them again.
pub(crate) async fn outcomes(
    embedder: &Arc<dyn Embedder>,
    texts: Vec<String>,
) -> Result<Vec<Outcome>, NotNow> {
    let count = texts.len();
    match ask(embedder, texts.clone()).await {
        Ok(vectors) => return Ok(vectors.into_iter().map(Outcome::Vector).collect()),
        Err(EmbedError::Refused(why)) if count == 1 => {
            let [text] = texts.as_slice() else {
                return Err(NotNow::Away(why));
            };
            return Ok(vec![divided(embedder, text, why).await?]);
        }
        Err(EmbedError::Refused(_)) => {}
        Err(EmbedError::Unavailable(why)) => return Err(NotNow::Away(why)),
        Err(EmbedError::Unpaid(why)) => return Err(NotNow::Unpaid(why)),
    }
    let mut outcomes = Vec::with_capacity(count);
    for text in texts {
        outcomes.push(match ask(embedder, vec![text.clone()]).await {
            Ok(mut vectors) if vectors.len() == 1 => Outcome::Vector(vectors.remove(0)),
            Ok(_) => return Err(NotNow::Away(WRONG_COUNT.to_owned())),
            Err(EmbedError::Unavailable(why)) => return Err(NotNow::Away(why)),
            Err(EmbedError::Unpaid(why)) => return Err(NotNow::Unpaid(why)),
            Err(EmbedError::Refused(why)) => divided(embedder, &text, why).await?,
        });
    }
    Ok(outcomes)
}

const WRONG_COUNT: &str = "the embedder did not return one vector for each text";

/// Asks for vectors. The answer has one for each text.
async fn ask(embedder: &Arc<dyn Embedder>, texts: Vec<String>) -> Result<Vec<Vector>, EmbedError> {
    let (embedder, count) = (Arc::clone(embedder), texts.len());
    // On a task of its own, so that a panic ends the question only.
    let asked = actix_rt::spawn(async move { embedder.embed(texts, Role::Document).await });
    let panicked = || EmbedError::Unavailable("the embedder panicked".to_owned());
    let vectors = asked.await.map_err(|_| panicked())??;
    if vectors.len() != count {
        return Err(EmbedError::Unavailable(WRONG_COUNT.to_owned()));
    }
    Ok(vectors)
}

/// Returns the outcome of a text that was refused for the reason `why`.
async fn divided(embedder: &Arc<dyn Embedder>, text: &str, why: String) -> Result<Outcome, NotNow> {
    let mut parts = vec![text];
    for _ in 0..DIVISIONS_MAX {
        if parts.iter().all(|part| part.len() < DIVIDED_MIN) {
            break;
        }
        parts = parts.into_iter().flat_map(halves).collect();
        let texts = parts.iter().map(|part| (*part).to_owned()).collect();
        match ask(embedder, texts).await {
            Ok(vectors) => {
                return Ok(sum(&vectors).map_or(Outcome::Refused(why), Outcome::Vector));
            }
            Err(EmbedError::Unavailable(why)) => return Err(NotNow::Away(why)),
            Err(EmbedError::Unpaid(why)) => return Err(NotNow::Unpaid(why)),
            Err(EmbedError::Refused(_)) => {}
        }
    }
    Ok(Outcome::Refused(why))
}

/// Divides a text at the white space nearest behind its middle.
fn halves(text: &str) -> impl Iterator<Item = &str> {
    let middle = text.floor_char_boundary(text.len() / 2);
    let space = text[middle..].find(char::is_whitespace).unwrap_or(0);
    let (left, right) = text.split_at(middle + space);
    [left, right]
        .into_iter()
        .filter(|part| !part.trim().is_empty())
}

/// Returns the direction of the sum of vectors; `None` if there is none.
fn sum(vectors: &[Vector]) -> Option<Vector> {
    let mut sum = vec![0.0_f32; vectors.first()?.dimensions()];
    for vector in vectors {
        for (total, component) in sum.iter_mut().zip(vector.components()) {
            *total += component;
        }
    }
    Vector::new(&sum).ok()
}

#[cfg(test)]
mod tests {
    use kebne_retrieval::{Embedded, HashedNgrams};

    use super::*;

    /// Takes at most 100 words, and refuses `bad`.
    struct Narrow;

    impl Embedder for Narrow {
        fn space(&self) -> &'static str {
            "narrow"
        }

        fn dimensions(&self) -> Option<usize> {
            Some(64)
        }

        fn embed(&self, texts: Vec<String>, _: Role) -> Embedded<'_> {
            let fits = |text: &String| text.split_whitespace().count() <= 100 && text != "bad";
            let made = match texts.iter().find(|text| !fits(text)) {
                Some(text) if text == "away" => unreachable!(),
                Some(_) => Err(EmbedError::Refused("too long".to_owned())),
                None if texts.iter().any(|text| text == "away") => {
                    Err(EmbedError::Unavailable("cold".to_owned()))
                }
                None => Ok(texts
                    .iter()
                    .map(|text| HashedNgrams::new(64).embed(text))
                    .collect()),
            };
            Box::pin(std::future::ready(made))
        }
    }

    #[actix::test]
    async fn what_is_too_long_is_divided_and_only_what_is_refused_fails() {
        let embedder: Arc<dyn Embedder> = Arc::new(Narrow);
        let long = "mountain lake ".repeat(180);
        let texts = ["short", "bad", long.as_str()].map(str::to_owned).to_vec();
        let outcomes = outcomes(&embedder, texts).await.unwrap();
        let [
            Outcome::Vector(_),
            Outcome::Refused(why),
            Outcome::Vector(vector),
        ] = &outcomes[..]
        else {
            panic!("{outcomes:?}");
        };
        assert_eq!(why, "too long");
        let near = HashedNgrams::new(64).embed("mountain lake");
        assert!(vector.cosine(&near) > 0.8);
        let away = super::outcomes(&embedder, vec!["away".to_owned()]).await;
        assert_eq!(away.unwrap_err(), NotNow::Away("cold".to_owned()));
    }
}

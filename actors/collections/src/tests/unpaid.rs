//! An owner whose budget has no room waits alone.

use std::sync::atomic::AtomicBool;

use kebne_retrieval::{EmbedError, Embedded, Role};

use super::*;

/// Embeds for everybody but one owner, until that one can pay.
#[derive(Clone)]
struct Paid {
    hashed: HashedNgrams,
    poor: &'static str,
    can_pay: Arc<AtomicBool>,
    /// The refusals for want of money.
    refused: Arc<AtomicU64>,
    is_poor: bool,
}

impl Embedder for Paid {
    fn space(&self) -> &'static str {
        "paid"
    }

    fn dimensions(&self) -> Option<usize> {
        None
    }

    fn for_owner(&self, owner: &str) -> Option<Arc<dyn Embedder>> {
        Some(Arc::new(Self {
            is_poor: owner == self.poor,
            ..self.clone()
        }))
    }

    fn embed(&self, texts: Vec<String>, _: Role) -> Embedded<'_> {
        let embedded = if self.is_poor && !self.can_pay.load(SeqCst) {
            self.refused.fetch_add(1, SeqCst);
            Err(EmbedError::Unpaid("the budget has no room".to_owned()))
        } else {
            Ok(texts.iter().map(|text| self.hashed.embed(text)).collect())
        };
        Box::pin(std::future::ready(embedded))
    }
}

#[actix::test]
async fn an_owner_whose_budget_has_no_room_waits_and_others_do_not() {
    let paid = Paid {
        hashed: HashedNgrams::new(64),
        poor: "bob",
        can_pay: Arc::default(),
        refused: Arc::default(),
        is_poor: false,
    };
    let world = World {
        embedder: Arc::new(paid.clone()),
        ..World::new()
    };
    let collections = world.collections();
    let mut made = Vec::new();
    // The one who cannot pay comes first and last.
    for (owner, number) in [("bob", 0), ("ann", 0), ("bob", 1), ("ann", 1)] {
        let id = collection(&collections, owner).await;
        let document = Document {
            name: format!("{number}.md"),
            content: LAKE.into(),
        };
        let imported = collections.import(owner, &id, document).await.unwrap();
        made.push((owner, id, imported.member.file));
    }
    for (owner, id, file) in &made {
        if *owner == "ann" {
            let read = read(&collections, owner, id, file).await;
            assert_eq!(read.status, Status::Completed);
        }
    }
    let file = |at: usize| {
        let (owner, id, file) = made[at].clone();
        let collections = collections.clone();
        async move { collections.member(owner, &id, &file).await.unwrap() }
    };
    until(|| collections.progress().unpaid == 1).await;
    assert_eq!(file(0).await.status, Status::InProgress);
    let progress = collections.progress();
    assert!(
        progress.away.is_none() && progress.waiting > 0,
        "{progress:?}"
    );
    // It is not asked for again at once.
    assert_eq!(paid.refused.load(SeqCst), 1);
    collections.stop();
    world.system.terminate().await;
    // The next process finds it, and it can pay by then.
    paid.can_pay.store(true, SeqCst);
    let next = World {
        folder: world.folder,
        settings: world.settings,
        embedder: Arc::new(paid),
        ..World::new()
    };
    let collections = next.collections();
    collections.resume().await.unwrap();
    let (owner, id, file) = &made[0];
    let read = read(&collections, owner, id, file).await;
    assert_eq!(read.status, Status::Completed);
    assert_eq!(collections.progress().unpaid, 0);
    next.system.terminate().await;
}

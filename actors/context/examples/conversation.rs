//! A conversation in an encrypted file: kept, read again by the next process, and invisible to others.
//!
//! Run with `cargo run -p kebne-context --example conversation`.

use std::{error::Error, io::Write, path::PathBuf};

use kebne_actors::ActorSystem;
use kebne_context::{
    ContextHandle, ContextSettings, Secrets, parts,
    store::{Details, TurnContent},
    tokens::Tokenizer,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let settings = ContextSettings {
        path: folder.path().join("sessions.sqlite"),
        ..ContextSettings::default()
    };
    actix_rt::System::new().block_on(async {
        let mut output = std::io::stdout();
        let first = Service::start(&settings)?;
        first.talk(&mut output).await?;
        first.system.terminate().await;
        // As after a restart: all there is left is the file.
        let second = Service::start(&settings)?;
        second.read(&mut output).await?;
        second.system.terminate().await;
        Ok(())
    })
}

struct Service {
    system: ActorSystem,
    context: ContextHandle,
    path: PathBuf,
}

impl Service {
    fn start(settings: &ContextSettings) -> Result<Self, Box<dyn Error>> {
        let secrets = Secrets {
            key: Some("0123456789abcdef".repeat(4)),
            old_keys: None,
        };
        let system = ActorSystem::new("example", 1);
        let context = ContextHandle::start(&system, parts(settings, &secrets)?);
        Ok(Self {
            system,
            context,
            path: settings.path.clone(),
        })
    }

    /// Creates a session and keeps two turns.
    async fn talk(&self, output: &mut impl Write) -> Result<(), Box<dyn Error>> {
        let details = Details {
            system_prompt: Some("Be brief.".to_owned()),
            ..Details::default()
        };
        let session = self.context.create("ann", "trip".to_owned(), details);
        let session = session.await?;
        for (question, answer) in [
            ("Where is Kebnekaise?", "In Lapland."),
            ("How high is it?", "2,096 m."),
        ] {
            let messages = serde_json::json!([
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]);
            let tokenizer = Tokenizer::O200kBase;
            let turn = TurnContent {
                tokens: tokenizer.count(question) + tokenizer.count(answer),
                leads: true,
                messages: messages.to_string().into(),
            };
            let number = self.context.append(&session.id, turn).await?;
            writeln!(output, "turn {number} is on the disk")?;
        }
        Ok(())
    }

    /// Reads the session as its owner and as somebody else, and looks into the file.
    async fn read(&self, output: &mut impl Write) -> Result<(), Box<dyn Error>> {
        for turn in self.context.turns("ann", "trip", 0, 100).await?.items {
            let messages = String::from_utf8_lossy(&turn.content.messages);
            writeln!(output, "ann reads turn {}: {messages}", turn.number)?;
        }
        let newest = self.context.fit("trip", 15).await?;
        writeln!(output, "{} turn fits a budget of 15 tokens", newest.len())?;
        match self.context.read("bob", "trip").await {
            Ok(_) => writeln!(output, "bob sees the session")?,
            Err(error) => writeln!(output, "bob is refused: {error}")?,
        }
        let file = std::fs::read(&self.path)?;
        let is_readable = memchr::memmem::find(&file, b"Lapland").is_some();
        writeln!(output, "the file shows the text: {is_readable}")?;
        Ok(())
    }
}

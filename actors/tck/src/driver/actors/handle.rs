//! A puppet as a case holds it: a library's reference, and what can be asked of it.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use super::{ANSWER_TIMEOUT, Offer, Refusal, Soon};
use crate::{
    case::{CaseResult, Failure},
    driver::Unsupported,
    puppet::{Answer, Script},
};

/// A reference of the library to a puppet.
#[expect(
    clippy::missing_errors_doc,
    reason = "every error says that the library has no notion of it"
)]
pub trait Handle: Any + Send + Sync {
    /// Sends a message, in the library's ordinary way that does not wait.
    fn tell(&self, script: Script) -> Result<Offer, Unsupported>;

    /// Offers a message and waits for room.
    fn offer(&self, _script: Script) -> Soon<'static, Result<Offer, Unsupported>> {
        Box::pin(async { Err(Unsupported("offer that waits for room")) })
    }

    /// Sends a message with a priority; higher goes first, an ordinary one has 128.
    fn tell_with_priority(&self, _script: Script, _priority: u8) -> Result<Offer, Unsupported> {
        Err(Unsupported("priority of a message"))
    }

    /// Sends a message that does not wait behind others.
    fn control(&self, _script: Script) -> Result<Offer, Unsupported> {
        Err(Unsupported("control queue"))
    }

    /// Sends a message through a reference to one type of message only.
    fn tell_by_recipient(&self, _script: Script) -> Result<Offer, Unsupported> {
        Err(Unsupported("recipient of one type of message"))
    }

    /// Asks; the future is lazy.
    fn ask(&self, script: Script, timeout: Duration) -> Soon<'static, Result<Answer, Refusal>>;

    /// Asks the actor to stop after the message in hand.
    fn stop(&self) -> Result<(), Unsupported>;

    /// Returns `true` if the actor has not stopped.
    fn is_alive(&self) -> bool;

    /// Returns the actor's path.
    fn path(&self) -> Result<String, Unsupported> {
        Err(Unsupported("path of an actor"))
    }

    /// Returns how many messages wait.
    fn waiting(&self) -> Result<usize, Unsupported> {
        Err(Unsupported("count of waiting messages"))
    }

    /// Returns how often the actor was restarted.
    fn restarts(&self) -> Result<u32, Unsupported> {
        Err(Unsupported("count of restarts"))
    }

    /// Clones the library's own reference.
    fn duplicate(&self) -> Puppet;

    /// Returns `true` if both refer to the same actor.
    fn is_same(&self, _other: &Puppet) -> Result<bool, Unsupported> {
        Err(Unsupported("equality of references"))
    }
}

/// A reference to a puppet.
#[derive(Clone)]
pub struct Puppet(Arc<dyn Handle>);

impl Puppet {
    /// Wraps a library's reference.
    pub fn new(handle: impl Handle) -> Self {
        Self(Arc::new(handle))
    }

    /// Returns the library's reference, for its own adapter.
    pub fn handle<H: Handle>(&self) -> Option<&H> {
        let any: &dyn Any = &*self.0;
        any.downcast_ref()
    }

    /// Sends a script.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot.
    pub fn tell(&self, script: impl Into<Script>) -> Result<Offer, Failure> {
        Ok(self.0.tell(script.into())?)
    }

    /// Tells each script in turn.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot.
    pub fn tell_all<S: Into<Script>>(&self, scripts: impl IntoIterator<Item = S>) -> CaseResult {
        for script in scripts {
            self.tell(script)?;
        }
        Ok(())
    }

    /// Asks and expects an answer.
    ///
    /// # Errors
    /// Fails the case when there is none, or when it says that the library cannot.
    pub async fn ask(&self, script: impl Into<Script>) -> Result<Answer, Failure> {
        match self.try_ask(script, ANSWER_TIMEOUT).await {
            Ok(Answer::Unsupported(what)) => Err(Unsupported(what).into()),
            Ok(answer) => Ok(answer),
            Err(refusal) => Err(Failure::Failed(format!("no answer: {refusal:?}"))),
        }
    }

    /// Asks for a number.
    ///
    /// # Errors
    /// Fails the case when the answer is none.
    pub async fn ask_number(&self, script: impl Into<Script>) -> Result<i64, Failure> {
        match self.ask(script).await? {
            Answer::Number(number) => Ok(number),
            other => Err(Failure::Failed(format!("expected a number, got {other:?}"))),
        }
    }

    /// Asks for a puppet, by a spawning command.
    ///
    /// # Errors
    /// Fails the case when the answer is none.
    pub async fn ask_puppet(&self, script: impl Into<Script>) -> Result<Self, Failure> {
        match self.ask(script).await? {
            Answer::Puppet(puppet) => Ok(puppet),
            other => Err(Failure::Failed(format!("expected a puppet, got {other:?}"))),
        }
    }

    /// Asks with a timeout of its own.
    pub fn try_ask(
        &self,
        script: impl Into<Script>,
        timeout: Duration,
    ) -> Soon<'static, Result<Answer, Refusal>> {
        self.0.ask(script.into(), timeout)
    }

    /// Offers a script and waits for room.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot.
    pub async fn offer(&self, script: impl Into<Script>) -> Result<Offer, Failure> {
        Ok(self.0.offer(script.into()).await?)
    }

    /// Sends a script with a priority.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot.
    pub fn tell_with_priority(
        &self,
        script: impl Into<Script>,
        priority: u8,
    ) -> Result<Offer, Failure> {
        Ok(self.0.tell_with_priority(script.into(), priority)?)
    }

    /// Sends a script past those that wait.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot.
    pub fn control(&self, script: impl Into<Script>) -> Result<Offer, Failure> {
        Ok(self.0.control(script.into())?)
    }

    /// Sends a script through a recipient.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot.
    pub fn tell_by_recipient(&self, script: impl Into<Script>) -> Result<Offer, Failure> {
        Ok(self.0.tell_by_recipient(script.into())?)
    }

    /// Asks the actor to stop.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot.
    pub fn stop(&self) -> CaseResult {
        Ok(self.0.stop()?)
    }

    /// Returns `true` if the actor has not stopped.
    pub fn is_alive(&self) -> bool {
        self.0.is_alive()
    }

    /// Returns the actor's path.
    ///
    /// # Errors
    /// Fails as not applicable where the library has none.
    pub fn path(&self) -> Result<String, Failure> {
        Ok(self.0.path()?)
    }

    /// Returns how many messages wait.
    ///
    /// # Errors
    /// Fails as not applicable where the library does not say.
    pub fn waiting(&self) -> Result<usize, Failure> {
        Ok(self.0.waiting()?)
    }

    /// Returns how often the actor was restarted.
    ///
    /// # Errors
    /// Fails as not applicable where the library does not say.
    pub fn restarts(&self) -> Result<u32, Failure> {
        Ok(self.0.restarts()?)
    }

    /// Returns a clone of the library's own reference.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        self.0.duplicate()
    }

    /// Returns `true` if both refer to the same actor.
    ///
    /// # Errors
    /// Fails as not applicable where the library cannot say.
    pub fn is_same(&self, other: &Self) -> Result<bool, Failure> {
        Ok(self.0.is_same(other)?)
    }
}

impl fmt::Debug for Puppet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Puppet").finish_non_exhaustive()
    }
}

impl PartialEq for Puppet {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

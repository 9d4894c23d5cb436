//! The agents that owners create, and what is held of owners.

use crate::{
    handle::{AgentError, Agents, checked},
    spec::AgentSpec,
    store::{Erased, Holdings, StoreError, Totals},
};

impl Agents {
    /// Writes an agent of an owner. Returns `true` if it is new. Runs that go on keep the agent with which they began.
    ///
    /// # Errors
    /// [`AgentError::Invalid`] for an agent out of its bounds, [`AgentError::OfSettings`] for the name of an agent of the program, and
    /// [`StoreError::Full`] at the bound of the owner.
    pub async fn put(&self, owner: &str, spec: AgentSpec) -> Result<bool, AgentError> {
        checked(&spec)?;
        self.require_own(&spec.name)?;
        let most = self.settings().agents_max;
        Ok(self.store().put_agent(owner, spec, most).await?)
    }

    /// Removes an agent of an owner. Runs that go on keep it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none, and [`AgentError::OfSettings`] for an agent of the program.
    pub async fn remove(&self, owner: &str, name: &str) -> Result<(), AgentError> {
        self.require_own(name)?;
        if self.store().remove_agent(owner, name).await? {
            return Ok(());
        }
        Err(StoreError::NotFound("agent").into())
    }

    /// Returns the agents that an owner has created.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    pub async fn own(&self, owner: &str) -> Result<Vec<AgentSpec>, AgentError> {
        Ok(self.store().agents(owner).await?)
    }

    fn require_own(&self, name: &str) -> Result<(), AgentError> {
        match self.host().agent(name) {
            Some(_) => Err(AgentError::OfSettings(name.to_owned())),
            None => Ok(()),
        }
    }

    /// Counts the runs of all owners.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    pub async fn totals(&self) -> Result<Totals, AgentError> {
        Ok(self.store().totals().await?)
    }

    /// Returns what is held of an owner.
    ///
    /// # Errors
    /// Returns an error if the store fails.
    pub async fn held(&self, owner: &str) -> Result<Holdings, AgentError> {
        Ok(self.store().held(owner).await?)
    }

    /// Erases all agents and runs of an owner, and its key. Runs that go on are ended, and nothing more is kept of them.
    ///
    /// # Errors
    /// Returns an error if the store fails; a second call erases the rest.
    pub async fn erase(&self, owner: &str) -> Result<Erased, AgentError> {
        Ok(self.store().erase(owner).await?)
    }
}

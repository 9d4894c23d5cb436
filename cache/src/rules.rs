//! Which calls may be answered from the cache.

use crate::{CacheRules, Facts};

/// What is known of a call besides its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other"
)]
pub struct Call {
    /// `true` if it is a chat, a completion, or asks for embeddings.
    pub is_cacheable_operation: bool,
    /// `true` if its answer is generated, so that the temperature counts.
    pub generates: bool,
    /// `true` if its body is a form.
    pub is_form: bool,
    /// `true` if it belongs to a session or continues a response.
    pub has_session: bool,
    /// `true` if its answer is kept to be continued.
    pub is_kept: bool,
    /// The number of answers that it asks for.
    pub choices: u32,
}

/// The reason why a call is not answered from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bypass {
    /// The operation is not cached.
    Operation,
    /// It belongs to a session.
    Session,
    /// Its answer is kept by the gateway or the server.
    Stored,
    /// It is a form, or refers to files or addresses.
    Files,
    /// It offers tools, and the settings do not allow them; or it lets the server search.
    Tools,
    /// Its temperature is above the bound.
    Temperature,
    /// It asks for more than one answer.
    Choices,
    /// The caller does not want it (`no-store`).
    Caller,
    /// The body cannot be brought into its canonical form.
    Unreadable,
}

impl Bypass {
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::Operation,
        Self::Session,
        Self::Stored,
        Self::Files,
        Self::Tools,
        Self::Temperature,
        Self::Choices,
        Self::Caller,
        Self::Unreadable,
    ];

    /// Returns the name in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Operation => "operation",
            Self::Session => "session",
            Self::Stored => "stored",
            Self::Files => "files",
            Self::Tools => "tools",
            Self::Temperature => "temperature",
            Self::Choices => "choices",
            Self::Caller => "caller",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Checks whether a call may be answered from the cache.
///
/// # Errors
/// Returns the reason why it may not.
pub fn may_cache(rules: &CacheRules, call: &Call, facts: &Facts) -> Result<(), Bypass> {
    let temperature = facts.temperature.unwrap_or(rules.temperature_default);
    let checks = [
        (call.is_form || facts.refers, Bypass::Files),
        (!call.is_cacheable_operation, Bypass::Operation),
        (call.has_session, Bypass::Session),
        (call.is_kept || facts.stores, Bypass::Stored),
        (
            facts.searches || (facts.has_tools && !rules.tools),
            Bypass::Tools,
        ),
        (facts.many || call.choices > 1, Bypass::Choices),
        (
            call.generates && temperature > rules.temperature_max,
            Bypass::Temperature,
        ),
    ];
    let failed = checks.into_iter().find(|(applies, _)| *applies);
    failed.map_or(Ok(()), |(_, reason)| Err(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call = Call {
        is_cacheable_operation: true,
        generates: true,
        is_form: false,
        has_session: false,
        is_kept: false,
        choices: 1,
    };

    fn at(temperature: Option<f64>) -> Facts {
        Facts {
            temperature,
            ..Facts::default()
        }
    }

    /// Returns the reason for which a call is not cached whose properties `change` changes.
    fn refused(change: impl FnOnce(&mut Call, &mut Facts)) -> Option<Bypass> {
        let (mut call, mut facts) = (CALL, at(Some(0.0)));
        change(&mut call, &mut facts);
        may_cache(&CacheRules::default(), &call, &facts).err()
    }

    #[test]
    fn each_property_of_a_call_has_its_reason() {
        assert_eq!(refused(|_, _| ()), None);
        let files = Some(Bypass::Files);
        assert_eq!(refused(|call, _| call.is_form = true), files);
        assert_eq!(refused(|_, facts| facts.refers = true), files);
        let operation = refused(|call, _| call.is_cacheable_operation = false);
        assert_eq!(operation, Some(Bypass::Operation));
        let session = refused(|call, _| call.has_session = true);
        assert_eq!(session, Some(Bypass::Session));
        let stored = Some(Bypass::Stored);
        assert_eq!(refused(|call, _| call.is_kept = true), stored);
        assert_eq!(refused(|_, facts| facts.stores = true), stored);
        let tools = refused(|_, facts| facts.has_tools = true);
        assert_eq!(tools, Some(Bypass::Tools));
        let searches = refused(|_, facts| facts.searches = true);
        assert_eq!(searches, Some(Bypass::Tools));
        let choices = Some(Bypass::Choices);
        assert_eq!(refused(|call, _| call.choices = 2), choices);
        assert_eq!(refused(|_, facts| facts.many = true), choices);
        let temperature = Some(Bypass::Temperature);
        assert_eq!(refused(|_, facts| *facts = at(Some(0.1))), temperature);
        // A call without a temperature gets the server's, which is 1 in the API.
        assert_eq!(refused(|_, facts| *facts = at(None)), temperature);
    }

    #[test]
    fn the_rules_can_allow_more() {
        let allowing = CacheRules {
            tools: true,
            temperature_max: 1.0,
            ..CacheRules::default()
        };
        let with_tools = Facts {
            has_tools: true,
            ..Facts::default()
        };
        assert_eq!(may_cache(&allowing, &CALL, &with_tools), Ok(()));
        // What a search finds changes, whoever allows tools.
        let searching = Facts {
            searches: true,
            ..with_tools
        };
        let found = may_cache(&allowing, &CALL, &searching);
        assert_eq!(found, Err(Bypass::Tools));
        let zero = CacheRules {
            temperature_default: 0.0,
            ..CacheRules::default()
        };
        assert_eq!(may_cache(&zero, &CALL, &at(None)), Ok(()));
        let embeddings = Call {
            generates: false,
            ..CALL
        };
        let rules = CacheRules::default();
        assert_eq!(may_cache(&rules, &embeddings, &at(None)), Ok(()));
    }
}

//! Prompts: named templates in Jinja's syntax, with versions.
//!
//! A template can use `session` (the session's metadata), `request` (the call's body) and `input` (the text of the
//! caller's last message). An undefined variable is an error; it is not replaced by an empty text.
//!
//! A call names a prompt (`guide`), a label of it (`guide@draft`) or a version (`guide@3`).

use std::collections::BTreeMap;

use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde::Serialize;
use serde_json::Value;

mod catalog;
mod outcomes;
mod settings;
mod store;
mod template;
mod values;

pub use catalog::{
    Chosen, DRAFT, Entry, LIVE, Origin, StoredPrompt, StoredVersion, parts, version_of,
};
pub use outcomes::{Estimate, Outcome, Tally};
pub use settings::{PromptSettings, PromptStoreSettings, PromptVariant, check_name};
pub use store::{
    CallId, CallNote, Event, PromptChange, PromptHeld, PromptStore, PromptStoreError,
    PromptStoreHealth,
};
use template::bounded;
pub use template::check_bounds;
use values::bound_values;

/// The maximum number of instructions of a template; it bounds loops and is far above the needs of a prompt.
const FUEL: u64 = 1_000_000;
/// The largest text that a template may produce, in bytes.
pub const PROMPT_SIZE_MAX: usize = 1 << 20;

/// The reason why a prompt was not rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// No template has this name.
    #[error("there is no prompt `{0}`")]
    Unknown(String),
    /// The prompt has no version with the label `live`, and the call names no other one.
    #[error("prompt `{0}` has no version labelled `{LIVE}`")]
    NotLive(String),
    /// The stored prompts have not been read since the start, and no prompt of the settings has this name.
    #[error(
        "the stored prompts cannot be read now, so it is not known whether there is a prompt `{0}`"
    )]
    Unread(String),
    /// The template uses undefined variables.
    #[error("prompt `{name}`: not defined: {}", variables.join(", "))]
    Undefined {
        /// The template.
        name: String,
        /// The undefined variables.
        variables: Vec<String>,
    },
    /// The template failed otherwise.
    #[error("prompt `{name}`: {message}")]
    Failed {
        /// The template.
        name: String,
        /// The error, with its line.
        message: String,
    },
}

/// The variables of a template.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PromptInput {
    /// The session's metadata.
    pub session: Value,
    /// The call's body.
    pub request: Value,
    /// The text of the caller's last message.
    pub input: String,
}

/// The compiled templates of the settings and of the store.
#[derive(Debug)]
pub struct Prompts {
    environment: Environment<'static>,
    entries: Vec<Entry>,
    /// The places of entries by their names.
    places: BTreeMap<String, usize>,
    /// `true` if the stored prompts could not be read.
    unread: bool,
}

impl Default for Prompts {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Prompts {
    /// Compiles the templates of the settings. An invalid template is left out; validated settings contain none.
    pub fn new(settings: &[PromptSettings]) -> Self {
        Self::with_stored(settings, &[])
    }

    /// Compiles the templates of the settings and of the store. A stored prompt with the name of one of the settings is left out.
    pub fn with_stored(settings: &[PromptSettings], stored: &[StoredPrompt]) -> Self {
        let mut prompts = Self {
            environment: environment(),
            entries: Vec::new(),
            places: BTreeMap::new(),
            unread: false,
        };
        let of_settings = settings.iter().map(Entry::of_settings);
        for (entry, templates) in of_settings.chain(stored.iter().map(Entry::of_stored)) {
            prompts.add(entry, templates);
        }
        prompts
    }

    /// Takes note of whether the stored prompts could not be read.
    #[must_use]
    pub fn unread(mut self, unread: bool) -> Self {
        self.unread = unread;
        self
    }

    fn add(&mut self, mut entry: Entry, templates: Vec<(String, String)>) {
        if self.places.contains_key(&entry.name) {
            tracing::warn!(
                prompt = entry.name,
                "a stored prompt has the name of one of the settings and is not used"
            );
            return;
        }
        for (version, template) in templates {
            let name = format!("{}@{version}", entry.name);
            let added = compile(&mut self.environment, name, &template);
            if let Err(error) = added {
                tracing::error!(prompt = entry.name, version, %error, "a wrong template");
                entry.versions.retain(|known| *known != version);
            }
        }
        if !entry.versions.is_empty() {
            self.places.insert(entry.name.clone(), self.entries.len());
            self.entries.push(entry);
        }
    }

    /// Returns all prompts: those of the settings in their order, then the stored ones.
    pub fn list(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns a prompt by its name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.get(*self.places.get(name)?)
    }

    /// Returns `true` if a call can name this, or if that is not known because the stored prompts could not be read.
    pub fn has(&self, reference: &str) -> bool {
        !matches!(
            self.choose(reference, ""),
            Err(PromptError::Unknown(_) | PromptError::NotLive(_))
        )
    }

    /// Returns the version that a call gets. Calls that stick to the same text get the same one while the shares stay.
    ///
    /// # Errors
    /// Returns [`PromptError::Unknown`] or [`PromptError::NotLive`] if there is no such prompt, label or version, and
    /// [`PromptError::Unread`] if that is not known.
    pub fn choose(&self, reference: &str, sticks_to: &str) -> Result<Chosen, PromptError> {
        let (name, wanted) = parts(reference);
        let entry = self.find(name);
        let version = entry.and_then(|entry| {
            let version = entry.choose(wanted, sticks_to)?;
            entry.versions.iter().find(|known| *known == version)
        });
        let missing = || match entry {
            Some(_) if wanted.is_none() => PromptError::NotLive(name.to_owned()),
            None if self.unread => PromptError::Unread(name.to_owned()),
            _ => PromptError::Unknown(reference.to_owned()),
        };
        let version = version.ok_or_else(missing)?;
        Ok(Chosen {
            name: name.to_owned(),
            version: version.clone(),
        })
    }

    /// Returns `true` if the template uses the variable.
    pub fn uses(&self, chosen: &Chosen, variable: &str) -> bool {
        let template = self.environment.get_template(&chosen.reference());
        template.is_ok_and(|template| template.undeclared_variables(false).contains(variable))
    }

    /// Renders a template.
    ///
    /// # Errors
    /// See [`PromptError`].
    pub fn render(&self, chosen: &Chosen, input: &PromptInput) -> Result<String, PromptError> {
        let name = chosen.name.as_str();
        let reference = chosen.reference();
        let template = self.environment.get_template(&reference);
        let template = template.map_err(|_| PromptError::Unknown(reference.clone()))?;
        let failed = |message: String| PromptError::Failed {
            name: name.to_owned(),
            message,
        };
        let text = template
            .render(minijinja::value::Serde(input))
            .map_err(|error| {
                let variables = match error.kind() {
                    ErrorKind::UndefinedError => self.undefined(chosen, input),
                    _ => Vec::new(),
                };
                if variables.is_empty() {
                    return failed(error.to_string());
                }
                PromptError::Undefined {
                    name: name.to_owned(),
                    variables,
                }
            })?;
        if text.len() > PROMPT_SIZE_MAX {
            return Err(failed(format!(
                "the text is longer than {PROMPT_SIZE_MAX} bytes"
            )));
        }
        Ok(text)
    }

    /// Returns the variables that a template uses.
    pub fn variables(&self, chosen: &Chosen) -> Vec<String> {
        let reference = chosen.reference();
        let template = self.environment.get_template(&reference);
        let used = template.map(|template| template.undeclared_variables(true));
        let mut used: Vec<String> = used.into_iter().flatten().collect();
        used.sort();
        used
    }

    /// Returns the variables that the template uses and `input` does not define.
    fn undefined(&self, chosen: &Chosen, input: &PromptInput) -> Vec<String> {
        let defined = serde_json::to_value(input).unwrap_or_default();
        let holds = |path: &str| {
            let mut keys = path.split('.');
            keys.try_fold(&defined, |place, key| place.get(key))
                .is_some()
        };
        let used = self.variables(chosen).into_iter();
        used.filter(|path| !holds(path)).collect()
    }
}

/// Checks the bounds and the syntax of a template, and whether its filters, tests and functions exist.
///
/// # Errors
/// Returns the error message, with its line.
pub fn check(template: &str) -> Result<(), String> {
    let mut environment = environment();
    compile(&mut environment, "template".to_owned(), template)?;
    template::check_names(template, &environment)
}

/// Compiles a template within its bounds.
fn compile(environment: &mut Environment<'_>, name: String, template: &str) -> Result<(), String> {
    let added = environment.add_template_owned(name, bounded(template)?);
    added.map_err(|error| error.to_string())
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // Prompts are plain text; the name of a template must not switch on escaping.
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    bound_values(&mut environment);
    environment
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn prompts(template: &str) -> Prompts {
        Prompts::new(&[PromptSettings {
            name: "p.html".to_owned(),
            template: template.to_owned(),
            variants: Vec::new(),
        }])
    }

    fn render(prompts: &Prompts) -> Result<String, PromptError> {
        prompts.render(&prompts.choose("p.html", "")?, &input())
    }

    fn input() -> PromptInput {
        PromptInput {
            session: json!({"city": "Kiruna <&>"}),
            request: json!({"user": "ann"}),
            input: "Hej".to_owned(),
        }
    }

    #[test]
    fn a_template_sees_the_session_the_request_and_the_input() {
        let text = prompts("{{ session.city }} {{ request.user }}: {{ input }}");
        let text = render(&text).unwrap();
        assert_eq!(text, "Kiruna <&> ann: Hej");
    }

    #[test]
    fn what_is_not_defined_is_named() {
        let error = prompts("{{ session.city }} {{ session.age }} {{ request.user }}");
        let error = render(&error).unwrap_err();
        assert_eq!(
            error.to_string(),
            "prompt `p.html`: not defined: session.age"
        );
        let fine = prompts("{% if session.age is defined %}{{ session.age }}{% endif %}.");
        assert_eq!(render(&fine).unwrap(), ".");
    }

    #[test]
    fn a_stored_prompt_has_versions_and_a_name_of_the_settings_wins() {
        let version = |template: &str| StoredVersion {
            template: template.to_owned(),
            ..StoredVersion::default()
        };
        let stored = |name: &str| StoredPrompt {
            name: name.to_owned(),
            versions: BTreeMap::from([(1, version("one")), (2, version("two {{ input }}"))]),
            labels: BTreeMap::from([(LIVE.to_owned(), 1), (DRAFT.to_owned(), 2)]),
            split: BTreeMap::new(),
        };
        let of_settings = PromptSettings {
            name: "set".to_owned(),
            template: "from the settings".to_owned(),
            variants: Vec::new(),
        };
        let prompts = Prompts::with_stored(&[of_settings], &[stored("guide"), stored("set")]);
        let text = |reference: &str| {
            let chosen = prompts.choose(reference, "");
            chosen.and_then(|chosen| prompts.render(&chosen, &input()))
        };
        assert_eq!(text("guide").unwrap(), "one");
        assert_eq!(text("guide@draft").unwrap(), "two Hej");
        assert_eq!(text("guide@2").unwrap(), "two Hej");
        assert_eq!(text("set").unwrap(), "from the settings");
        let unknown = text("guide@3").unwrap_err();
        assert_eq!(unknown.to_string(), "there is no prompt `guide@3`");
        assert_eq!(prompts.list().len(), 2);
    }

    #[test]
    fn a_prompt_without_a_live_version_and_prompts_that_were_not_read_are_told_apart() {
        let draft = StoredPrompt {
            name: "guide".to_owned(),
            versions: BTreeMap::from([(1, StoredVersion::default())]),
            labels: BTreeMap::from([(DRAFT.to_owned(), 1)]),
            split: BTreeMap::new(),
        };
        let prompts = Prompts::with_stored(&[], &[draft]);
        let error = |prompts: &Prompts, name: &str| prompts.choose(name, "").unwrap_err();
        let not_live = error(&prompts, "guide");
        assert_eq!(
            not_live.to_string(),
            "prompt `guide` has no version labelled `live`"
        );
        assert!(prompts.choose("guide@draft", "").is_ok());
        assert!(!prompts.has("other"));
        let prompts = prompts.unread(true);
        let unread = error(&prompts, "other");
        assert_eq!(unread, PromptError::Unread("other".to_owned()));
        assert!(prompts.has("other"));
        assert_eq!(error(&prompts, "guide"), not_live);
    }

    #[test]
    fn names_that_clients_take_out_of_paths_are_refused() {
        for wrong in [".", "..", "", "a/b"] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
        for fine in ["...", ".a", "a..b"] {
            assert_eq!(check_name(fine), Ok(()));
        }
    }

    #[test]
    fn a_template_without_end_or_measure_is_stopped() {
        let loops = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        let error = render(&prompts(loops)).unwrap_err();
        assert!(matches!(error, PromptError::Failed { .. }), "{error}");
    }

    #[test]
    fn a_wrong_template_is_told_with_its_line() {
        let error = check("fine\n{{ broken ").unwrap_err();
        assert!(error.contains(":2"), "{error}");
        assert_eq!(check("{{ fine }}"), Ok(()));
    }
}

//! Prompts: named templates in Jinja's syntax.
//!
//! A template can use `session` (the session's metadata), `request` (the call's body) and `input` (the text of the
//! caller's last message). An undefined variable is an error; it is not replaced by an empty text.

use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde::Serialize;
use serde_json::Value;

mod settings;

pub use settings::PromptSettings;

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

/// The compiled templates of the settings.
#[derive(Debug)]
pub struct Prompts {
    environment: Environment<'static>,
    names: Vec<String>,
}

impl Prompts {
    /// Compiles the templates. An invalid template is left out; validated settings contain none.
    pub fn new(settings: &[PromptSettings]) -> Self {
        let mut environment = environment();
        let mut names = Vec::new();
        for prompt in settings {
            let added =
                environment.add_template_owned(prompt.name.clone(), prompt.template.clone());
            match added {
                Ok(()) => names.push(prompt.name.clone()),
                Err(error) => tracing::error!(prompt = prompt.name, %error, "a wrong template"),
            }
        }
        Self { environment, names }
    }

    /// Returns the name of each template and the variables that it uses, in the order of the settings.
    pub fn list(&self) -> Vec<(&str, Vec<String>)> {
        let names = self.names.iter();
        names
            .map(|name| (name.as_str(), self.variables(name)))
            .collect()
    }

    /// Returns `true` if there is a template with this name.
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// Returns `true` if the template uses the variable.
    pub fn uses(&self, name: &str, variable: &str) -> bool {
        let template = self.environment.get_template(name);
        template.is_ok_and(|template| template.undeclared_variables(false).contains(variable))
    }

    /// Renders a template.
    ///
    /// # Errors
    /// See [`PromptError`].
    pub fn render(&self, name: &str, input: &PromptInput) -> Result<String, PromptError> {
        let template = self
            .environment
            .get_template(name)
            .map_err(|_| PromptError::Unknown(name.to_owned()))?;
        let failed = |message: String| PromptError::Failed {
            name: name.to_owned(),
            message,
        };
        let text = template
            .render(minijinja::value::Serde(input))
            .map_err(|error| {
                let variables = match error.kind() {
                    ErrorKind::UndefinedError => self.undefined(name, input),
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

    fn variables(&self, name: &str) -> Vec<String> {
        let template = self.environment.get_template(name);
        let used = template.map(|template| template.undeclared_variables(true));
        let mut used: Vec<String> = used.into_iter().flatten().collect();
        used.sort();
        used
    }

    /// Returns the variables that the template uses and `input` does not define.
    fn undefined(&self, name: &str, input: &PromptInput) -> Vec<String> {
        let defined = serde_json::to_value(input).unwrap_or_default();
        let holds = |path: &str| {
            let mut keys = path.split('.');
            keys.try_fold(&defined, |place, key| place.get(key))
                .is_some()
        };
        let used = self.variables(name).into_iter();
        used.filter(|path| !holds(path)).collect()
    }
}

/// Checks the syntax of a template.
///
/// # Errors
/// Returns the error message, with its line.
pub fn check(template: &str) -> Result<(), String> {
    let mut environment = environment();
    let added = environment.add_template_owned("template", template.to_owned());
    added.map_err(|error| error.to_string())
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // Prompts are plain text; the name of a template must not switch on escaping.
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
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
        }])
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
        let text = text.render("p.html", &input()).unwrap();
        assert_eq!(text, "Kiruna <&> ann: Hej");
    }

    #[test]
    fn what_is_not_defined_is_named() {
        let error = prompts("{{ session.city }} {{ session.age }} {{ request.user }}");
        let error = error.render("p.html", &input()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "prompt `p.html`: not defined: session.age"
        );
        let fine = prompts("{% if session.age is defined %}{{ session.age }}{% endif %}.");
        assert_eq!(fine.render("p.html", &input()).unwrap(), ".");
    }

    #[test]
    fn a_template_without_end_or_measure_is_stopped() {
        let loops = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        let error = prompts(loops).render("p.html", &input()).unwrap_err();
        assert!(matches!(error, PromptError::Failed { .. }), "{error}");
    }

    #[test]
    fn a_wrong_template_is_told_with_its_line() {
        let error = check("fine\n{{ broken ").unwrap_err();
        assert!(error.contains(":2"), "{error}");
        assert_eq!(check("{{ fine }}"), Ok(()));
    }
}

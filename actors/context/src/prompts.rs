//! Prompts made from named templates, in Jinja's syntax.
//!
//! A template sees `session` (the session's metadata), `request` (the call's body) and `input` (the text of
//! the caller's last message). What is not defined is an error, never an empty space.

use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde::Serialize;
use serde_json::Value;

mod settings;

pub use settings::PromptSettings;

/// Instructions that a template may take: a bound on loops, far above any prompt.
const FUEL: u64 = 1_000_000;
/// The longest text that a template may make.
pub const PROMPT_SIZE_MAX: usize = 1 << 20;

/// Why there is no text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// No template has this name.
    #[error("there is no prompt `{0}`")]
    Unknown(String),
    /// The template uses what is not defined.
    #[error("prompt `{name}`: not defined: {}", variables.join(", "))]
    Undefined {
        /// The template.
        name: String,
        /// What it uses and nobody defines.
        variables: Vec<String>,
    },
    /// The template failed otherwise.
    #[error("prompt `{name}`: {message}")]
    Failed {
        /// The template.
        name: String,
        /// What happened, and where.
        message: String,
    },
}

/// What a template sees.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PromptInput {
    /// The session's metadata.
    pub session: Value,
    /// The call's body.
    pub request: Value,
    /// The text of the caller's last message.
    pub input: String,
}

/// The templates of the settings.
#[derive(Debug)]
pub struct Prompts {
    environment: Environment<'static>,
    names: Vec<String>,
}

impl Prompts {
    /// Compiles the templates; one that is wrong is left out, because checked settings hold none.
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

    /// Returns the names of the templates and what each uses, in the order of the settings.
    pub fn list(&self) -> Vec<(&str, Vec<String>)> {
        let names = self.names.iter();
        names
            .map(|name| (name.as_str(), self.variables(name)))
            .collect()
    }

    /// Says whether there is a template of this name.
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// Returns `true` if the template uses the variable.
    pub fn uses(&self, name: &str, variable: &str) -> bool {
        let template = self.environment.get_template(name);
        template.is_ok_and(|template| template.undeclared_variables(false).contains(variable))
    }

    /// Makes the text.
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

    /// Returns what the template uses and `input` does not hold.
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

/// Says what is wrong with a template.
///
/// # Errors
/// The message, with the line.
pub fn check(template: &str) -> Result<(), String> {
    let mut environment = environment();
    let added = environment.add_template_owned("template", template.to_owned());
    added.map_err(|error| error.to_string())
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // Prompts are plain text, whatever their names end in.
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

//! What the settings mean for the calls of each model: which backend is asked when.

use std::io::{self, Write};

use crate::settings::{FallbackSettings, ModelSettings, Settings};

/// Explains, as comments, the models that have more than one backend.
pub(super) fn write(settings: &Settings, output: &mut dyn Write) -> io::Result<()> {
    let several = settings.models.iter();
    let several = several.filter(|model| model.backend_names().count() > 1);
    for model in several {
        let (name, order) = (&model.name, order(model));
        writeln!(output, "\n# The model `{name}` asks {order}.")?;
        if model.backends.len() > 1 {
            for line in explained(&model.fallback) {
                writeln!(output, "# {line}")?;
            }
        }
    }
    Ok(())
}

/// Returns the order of the backends in words.
fn order(model: &ModelSettings) -> String {
    let groups = model.backends.iter().map(|group| {
        let names: Vec<_> = group.names().map(|name| format!("`{name}`")).collect();
        names.join(" or ")
    });
    groups.collect::<Vec<_>>().join(", then ")
}

/// Returns the rules for going to the next group of backends, one sentence each.
fn explained(fallback: &FallbackSettings) -> Vec<String> {
    let mut at_once = Vec::new();
    let mut never = Vec::new();
    let mut lines = vec!["A call goes to the next of them by the kind of obstacle:".to_owned()];
    for (kind, after) in fallback.kinds() {
        match after.wait() {
            None => never.push(kind.label()),
            Some(wait) if wait.is_zero() => at_once.push(kind.label()),
            Some(_) => lines.push(format!(
                "  {}: it waits for {after}, or goes on at once if the wait is predicted to be longer.",
                kind.label()
            )),
        }
    }
    if !at_once.is_empty() {
        lines.push(format!("  {}: it goes on at once.", at_once.join(", ")));
    }
    if !never.is_empty() {
        lines.push(format!("  {}: it does not go on.", never.join(", ")));
    }
    let within = match fallback.time_max.wait() {
        None => String::new(),
        Some(_) => format!(" and within {}", fallback.time_max),
    };
    lines.push(format!(
        "It goes on until it has made {} attempts in all{within}.",
        fallback.attempts_max
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_with_several_backends_is_explained() {
        let text = "[[models]]\nname = 'one'\nbackends = ['a']\n[[models]]\nname = 'm'\nbackends = [['a', 'b'], 'c']\n[models.fallback]\ncold = '5s'\noverload = 'never'\ntime_max = '1m'\nattempts_max = 3\n";
        let settings: Settings = toml::from_str(text).unwrap();
        let mut output = Vec::new();
        write(&settings, &mut output).unwrap();
        let expected = "
# The model `m` asks `a` or `b`, then `c`.
# A call goes to the next of them by the kind of obstacle:
#   cold: it waits for 5s, or goes on at once if the wait is predicted to be longer.
#   unreachable, quota, failed, misconfigured, context_length: it goes on at once.
#   overload, content_policy: it does not go on.
# It goes on until it has made 3 attempts in all and within 1m.
";
        assert_eq!(String::from_utf8(output).unwrap(), expected);
    }
}

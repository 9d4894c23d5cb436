//! The text of the settings file.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use toml::Value;

use super::identify::{Identified, Server};

/// The models of one server that are written. Providers list hundreds.
const MODELS_MAX: usize = 20;

/// A backend as it is written.
struct Backend<'s> {
    name: String,
    server: &'s Identified,
}

/// Returns the settings for servers, with comments.
pub(super) fn settings(servers: &[Identified]) -> String {
    let backends = named(servers);
    let mut text = HEAD.to_owned();
    for backend in &backends {
        write_backend(backend, &mut text);
    }
    write_models(&backends, &mut text);
    text.push_str(TAIL);
    text
}

const HEAD: &str = "\
# Settings of Kebne, written by `kebne init`. Every key that is not here has its default; config/kebne.toml shows all of them.
# `kebne check --config FILE` validates this file, with `--live` it asks the servers too. A running gateway reads it again on
# SIGHUP.

[server]
# Where callers reach the gateway. Another address than loopback needs a key (see the end of this file).
listen = \"127.0.0.1:8080\"
";

const TAIL: &str = "
# Keys of callers. `kebne key` prints a key and its hash; the key itself is not stored.
#[[server.keys]]
#name = \"team\"
#hash = \"…\"
";

/// Gives each server a name that no other has.
fn named(servers: &[Identified]) -> Vec<Backend<'_>> {
    let mut counts = BTreeMap::new();
    let backends = servers.iter().map(|server| {
        let name = server.server.name();
        let count: &mut u32 = counts.entry(name).or_default();
        *count += 1;
        let name = match *count {
            1 => name.to_owned(),
            count => format!("{name}-{count}"),
        };
        Backend { name, server }
    });
    backends.collect()
}

/// Returns a text as TOML.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn write_backend(backend: &Backend<'_>, text: &mut String) {
    let Backend { name, server } = backend;
    let (title, kind) = (server.server.title(), server.server.kind().name());
    let mut lines = vec![
        String::new(),
        format!("# The server is {title}."),
        "[[backends]]".to_owned(),
        format!("name = {}", quoted(name)),
        format!("kind = \"{kind}\""),
        format!("base_url = {}", quoted(&server.base_url)),
    ];
    if let Some(variable) = &server.key_env {
        lines.push("# The environment variable that holds the key.".to_owned());
        lines.push(format!("api_key_env = {}", quoted(variable)));
    }
    if let Some(context) = server.context {
        lines.push(
            "# The context in tokens; longer calls go to a backend with a longer one.".to_owned(),
        );
        lines.push(format!("context_tokens = {context}"));
    }
    if let Some(path) = health_path(server.server) {
        lines.push("# Asked now and then whether the server is there.".to_owned());
        lines.push(format!("health = {{path = \"{path}\"}}"));
    }
    text.push_str(&lines.join("\n"));
    text.push('\n');
}

/// Returns the path at which a server tells whether it is there.
fn health_path(server: Server) -> Option<&'static str> {
    match server {
        Server::LlamaCpp | Server::Vllm | Server::Tgi => Some("/health"),
        Server::Ollama | Server::Anthropic | Server::OpenAi => None,
    }
}

/// Writes each model with the servers that have it.
fn write_models(backends: &[Backend<'_>], text: &mut String) {
    let mut models: Vec<(String, Vec<(&str, &str)>)> = Vec::new();
    for backend in backends {
        let all = &backend.server.models;
        for model in all.iter().take(MODELS_MAX) {
            let name = offered_as(model);
            let at = (backend.name.as_str(), model.as_str());
            match models.iter_mut().find(|(known, _)| *known == name) {
                Some((_, places)) if places.iter().any(|(other, _)| *other == at.0) => {}
                Some((_, places)) => places.push(at),
                None => models.push((name, vec![at])),
            }
        }
        if all.len() > MODELS_MAX {
            let (name, more) = (&backend.name, all.len() - MODELS_MAX);
            // Writing to a string cannot fail.
            let _always_written = writeln!(
                text,
                "\n# `{name}` has {more} further models; add those that callers may use."
            );
        }
    }
    for backend in backends.iter().filter(|one| one.server.models.is_empty()) {
        write_missing(backend, text);
    }
    for (name, places) in &models {
        let list: Vec<_> = places.iter().map(|(backend, _)| quoted(backend)).collect();
        let list = list.join(", ");
        let (comment, list) = if places.len() > 1 {
            (
                "# The servers of an inner list are equals; without the inner list they are tried in order.\n",
                format!("[[{list}]]"),
            )
        } else {
            ("", format!("[{list}]"))
        };
        let name_there = places.iter().filter(|(_, model)| model != name);
        let upstream: Vec<_> = name_there
            .map(|(backend, model)| format!("{} = {}", quoted(backend), quoted(model)))
            .collect();
        let upstream = match upstream.as_slice() {
            [] => String::new(),
            pairs => format!("# Its name there.\nupstream = {{{}}}\n", pairs.join(", ")),
        };
        let name = quoted(name);
        let _always_written = write!(
            text,
            "\n[[models]]\nname = {name}\n{comment}backends = {list}\n{upstream}"
        );
    }
}

/// Writes a model for a server that has named none, under the name of its backend.
fn write_missing(backend: &Backend<'_>, text: &mut String) {
    let name = quoted(&backend.name);
    let missing = backend.server.missing().unwrap_or_default();
    let shown = &backend.server.shown;
    let _always_written = write!(
        text,
        "\n# {shown}: {missing}.\n# Put the name of a model of this server here.\n[[models]]\nname = {name}\nbackends = [{name}]\n"
    );
}

/// Returns the name by which callers ask for a model: that of the server, and of a file only its own name.
fn offered_as(model: &str) -> String {
    let path = Path::new(model);
    let is_file = path.extension().is_some_and(|kind| kind == "gguf");
    if !path.is_absolute() && !is_file {
        return model.to_owned();
    }
    let own = if is_file {
        path.file_stem()
    } else {
        path.file_name()
    };
    let own = own.and_then(|own| own.to_str());
    own.unwrap_or(model).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Settings, Validate};

    fn server(server: Server, models: &[&str]) -> Identified {
        Identified {
            shown: "http://a:1".to_owned(),
            base_url: "http://a:1/v1".to_owned(),
            server,
            key_env: (server == Server::Anthropic).then(|| "ANTHROPIC_API_KEY".to_owned()),
            models: models.iter().map(|&model| model.to_owned()).collect(),
            is_loading: false,
            context: (server == Server::Vllm).then_some(8192),
        }
    }

    #[test]
    fn every_combination_of_servers_is_valid() {
        let many: Vec<String> = (0..30).map(|number| format!("m{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let servers = [
            server(Server::Ollama, &["llama3:8b", "quote\"d"]),
            server(Server::Vllm, &["org/shared"]),
            server(Server::Vllm, &["org/shared"]),
            server(Server::LlamaCpp, &["/models/tiny.gguf"]),
            server(Server::Tgi, &["org/shared"]),
            server(Server::Anthropic, &["claude"]),
            server(Server::OpenAi, &many),
            server(Server::Ollama, &[]),
            Identified {
                is_loading: true,
                ..server(Server::LlamaCpp, &[])
            },
        ];
        let text = settings(&servers);
        let read: Settings =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(read.validate(""), [], "{text}");
        let names: Vec<_> = read.backends.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "ollama",
                "vllm",
                "vllm-2",
                "llama-cpp",
                "tgi",
                "anthropic",
                "openai",
                "ollama-2",
                "llama-cpp-2"
            ]
        );
        let model = |name: &str| read.models.iter().find(|model| model.name == name).unwrap();
        let shared: Vec<_> = model("org/shared").backends[0].names().collect();
        assert_eq!(shared, ["vllm", "vllm-2", "tgi"]);
        assert_eq!(model("tiny").upstream["llama-cpp"], "/models/tiny.gguf");
        assert_eq!(read.models.len(), 2 + 1 + 1 + 1 + MODELS_MAX + 2);
        let loading: Vec<_> = model("llama-cpp-2").backends[0].names().collect();
        assert_eq!(loading, ["llama-cpp-2"]);
        assert!(text.contains("ollama pull NAME"), "{text}");
        assert!(text.contains("`openai` has 10 further models"), "{text}");
        assert_eq!(read.backends[1].context_tokens, Some(8192));
    }
}

use super::*;

const BASE: &str = "[[backends]]\nname = \"b\"\nkind = \"openai\"\nbase_url = \"http://localhost/v1\"\n\
    [[models]]\nname = \"m\"\nbackends = [\"b\"]\n[[functions]]\nname = \"f\"\nurl = \"http://localhost/f\"\n";

fn errors(more: &str) -> Vec<String> {
    let settings: Settings = toml::from_str(&format!("{BASE}{more}")).unwrap();
    let errors = settings.validate("").into_iter();
    let mut paths: Vec<_> = errors.map(|error| error.path).collect();
    paths.sort();
    paths.dedup();
    paths
}

fn server(name: &str, more: &str) -> String {
    format!("[[mcp_servers]]\nname = \"{name}\"\n{more}\n")
}

#[test]
fn a_server_has_one_way_and_only_the_keys_of_it() {
    let (url, command) = ("url = \"http://localhost/mcp\"\n", "command = \"c\"\n");
    assert_eq!(errors(&server("s", url)), [""; 0]);
    assert_eq!(errors(&server("s", command)), [""; 0]);
    assert_eq!(errors(&server("s", "")), ["mcp_servers[0].url"]);
    let both = format!("{url}{command}");
    assert_eq!(errors(&server("s", &both)), ["mcp_servers[0].command"]);
    let of_process = format!(
        "{url}args = [\"a\"]\ncwd = \"/\"\nstop_grace = \"1s\"\npass_env = []\nenv = {{A = \"a\"}}\nenv_file = {{B = \"b\"}}\n"
    );
    assert_eq!(
        errors(&server("s", &of_process)),
        ["args", "cwd", "env", "env_file", "pass_env", "stop_grace"]
            .map(|key| format!("mcp_servers[0].{key}"))
    );
    let of_url = format!(
        "{command}api_key_env = \"A\"\napi_key_header = \"x-k\"\nca_file = \"c\"\nheaders = {{a = \"b\"}}\nheaders_file = {{c = \"d\"}}\n"
    );
    assert_eq!(
        errors(&server("s", &of_url)),
        [
            "api_key_env",
            "api_key_header",
            "ca_file",
            "headers",
            "headers_file"
        ]
        .map(|key| format!("mcp_servers[0].{key}"))
    );
}

#[test]
fn oauth_needs_an_address_an_id_and_one_secret() {
    let with = |more: &str| {
        let text = format!("url = \"http://localhost/mcp\"\n{more}");
        errors(&server("s", &text))
    };
    let fine = "[mcp_servers.oauth]\ntoken_url = \"https://a/t\"\nclient_id = \"k\"\nclient_secret_env = \"S\"\n";
    assert_eq!(with(fine), [""; 0]);
    let wrong = "[mcp_servers.oauth]\ntoken_url = \"a\"\nscopes = [\"a b\"]\n";
    assert_eq!(
        with(wrong),
        ["client_id", "client_secret_file", "scopes", "token_url"]
            .map(|key| format!("mcp_servers[0].oauth.{key}"))
    );
    let both = format!("api_key_env = \"K\"\n{fine}");
    assert_eq!(with(&both), ["mcp_servers[0].oauth"]);
    let of_process = format!("command = \"c\"\n{fine}");
    assert_eq!(errors(&server("s", &of_process)), ["mcp_servers[0].oauth"]);
}

#[test]
fn every_error_names_its_key() {
    let command = "command = \"c\"\n";
    for name in [
        "",
        "a b",
        "a__b",
        "a_",
        "kebne",
        &"x".repeat(33),
        "b",
        "m",
        "f",
    ] {
        assert_eq!(
            errors(&server(name, command)),
            ["mcp_servers[0].name"],
            "{name}"
        );
    }
    let wrong = "command = \"\"\nprefix = \"a b\"\ntools = [\"a b\"]\ntimeout = \"1ms\"\nstart_timeout = \"25h\"\n\
        cold_wait_max = \"25h\"\nrefresh = \"10ms\"\nconcurrency = 0\nqueue_max = 1000001\nanswer_size_max = \"1B\"\n\
        guards = [\"g\"]\nenv = {\"a=b\" = \"c\"}\n";
    assert_eq!(
        errors(&server("s", wrong)),
        [
            "answer_size_max",
            "cold_wait_max",
            "command",
            "concurrency",
            "env",
            "guards",
            "prefix",
            "queue_max",
            "refresh",
            "start_timeout",
            "timeout",
            "tools",
        ]
        .map(|key| format!("mcp_servers[0].{key}"))
    );
    assert_eq!(
        errors(&server("s", "url = \"nowhere\"\n")),
        ["mcp_servers[0].url"]
    );
    assert_eq!(
        errors("[mcp]\npath = \"\"\nlist_max = 10001\n"),
        ["mcp.list_max", "mcp.path"]
    );
    let twice = server("s", command) + &server("t", "command = \"c\"\nprefix = \"s__\"\n");
    assert_eq!(errors(&twice), ["mcp_servers[1].prefix"]);
}

#[test]
fn a_server_becomes_a_backend_and_a_model_that_are_not_written() {
    let text = format!(
        "{BASE}{}",
        server("s", "command = \"c\"\nconcurrency = 3\n")
    );
    let before: Settings = toml::from_str(&text).unwrap();
    let after = before.completed();
    let made = after.backends.last().unwrap();
    assert_eq!((made.name.as_str(), made.limits.limit_max), ("s", 3));
    assert_eq!(place_of(&before, made).as_deref(), Some("mcp_servers[0]"));
    assert_eq!(after.models.last().unwrap().name, "s");
    assert_eq!(after.completed(), after);
    let written: Settings = toml::from_str(&toml::to_string(&after).unwrap()).unwrap();
    assert_eq!(written, before);
    assert!(after.validate("").is_empty());
}

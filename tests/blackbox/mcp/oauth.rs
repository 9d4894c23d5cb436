//! Servers that ask for a token of OAuth.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
};

use serde_json::json;

use super::{AMPLE, answer_of, call, result_text, said, start, text, tool, until_listed};
use crate::{functions::Asked, guards::http, program::folder, upstream::read_parts};

/// A server that gives tokens `t1`, `t2` and so on at `/token`, and asks for one at `/mcp`. Calls of tools with the first one are refused.
/// Returns its address, the requests for tokens, and the tokens of the calls.
fn server_with_tokens() -> (String, mpsc::Receiver<Asked>, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (asked, requests) = mpsc::channel();
    let (called, calls) = mpsc::channel();
    let given = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let (head, body) = read_parts(&socket);
            let request = Asked { head, body };
            if request.head.starts_with("POST /token ") {
                let number = given.fetch_add(1, SeqCst) + 1;
                let token = json!({"access_token": format!("t{number}"), "expires_in": 3600});
                socket
                    .write_all(http("application/json", &token.to_string()).as_bytes())
                    .unwrap();
                asked.send(request).unwrap();
                continue;
            }
            let token = request
                .header("authorization")
                .unwrap_or_default()
                .to_owned();
            let is_call = request.body.contains("tools/call");
            let answer = if token.is_empty() || (is_call && token == "Bearer t1") {
                "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                    .to_owned()
            } else if is_call {
                result_text(&request.json()["id"], &said("allowed"))
            } else if request.body.is_empty() {
                "HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                    .to_owned()
            } else {
                answer_of(&request.json(), &|| json!([tool("write", &json!({}))]))
            };
            if is_call {
                called.send(token).unwrap();
            }
            socket.write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, requests, calls)
}

#[test]
fn the_gateway_fetches_a_token_and_another_one_when_it_is_refused() {
    let folder = folder();
    fs::write(folder.path().join("secret"), "s:cret/1\n").unwrap();
    let (address, tokens, calls) = server_with_tokens();
    let settings = format!(
        "[[mcp_servers]]\nname = \"s\"\nurl = \"http://{address}/mcp\"\n[mcp_servers.oauth]\n\
         token_url = \"http://{address}/token\"\nclient_id = \"kebne\"\nclient_secret_file = \"secret\"\nscopes = [\"read\", \"write\"]\n"
    );
    let program = start(folder.path(), &settings);
    assert_eq!(until_listed(&program, "any"), ["s__write"]);
    // A tool that must not be repeated: a refused token means that nothing was done.
    let answer = call(&program, "any", "s__write", &json!({}));
    assert_eq!(text(&answer), ("allowed".to_owned(), false));
    let used: Vec<String> = calls.try_iter().collect();
    assert_eq!(used, ["Bearer t1", "Bearer t2"]);
    let first = tokens.recv_timeout(AMPLE).unwrap();
    assert!(
        first.body.contains("grant_type=client_credentials"),
        "{}",
        first.body
    );
    assert!(first.body.contains("scope=read%20write"), "{}", first.body);
    assert!(
        first.body.contains("resource=http%3A%2F%2F"),
        "{}",
        first.body
    );
    // `kebne:s%3Acret%2F1`.
    let basic = "Basic a2VibmU6cyUzQWNyZXQlMkYx";
    assert_eq!(first.header("authorization"), Some(basic));
    assert!(tokens.recv_timeout(AMPLE).is_ok());
    assert_eq!(tokens.try_iter().count(), 0);
}

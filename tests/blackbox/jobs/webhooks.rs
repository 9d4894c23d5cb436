//! Notices of the ends of jobs and batches.

use super::{
    batches::{batch, line},
    *,
};

/// A receiver of webhooks that passes on what came and answers with a status for each number.
fn receiver(
    status: impl Fn(usize) -> u16 + Send + 'static,
) -> (String, mpsc::Receiver<(String, String)>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, seen) = mpsc::channel();
    thread::spawn(move || {
        for (number, socket) in listener.incoming().enumerate() {
            let mut socket = socket.unwrap();
            let came = crate::upstream::read_parts(&socket);
            let answer = format!(
                "HTTP/1.1 {} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                status(number)
            );
            socket.write_all(answer.as_bytes()).unwrap();
            if tell.send(came).is_err() {
                return;
            }
        }
    });
    (address, seen)
}

fn header_of<'a>(head: &'a str, name: &str) -> &'a str {
    let line = head.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim_start_matches(": ")
}

#[test]
fn the_end_of_a_job_is_told_with_a_signature_until_it_is_heard() {
    let folder = folder();
    let (url, _requests) = upstream(|_| whole("done"));
    let (address, seen) = receiver(|number| if number == 0 { 500 } else { 204 });
    let (private, unseen) = receiver(|_| 204);
    let more = format!("[jobs]\nwebhook_hosts = [\"{address}\"]\n");
    let program = in_front_of(folder.path(), &url, &more);
    let secret = "a secret of 24 characters";
    let with = |url: String| {
        let mut body = job("a");
        body["webhook"] = json!({"url": url, "secret": secret});
        body
    };
    // What only this machine reaches is refused, by its address at once and by its name when it is resolved.
    for url in [
        format!("https://{private}/"),
        format!("http://{private}/"),
        "https://169.254.169.254/".to_owned(),
    ] {
        let refused = program.send("POST", JOBS, &[], &with(url));
        assert_eq!(refused.status, 400, "{}", refused.body);
        assert_eq!(refused.json()["error"]["param"], "webhook");
    }
    let port = private.rsplit(':').next().unwrap();
    let hidden = queue(&program, &with(format!("https://localhost:{port}/")));
    until(&program, &hidden, "succeeded");
    let id = queue(&program, &with(format!("http://{address}/hook")));
    until(&program, &id, "succeeded");
    let (first, body) = seen.recv_timeout(AMPLE).unwrap();
    let (second, same) = seen.recv_timeout(AMPLE).unwrap();
    assert!(first.starts_with("POST /hook "), "{first}");
    let message = header_of(&first, "webhook-id");
    assert_eq!((header_of(&second, "webhook-id"), &same), (message, &body));
    let notice: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(notice["type"], "job.succeeded");
    assert_eq!(
        notice["data"],
        json!({"id": id, "object": "job", "status": "succeeded"})
    );
    let signed = format!(
        "{message}.{}.{body}",
        header_of(&first, "webhook-timestamp")
    );
    let expected = format!("v1,{}", hmac(secret.as_bytes(), signed.as_bytes()));
    assert_eq!(header_of(&first, "webhook-signature"), expected);
    program.await_metric(r#"kebne_job_events_total{event="delivered"} 1"#);
    let batch = batch(
        &program,
        &[line("a")],
        &[(
            "webhook",
            json!({"url": format!("http://{address}/"), "secret": secret}),
        )],
    );
    let (_, body) = seen.recv_timeout(AMPLE).unwrap();
    let notice: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&notice["type"], &notice["data"]["id"]),
        (&json!("batch.completed"), &batch["id"])
    );
    program.await_metric("kebne_job_notices 1.0");
    assert!(unseen.try_recv().is_err());
}

/// Returns an HMAC-SHA256 in base64.
fn hmac(key: &[u8], text: &[u8]) -> String {
    let pad = |byte: u8| -> Vec<u8> {
        let mut padded = [byte; 64];
        for (place, key) in padded.iter_mut().zip(key) {
            *place ^= key;
        }
        padded.to_vec()
    };
    let inner = Sha256::digest([pad(0x36).as_slice(), text].concat());
    let outer = Sha256::digest([pad(0x5c).as_slice(), &inner].concat());
    STANDARD.encode(outer)
}

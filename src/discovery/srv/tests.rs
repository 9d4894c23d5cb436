use domain::base::{Message, MessageBuilder};
use tokio::net::UdpSocket;

use super::*;

/// A DNS server that answers one question with records (priority, weight, target, port), or with an error.
async fn server(rcode: Rcode, records: &'static [(u16, u16, &'static str, u16)]) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    actix_rt::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((size, caller)) = socket.recv_from(&mut buffer).await {
            let asked = Message::from_octets(buffer[..size].to_vec()).unwrap();
            let question = asked.sole_question().unwrap();
            let builder = MessageBuilder::new_vec();
            let mut answer = builder.start_answer(&asked, rcode).unwrap();
            for (priority, weight, target, port) in records {
                let target: Name<Vec<u8>> = target.parse().unwrap();
                let record = Srv::new(*priority, *weight, *port, target);
                answer.push((question.qname(), 5, record)).unwrap();
            }
            socket
                .send_to(answer.finish().as_slice(), caller)
                .await
                .unwrap();
        }
    });
    address
}

async fn found(
    rcode: Rcode,
    records: &'static [(u16, u16, &'static str, u16)],
) -> Result<Vec<(u16, u16, String, u16)>, String> {
    let server = server(rcode, records).await;
    let targets = targets("_http._tcp.gpu.example", Some(server)).await?;
    let records = targets
        .into_iter()
        .map(|target| (target.priority, target.weight, target.host, target.port));
    Ok(records.collect())
}

#[actix::test]
async fn the_targets_are_found_with_their_priorities_and_weights() {
    let records = &[
        (5, 60, "a.example.", 8001),
        (9, 0, "later.example.", 8003),
        (5, 20, "b.example.", 8002),
    ];
    let found = found(Rcode::NOERROR, records).await.unwrap();
    let expected = [
        (5, 60, "a.example".to_owned(), 8001),
        (9, 0, "later.example".to_owned(), 8003),
        (5, 20, "b.example".to_owned(), 8002),
    ];
    assert_eq!(found, expected);
}

#[actix::test]
async fn a_name_without_records_is_empty_and_an_error_names_it() {
    assert_eq!(found(Rcode::NOERROR, &[]).await.unwrap(), []);
    assert_eq!(found(Rcode::NXDOMAIN, &[]).await.unwrap(), []);
    assert_eq!(found(Rcode::NOERROR, &[(0, 0, ".", 0)]).await.unwrap(), []);
    let error = found(Rcode::REFUSED, &[]).await.unwrap_err();
    assert!(error.contains("_http._tcp.gpu.example"), "{error}");
    let error = targets("a..b", None).await.unwrap_err();
    assert!(error.contains("a..b"), "{error}");
}

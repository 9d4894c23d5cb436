use actix_web::{FromRequest, http::header::HeaderValue, test::TestRequest};
use kebne_settings::ByteCount;

use super::*;

const MIB: usize = 1 << 20;

/// A budget of 4 MiB, of which 1 MiB is for small bodies; each body may be 2 MiB.
fn bodies() -> Bodies {
    Bodies::new(&ServerSettings {
        body_size_max: ByteCount(2 << 20),
        bodies_size_max: ByteCount(4 << 20),
        ..ServerSettings::default()
    })
}

fn announced(length: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers
}

async fn read(bodies: &Bodies, headers: &HeaderMap, body: Vec<u8>) -> Result<Bytes, ApiError> {
    let (request, mut payload) = TestRequest::default().set_payload(body).to_http_parts();
    let payload = Payload::from_request(&request, &mut payload).await.unwrap();
    bodies.read(headers, payload).await
}

fn status(result: &Result<Bytes, ApiError>) -> u16 {
    result.as_ref().unwrap_err().status().as_u16()
}

#[actix::test]
async fn a_body_takes_its_share_until_its_last_reference_is_gone() {
    let bodies = bodies();
    let body = read(&bodies, &announced(MIB), vec![1; MIB]).await.unwrap();
    assert_eq!((body.len(), bodies.held()), (MIB, MIB));
    let part = body.slice(10..20);
    drop(body);
    assert_eq!(bodies.held(), MIB);
    drop(part);
    assert_eq!(bodies.held(), 0);
}

#[actix::test]
async fn a_length_beyond_the_bound_is_refused_before_a_byte_is_read() {
    let bodies = bodies();
    let too_large = read(&bodies, &announced(2 * MIB + 1), Vec::new()).await;
    assert_eq!(status(&too_large), 413);
    // Without a length the bound holds as the bytes come.
    let too_large = read(&bodies, &HeaderMap::new(), vec![1; 2 * MIB + 1]).await;
    assert_eq!(status(&too_large), 413);
    assert_eq!(bodies.held(), 0);
}

#[actix::test]
async fn without_room_large_bodies_are_refused_and_small_ones_still_read() {
    let bodies = bodies();
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(read(&bodies, &announced(MIB), vec![1; MIB]).await.unwrap());
    }
    let none = read(&bodies, &announced(MIB), Vec::new()).await;
    assert_eq!(status(&none), 503);
    let error = none.unwrap_err();
    assert_eq!(error.reason(), "bodies_full");
    let response = error.response(&crate::surface::openai::CHAT, "id", 0.0);
    assert!(response.headers().contains_key("retry-after"));
    // A length that was not announced is noticed as the bytes come.
    let none = read(&bodies, &HeaderMap::new(), vec![1; MIB]).await;
    assert_eq!(status(&none), 503);
    assert_eq!(bodies.held(), 2 * MIB);
    read(&bodies, &announced(SMALL), vec![1; SMALL])
        .await
        .unwrap();
    held.pop();
    read(&bodies, &announced(MIB), vec![1; MIB]).await.unwrap();
}

#[actix::test]
async fn what_is_made_here_counts_too() {
    let bodies = bodies();
    let made = bodies.hold(Bytes::from(vec![1; MIB])).unwrap();
    assert_eq!(bodies.held(), MIB);
    assert_eq!(status(&bodies.hold(Bytes::from(vec![1; 3 * MIB]))), 503);
    drop(made);
    assert_eq!(bodies.held(), 0);
}

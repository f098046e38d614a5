//! What is refused for its size alone.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;

use crate::agent::web::Webhooks;
use crate::agent::web::testing::{Stage, network};

#[tokio::test]
async fn a_webhook_that_says_that_it_is_too_large_is_counted_and_not_read() {
    let secret = Some("s3cret".to_owned().into());
    let stage = Stage::set(Webhooks { github: secret, ..Webhooks::default() });
    let never = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let post = Request::post("/webhooks/github").header("content-length", 1024 * 1024 + 1);
    let sent = stage.send(network(), post.body(never).unwrap());
    let reply = tokio::time::timeout(Duration::from_mins(1), sent).await.unwrap();
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    let counted = stage.get("/metrics").await.body;
    assert!(counted.contains("trueup_webhooks_total{forge=\"github\",result=\"garbled\"} 1\n"), "{counted}");
}

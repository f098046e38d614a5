//! Webhooks: a forge tells of a push, and the loop looks at once instead of at its next poll.
//!
//! Nothing is read of what does not prove that it knows the secret. What has arrived before changes nothing again. A
//! webhook can do no more than have manifests looked for.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json as value;
use tokio::sync::mpsc::error::TrySendError;
use tracing::warn;

use super::answer::{Refusal, json};
use super::forges::{Delivered, Forge, Watched};
use super::seen::Seen;
use super::{WEBHOOK_BODY, WebState, too_large};
use crate::agent::orders::Order;
use crate::documents::API_VERSION;
use crate::model::nearest::suggestion;

/// How often the log tells of deliveries that proved nothing.
const QUIET: Duration = Duration::from_mins(1);

/// The forges that are believed, each by its secret; an empty one counts as none.
#[derive(Debug, Clone, Default)]
pub struct Webhooks {
    /// GitLab's "secret token".
    pub gitlab: Option<SecretString>,
    /// GitHub's "secret".
    pub github: Option<SecretString>,
    /// Gitea's and Forgejo's "secret".
    pub gitea: Option<SecretString>,
    /// Where manifests come from.
    pub watched: Watched,
}

impl Webhooks {
    fn secret(&self, forge: Forge) -> Option<&str> {
        let secret = match forge {
            Forge::Gitlab => &self.gitlab,
            Forge::Github => &self.github,
            Forge::Gitea => &self.gitea,
        };
        secret.as_ref().map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty())
    }
}

/// What is known of earlier deliveries.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    seen: Mutex<Seen>,
    complaint: Mutex<Complaint>,
}

/// When the log last told of deliveries that proved nothing, and how many there were since.
#[derive(Debug, Default)]
struct Complaint {
    told: Option<Instant>,
    since: u64,
}

impl Complaint {
    /// How many the log should tell of now; none: nothing.
    fn due(&mut self, now: Instant) -> Option<u64> {
        self.since += 1;
        if self.told.is_some_and(|told| now.duration_since(told) < QUIET) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

/// `POST /webhooks/FORGE`.
pub(super) async fn arrived(State(room): State<WebState>, Path(name): Path<String>, request: Request) -> Response {
    let Some(forge) = Forge::ALL.into_iter().find(|forge| forge.name() == name) else {
        let names = Forge::ALL.map(Forge::name);
        let refusal = Refusal::new(StatusCode::NOT_FOUND, format!("there are no webhooks of `{name}`"));
        return refusal.help(suggestion(&name, &names)).into_response();
    };
    let headers = request.headers().clone();
    let body = match too_large(WEBHOOK_BODY, &headers) {
        Some(refusal) => Err(refusal),
        None => Bytes::from_request(request, &room).await.map_err(|error| {
            // It has said nothing of its length.
            Refusal::new(error.status(), error.body_text())
        }),
    };
    let (result, response) = deliver(&room, forge, &headers, body);
    room.web.board.counters().webhook(forge.name(), result);
    response
}

fn deliver(
    room: &WebState,
    forge: Forge,
    headers: &HeaderMap,
    body: Result<Bytes, Refusal>,
) -> (&'static str, Response) {
    let webhooks = room.web.webhooks.borrow();
    let Some(secret) = webhooks.secret(forge) else {
        let refusal = Refusal::new(StatusCode::NOT_FOUND, format!("webhooks of {} have no secret here", forge.name()));
        return ("unknown", refusal.help("set one in the agent's own configuration").into_response());
    };
    let body = match body {
        Ok(body) => body,
        Err(refusal) => return ("garbled", refusal.into_response()),
    };
    if !forge.proves(secret, headers, &body) {
        let mut complaint = room.inbox.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(deliveries) = complaint.due(Instant::now()) {
            warn!(forge = forge.name(), deliveries, "webhooks did not prove that they know the secret");
        }
        let help = format!("`{}` must be made with the secret that the agent has", forge.proofs().join("` or `"));
        let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "this does not prove that its sender knows the secret");
        return ("refused", refusal.help(help).into_response());
    }
    match forge.read(headers, &body, &webhooks.watched) {
        Delivered::Garbled(why) => {
            let refusal = Refusal::new(StatusCode::BAD_REQUEST, why);
            ("garbled", refusal.help("have the forge send pushes as `application/json`").into_response())
        }
        Delivered::Elsewhere(why) => ("ignored", told(StatusCode::OK, "ignored", &why)),
        Delivered::Pushed => pushed(room, forge, headers, &body),
    }
}

fn pushed(room: &WebState, forge: Forge, headers: &HeaderMap, body: &[u8]) -> (&'static str, Response) {
    // A delivery's name is not signed, so the body counts where that is; GitLab's proof is the same for all of them,
    // and who has it needs no second delivery.
    let name = if forge.signs() { Some(body) } else { forge.delivery(headers) };
    let name = name.map(|name| Seen::digest(&[forge.name().as_bytes(), name]));
    let mut seen = room.inbox.seen.lock().unwrap_or_else(PoisonError::into_inner);
    if name.is_some_and(|name| seen.has(&name)) {
        return ("repeated", told(StatusCode::OK, "repeated", "this has arrived before"));
    }
    match room.web.orders.try_send(Order::Pushed { from: forge.name().to_owned() }) {
        Ok(()) => {
            // Only now: what the loop was not told of may come again.
            if let Some(name) = name {
                seen.remember(name);
            }
            ("accepted", told(StatusCode::ACCEPTED, "accepted", "manifests are looked for"))
        }
        Err(TrySendError::Full(_)) => {
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the agent is too busy to listen");
            ("busy", refusal.again(5).into_response())
        }
        Err(TrySendError::Closed(_)) => ("busy", Refusal::stopping().into_response()),
    }
}

fn told(status: StatusCode, result: &str, message: &str) -> Response {
    let told = value!({"apiVersion": API_VERSION, "kind": "Delivery", "result": result, "message": message});
    let mut response = json(&told).unwrap_or_else(IntoResponse::into_response);
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_once_a_minute_of_all_that_came_since() {
        let (mut complaint, start) = (Complaint::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let rows = [(0, Some(1)), (1, None), (59, None), (60, Some(3)), (61, None), (200, Some(2))];
        for (second, expected) in rows {
            assert_eq!(complaint.due(after(second)), expected, "{second}");
        }
    }

    #[test]
    fn secrets_are_not_shown_and_an_empty_one_is_none() {
        let webhooks = Webhooks {
            gitlab: Some("s3cret".to_owned().into()),
            github: Some(String::new().into()),
            ..Webhooks::default()
        };
        assert!(!format!("{webhooks:?}").contains("s3cret"));
        assert_eq!(webhooks.secret(Forge::Gitlab), Some("s3cret"));
        assert_eq!((webhooks.secret(Forge::Github), webhooks.secret(Forge::Gitea)), (None, None));
    }
}

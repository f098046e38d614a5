//! What is posted to those who are told something: Flux's event or Slack's message, and how it is signed.

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;

use super::post::NotSent;
use crate::host::hex::hexadecimal;
use crate::model::telling::{Severity, Telling};
use crate::model::wake::short_commit;

/// Who says so, in events.
const CONTROLLER: &str = "trueup-agent";

/// Who knows the secret as well knows by it who has sent this body.
pub(super) fn signature(secret: &str, body: &[u8]) -> Result<String, NotSent> {
    let keyed = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
    let mut mac = keyed.map_err(|error| NotSent::Ever(format!("the secret cannot sign: {error}")))?;
    mac.update(body);
    Ok(format!("sha256={}", hexadecimal(&mac.finalize().into_bytes())))
}

/// The event, with the fields of Flux's `eventv1.Event`.
pub(super) fn event(host: &str, telling: &Telling) -> Value {
    let (kind, name) = telling.app.as_ref().map_or(("Agent", host), |app| ("App", app.as_str()));
    let mut metadata = serde_json::Map::from_iter([("host".to_owned(), Value::from(host))]);
    if let Some(release) = &telling.release {
        metadata.insert("release".to_owned(), release.as_str().into());
    }
    if let Some(revision) = &telling.revision {
        metadata.insert("revision".to_owned(), format!("{}{revision}", prefix(revision)).into());
    }
    let at = Timestamp::from_second(telling.at.as_second()).unwrap_or(telling.at);
    json!({
        "involvedObject": {"apiVersion": "trueup/v1", "kind": kind, "namespace": host, "name": name},
        "severity": telling.news.severity(),
        "timestamp": at.to_string(),
        "message": telling.message,
        "reason": telling.news.to_string(),
        "metadata": metadata,
        "reportingController": CONTROLLER,
        "reportingInstance": host,
    })
}

/// The kind of a commit's hash, as Flux writes revisions.
fn prefix(revision: &str) -> &'static str {
    if revision.len() == 64 { "sha256:" } else { "sha1:" }
}

/// The body that Slack's incoming webhooks take, as Flux fills it.
pub(super) fn slack(host: &str, telling: &Telling) -> Value {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let colour = if telling.news.severity() == Severity::Error { "danger" } else { "good" };
    let what = telling.app.as_ref().map_or_else(|| host.to_owned(), |app| format!("{host}/{app}"));
    let field = |title: &str, value: &str| json!({"title": title, "value": escape(value), "short": true});
    let release = telling.release.as_ref().map(|release| field("release", release.as_str()));
    let revision = telling.revision.as_ref().map(|revision| field("revision", short_commit(revision)));
    json!({
        "username": "trueup",
        "text": escape(&format!("{}: {what}", telling.news)),
        "attachments": [{
            "color": colour,
            "fallback": escape(&format!("{what}: {}", telling.message)),
            "text": escape(&telling.message),
            "fields": release.into_iter().chain(revision).collect::<Vec<_>>(),
        }],
    })
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;

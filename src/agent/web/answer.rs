//! How answers look: documents as they are printed, refusals with message and help.

use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::documents::agent::Refused;
use crate::manifest;
use crate::ports::{HostError, HostErrorKind};

/// The exit code that the command line ends with after this answer.
pub const EXIT_CODE: &str = "trueup-exit-code";

/// Why what was done was done by older manifests than the newest, in UTF-8; absent where it was not.
pub const NOTE: &str = "trueup-note";

/// Seconds after which what cannot be had now is worth another try.
const LATER: u32 = 5;

/// Most characters of a note.
const NOTED: usize = 500;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Yaml,
    /// For a terminal, in colour; only what changes things has it.
    Text,
}

impl Form {
    /// The form that is asked for; JSON where nothing is said, or nothing that we have.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let first = accept.split(',').next().unwrap_or_default();
        match first.split(';').next().unwrap_or_default().trim() {
            "application/yaml" => Self::Yaml,
            "text/plain" => Self::Text,
            _ => Self::Json,
        }
    }
}

/// A document as JSON.
pub(super) fn json(document: &impl Serialize) -> Result<Response, Refusal> {
    let text = serde_json::to_string_pretty(document).map_err(|error| Refusal::unprintable(&error.to_string()))?;
    Ok(answer("application/json", format!("{text}\n")))
}

/// A document in that form; as JSON where text is wanted and there is none.
pub(super) fn document(document: &impl Serialize, form: Form) -> Result<Response, Refusal> {
    match form {
        Form::Json | Form::Text => json(document),
        Form::Yaml => {
            let text = manifest::to_string(document).map_err(|error| Refusal::unprintable(&error))?;
            Ok(answer("application/yaml", text))
        }
    }
}

/// Some text of that type.
pub(super) fn answer(content: &'static str, text: String) -> Response {
    // What is told is true of this moment only.
    ([(CONTENT_TYPE, HeaderValue::from_static(content)), (CACHE_CONTROL, HeaderValue::from_static("no-store"))], text)
        .into_response()
}

/// A problem as a [`NOTE`]: its first line.
pub(super) fn note(problem: &str) -> Option<HeaderValue> {
    let line: String = problem.lines().next()?.chars().filter(|c| !c.is_control()).take(NOTED).collect();
    HeaderValue::from_bytes(line.as_bytes()).ok()
}

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    help: Option<String>,
    /// Seconds after which the same may be asked for again; where none are given and it may, [`LATER`].
    again: Option<u32>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), help: None, again: None }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// It may be asked for again after so many seconds.
    pub(super) fn again(self, seconds: u32) -> Self {
        Self { again: Some(seconds), ..self }
    }

    pub(super) fn stopping() -> Self {
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "the agent is about to end");
        refusal.help("what was asked for may or may not have been done: ask again once an agent runs")
    }

    fn unprintable(error: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the document: {error}"))
    }
}

impl From<HostError> for Refusal {
    fn from(error: HostError) -> Self {
        let status = match error.kind {
            HostErrorKind::TimedOut | HostErrorKind::Locked | HostErrorKind::Interrupted => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            HostErrorKind::NotApplicable => StatusCode::CONFLICT,
            HostErrorKind::Unreachable
            | HostErrorKind::Denied
            | HostErrorKind::Misconfigured
            | HostErrorKind::Storage
            | HostErrorKind::Hindered
            | HostErrorKind::WorkerFailed
            | HostErrorKind::ReleaseFailed
            | HostErrorKind::Other => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, message: error.message, help: error.help, again: None }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, message, help, again } = &self;
        let told = Refused::new(status.as_u16(), message, help.as_deref());
        let mut response = json(&told).unwrap_or_else(|_| status.into_response());
        *response.status_mut() = *status;
        if let Some(seconds) = again.or((*status == StatusCode::SERVICE_UNAVAILABLE).then_some(LATER)) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes of `docs/api.md`.
    #[test]
    fn what_went_wrong_on_the_host_decides_about_the_code_and_what_passes_says_when() {
        let rows = [
            (HostErrorKind::NotApplicable, 409, false),
            (HostErrorKind::TimedOut, 503, true),
            (HostErrorKind::Locked, 503, true),
            (HostErrorKind::Interrupted, 503, true),
            (HostErrorKind::Other, 500, false),
            (HostErrorKind::Storage, 500, false),
            (HostErrorKind::Denied, 500, false),
        ];
        for (kind, code, again) in rows {
            let response = Refusal::from(HostError::new(kind, "no")).into_response();
            let found = (response.status().as_u16(), response.headers().contains_key(RETRY_AFTER));
            assert_eq!(found, (code, again), "{kind:?}");
        }
        let eio = HostError::io("cannot read `x`", &rustix::io::Errno::IO.into());
        assert_eq!(Refusal::from(eio).into_response().status(), 500);
        let busy = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many wait").again(1).into_response();
        assert_eq!(busy.headers().get(RETRY_AFTER), Some(&HeaderValue::from(1)));
        assert_eq!(Refusal::stopping().into_response().headers().get(RETRY_AFTER), Some(&HeaderValue::from(LATER)));
    }

    #[test]
    fn the_form_is_the_first_that_is_asked_for() {
        let rows = [
            ("", Form::Json),
            ("*/*", Form::Json),
            ("application/yaml", Form::Yaml),
            ("application/yaml; charset=utf-8, application/json", Form::Yaml),
            ("text/plain", Form::Text),
            ("text/html, text/plain", Form::Json),
        ];
        for (accept, form) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(Form::of(&headers), form, "{accept}");
        }
        assert_eq!(Form::of(&HeaderMap::new()), Form::Json);
    }
}

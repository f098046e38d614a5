//! Brings an archive over HTTPS into a file that has no name, so that nothing is left of it whatever happens.

use std::error::Error;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url};
use rustix::fs::{AtFlags, Mode, OFlags};

use super::place::ReleaseDirectory;
use crate::host::blocking;
use crate::host::https::{causes, deeper, install_provider};
use crate::model::release::public;
use crate::ports::{HostError, HostErrorKind};

/// The name that the file has for a moment, in `ROOT/.trueup`.
const NAME: &str = "download";

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// How long nothing may come.
const IDLE: Duration = Duration::from_mins(1);

/// How long all may take.
const WHOLE: Duration = Duration::from_mins(30);

/// So many redirects are followed.
const REDIRECTS: usize = 5;

/// Downloads a file of at most `limit` bytes and returns it, to be read from its beginning.
///
/// # Errors
/// As [`super::fetch`].
pub(super) async fn fetch(place: &ReleaseDirectory, url: &str, limit: u64) -> Result<File, HostError> {
    fetch_with(Client::builder(), place, url, limit).await
}

async fn fetch_with(
    builder: ClientBuilder,
    place: &ReleaseDirectory,
    url: &str,
    limit: u64,
) -> Result<File, HostError> {
    let shown = public(url);
    let parsed = Url::parse(url).map_err(|error| source(format!("`{shown}` is not a URL: {error}")))?;
    if parsed.scheme() != "https" {
        return Err(source(format!("`{shown}` is not fetched: only `https` is")));
    }
    let client = client(builder)?;
    let fetching = async {
        let response = client.get(parsed).send().await.map_err(|error| describe(error, &shown))?;
        answered(response.status(), &shown)?;
        store(response, place, &shown, limit).await
    };
    tokio::time::timeout(WHOLE, fetching).await.unwrap_or_else(|_| {
        Err(HostError::new(HostErrorKind::TimedOut, format!("`{shown}` did not come within {WHOLE:?}")))
    })
}

fn client(builder: ClientBuilder) -> Result<Client, HostError> {
    install_provider();
    let built = builder
        .user_agent(concat!("trueup/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .read_timeout(IDLE)
        .redirect(Policy::custom(redirect))
        .referer(false)
        .build();
    built.map_err(|error| {
        let causes = causes(&error).join(": ");
        let wrong = HostError::new(HostErrorKind::Misconfigured, format!("cannot make an HTTPS client: {causes}"));
        if causes.contains("No CA certificates") { wrong.with_help("install `ca-certificates`") } else { wrong }
    })
}

/// Why a redirect is not followed.
#[derive(Debug, thiserror::Error)]
enum NotFollowed {
    #[error("it leads on to `{0}`, which is not `https`")]
    Insecure(String),
    #[error("it leads on more than {REDIRECTS} times")]
    TooMany,
}

fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if attempt.url().scheme() != "https" {
        let to = public(attempt.url().as_str());
        return attempt.error(NotFollowed::Insecure(to));
    }
    // The first of those before is what was asked for.
    if attempt.previous().len() > REDIRECTS {
        return attempt.error(NotFollowed::TooMany);
    }
    attempt.follow()
}

fn answered(status: StatusCode, shown: &str) -> Result<(), HostError> {
    if status == StatusCode::OK {
        return Ok(());
    }
    let message = format!("`{shown}` answered {status}");
    Err(match status.as_u16() {
        401 | 403 | 407 => HostError::new(HostErrorKind::Denied, message)
            .with_help("see whether the URL in `spec.release.source` still gives the right to it"),
        408 | 429 | 500.. => HostError::new(HostErrorKind::Unreachable, message),
        _ => source(message),
    })
}

async fn store(mut response: Response, place: &ReleaseDirectory, shown: &str, limit: u64) -> Result<File, HostError> {
    let too_large = || {
        source(format!("`{shown}` is larger than an archive may be whose files have to fit in its `limit`"))
            .with_help("see what it holds, or set a higher `limit`")
    };
    let mut left = limit;
    if response.content_length().is_some_and(|length| length > left) {
        return Err(too_large());
    }
    let failed = |error: &std::io::Error| {
        HostError::io(format!("cannot write `{}`", place.root.state().join(NAME).display()), error)
    };
    let mut file = nameless(place)?;
    while let Some(chunk) = response.chunk().await.map_err(|error| describe(error, shown))? {
        left = left.checked_sub(chunk.len() as u64).ok_or_else(too_large)?;
        file = blocking(move || file.write_all(&chunk).map(|()| file)).await?.map_err(|error| failed(&error))?;
    }
    file.seek(SeekFrom::Start(0)).map_err(|error| failed(&error))?;
    Ok(file)
}

/// A file that goes away with its last user.
fn nameless(place: &ReleaseDirectory) -> Result<File, HostError> {
    let failed = |error: rustix::io::Errno| {
        HostError::io(format!("cannot make `{}`", place.root.state().join(NAME).display()), &error.into())
    };
    let state = place.state(None)?;
    match rustix::fs::unlinkat(&state, NAME, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(failed(error)),
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&state, NAME, flags, Mode::from_raw_mode(0o600)).map_err(failed)?;
    rustix::fs::unlinkat(&state, NAME, AtFlags::empty()).map_err(failed)?;
    Ok(File::from(file))
}

fn source(message: String) -> HostError {
    HostError::new(HostErrorKind::Misconfigured, message).with_help("correct `spec.release.source`")
}

/// What went wrong on the way, and whether another try may mend it.
fn describe(error: reqwest::Error, shown: &str) -> HostError {
    // A URL may hold secrets.
    let error = error.without_url();
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(at) = cause {
        if let Some(refused) = at.downcast_ref::<NotFollowed>() {
            return source(format!("`{shown}` is not fetched: {refused}"));
        }
        if let Some(rustls::Error::InvalidCertificate(why)) = at.downcast_ref::<rustls::Error>() {
            let message = format!("`{shown}` is not fetched: its certificate is not trusted: {why}");
            return HostError::new(HostErrorKind::Misconfigured, message)
                .with_help("make this host trust the server's certificate, or correct `spec.release.source`");
        }
        cause = deeper(at);
    }
    let kind = if error.is_timeout() { HostErrorKind::TimedOut } else { HostErrorKind::Unreachable };
    HostError::new(kind, format!("cannot fetch `{shown}`: {}", causes(&error).join(": ")))
        .with_help("see whether its host can be reached from here")
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;

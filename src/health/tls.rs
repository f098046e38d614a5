//! Whom HTTPS probes trust.

use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use reqwest::{Certificate, ClientBuilder};

use super::failure;
use crate::host::https::install_provider;
use crate::host::way::{self, Wanted};
use crate::model::health::ProbeFailure;

/// More than this holds no list of certificates: all of a system's are a quarter of a megabyte.
const LIMIT: u64 = 16 << 20;

/// Whom a client trusts; two clients with equal trust are interchangeable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trust {
    /// Nobody: it never speaks TLS, and no certificates are loaded for it.
    Nobody,
    /// The system's certificates.
    System,
    /// Those and the ones in this file, as written at this time.
    SystemAnd(PathBuf, Option<SystemTime>),
}

impl Trust {
    /// What a request needs.
    pub(super) fn of(https: bool, ca_file: Option<&Path>) -> Self {
        match (https, ca_file) {
            (false, _) => Self::Nobody,
            (true, None) => Self::System,
            (true, Some(path)) => {
                let written = std::fs::metadata(path).and_then(|found| found.modified()).ok();
                Self::SystemAnd(path.to_owned(), written)
            }
        }
    }

    /// Adds the certificates to a client in the making.
    pub(super) fn apply(&self, builder: ClientBuilder) -> Result<ClientBuilder, ProbeFailure> {
        install_provider();
        match self {
            // An empty list of our own keeps the system's certificates from being loaded.
            Self::Nobody => Ok(builder.tls_certs_only([])),
            Self::System => Ok(builder),
            Self::SystemAnd(path, _) => Ok(builder.tls_certs_merge(read(path)?)),
        }
    }
}

fn read(path: &Path) -> Result<Vec<Certificate>, ProbeFailure> {
    let unreadable =
        |error: &dyn Display| failure(format!("cannot read the certificates in `{}`: {error}", path.display()));
    let (opened, _) = way::open(path, Wanted::File).map_err(|error| unreadable(&error))?;
    let mut bytes = Vec::new();
    File::from(opened).take(LIMIT).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    let certificates = Certificate::from_pem_bundle(&bytes)
        .map_err(|error| failure(format!("`{}` does not hold certificates in PEM form: {error}", path.display())))?;
    if certificates.is_empty() {
        return Err(failure(format!("`{}` holds no certificate in PEM form", path.display())));
    }
    Ok(certificates)
}

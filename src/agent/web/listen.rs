//! A port for those who only read: Prometheus, a page, a forge's webhooks.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::ports::{HostError, HostErrorKind};

/// Who may reach the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This host alone.
    Loopback,
    /// Whoever can reach the address: a person has said so.
    Anywhere,
}

/// A port that is listened on.
#[derive(Debug)]
pub struct Port {
    pub(super) listener: TcpListener,
    pub(super) reach: Reach,
}

impl Port {
    /// Listens there. Needs a runtime.
    ///
    /// # Errors
    /// The address is none of the loopback's and only those may be used, or it cannot be had.
    pub fn bind(address: SocketAddr, reach: Reach) -> Result<Self, HostError> {
        if reach == Reach::Loopback && !address.ip().is_loopback() {
            let message = format!(
                "will not listen on {address}: neither a login nor encryption protects this port, and what it tells of \
                 this host is for everybody who can reach it"
            );
            let help = "listen on 127.0.0.1 and let a reverse proxy with TLS and a password stand before it; or say \
                        `--listen-anywhere`, where the network itself keeps strangers out";
            return Err(HostError::new(HostErrorKind::Misconfigured, message).with_help(help));
        }
        let bound = || {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listener = bound().map_err(|error| {
            HostError::io(format!("cannot listen on {address}"), &error)
                .with_help("is something else listening there? `ss -ltnp` tells; choose another with `--listen`")
        })?;
        Ok(Self { listener, reach })
    }

    /// Where it listens, for port 0 chosen by the kernel.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn other_addresses_than_the_loopbacks_need_a_persons_word() {
        let rows = [
            ("127.0.0.1:0", Reach::Loopback, true),
            ("127.8.0.1:0", Reach::Loopback, true),
            ("0.0.0.0:0", Reach::Loopback, false),
            ("[::]:0", Reach::Loopback, false),
            ("192.0.2.1:0", Reach::Loopback, false),
            ("0.0.0.0:0", Reach::Anywhere, true),
        ];
        for (address, reach, fine) in rows {
            let bound = Port::bind(address.parse().unwrap(), reach);
            assert_eq!(bound.is_ok(), fine, "{address} {reach:?}");
            if let Err(error) = bound {
                assert!(error.help.unwrap().contains("--listen-anywhere"));
            }
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_told() {
        let first = Port::bind("127.0.0.1:0".parse().unwrap(), Reach::Loopback).unwrap();
        let error = Port::bind(first.address().unwrap(), Reach::Loopback).unwrap_err();
        assert!(error.message.contains("cannot listen on 127.0.0.1:"), "{error}");
    }
}

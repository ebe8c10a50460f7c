//! Where webhooks may go: to public addresses over HTTPS, so that nobody makes the platform talk to its own network.
//!
//! The address is checked when it is written and again before each attempt; what its name resolves to is filtered when
//! the connection is made, so that a name cannot change its meaning in between.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::WebhookSettings;
use crate::error::ControlError;

/// The ports that receivers may use.
const PORTS: [u16; 2] = [443, 8443];

/// The longest address in bytes.
const URL_MAX_BYTES: usize = 2_048;

/// Why webhooks may not be sent to an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockedTarget {
    /// Not a URL with a host.
    #[error("it is not a URL with a host, of at most {URL_MAX_BYTES} bytes")]
    NotAUrl,
    /// Another scheme than HTTPS.
    #[error("its scheme is {scheme}, and only https is allowed")]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// A user name or password in the address.
    #[error("it contains a user name or password; messages are signed instead")]
    Credentials,
    /// Another port than the allowed ones.
    #[error("its port is {port}, and only 443 and 8443 are allowed")]
    Port {
        /// The port.
        port: u16,
    },
    /// An address of the own machine, of a private network or of no use.
    #[error("{address} is not a public address")]
    Private {
        /// The address.
        address: IpAddr,
    },
}

/// Reads the address of a receiver and checks what can be checked without resolving it.
///
/// # Errors
/// [`ControlError::BlockedTarget`] says why webhooks may not be sent there.
pub fn check_target(text: &str, settings: &WebhookSettings) -> Result<Url, ControlError> {
    let parsed = Url::parse(text)
        .ok()
        .filter(|url| url.has_host() && text.len() <= URL_MAX_BYTES);
    let Some(url) = parsed else {
        return Err(ControlError::BlockedTarget {
            url: "that address".to_owned(),
            source: BlockedTarget::NotAUrl,
        });
    };
    match problem(&url, settings) {
        None => Ok(url),
        Some(source) => {
            let origin = url.origin().ascii_serialization();
            Err(ControlError::BlockedTarget { url: origin, source })
        }
    }
}

fn problem(url: &Url, settings: &WebhookSettings) -> Option<BlockedTarget> {
    let plain_allowed = settings.allow_private_targets && url.scheme() == "http";
    if url.scheme() != "https" && !plain_allowed {
        let scheme = url.scheme().to_owned();
        return Some(BlockedTarget::Scheme { scheme });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some(BlockedTarget::Credentials);
    }
    if settings.allow_private_targets {
        return None;
    }
    let port = url.port_or_known_default().unwrap_or(0);
    if !PORTS.contains(&port) {
        return Some(BlockedTarget::Port { port });
    }
    // The client connects to a literal address without asking the resolver, so it must be refused here.
    let address = match url.host()? {
        Host::Ipv4(address) => IpAddr::V4(address),
        Host::Ipv6(address) => IpAddr::V6(address),
        Host::Domain(_) => return None,
    };
    (!is_public(address)).then_some(BlockedTarget::Private { address })
}

/// Whether an address is one of the public internet (the IANA special-purpose registries, RFC 6890 and later).
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        (0 | 10 | 127, ..) => true,
        // Addresses that carriers share among customers.
        (100, 64..=127, _) => true,
        // Link-local, where clouds keep the credentials of a machine.
        (169, 254, _) => true,
        (172, 16..=31, _) => true,
        (192, 0, 0 | 2) | (192, 88, 99) | (192, 168, _) => true,
        // Networks for measuring.
        (198, 18 | 19, _) => true,
        (198, 51, 100) | (203, 0, 113) => true,
        // Multicast, reserved, broadcast.
        (224..=255, ..) => true,
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Only 2000::/3 is given out; that leaves out loopback, local, private, multicast, discard-only and translated ones.
    let global = (0x2000..0x4000).contains(&a);
    let special = match (a, b) {
        // Teredo and other protocol assignments, and documentation.
        (0x2001, 0..=0x01ff | 0x0db8) => true,
        // 6to4 carries an IPv4 address.
        (0x2002, _) => true,
        (0x3fff, 0..=0x0fff) => true,
        _ => false,
    };
    global && !special
}

/// Resolves names for the client and keeps back what is not public.
#[derive(Debug, Clone, Copy)]
pub(super) struct GuardedResolver {
    pub(super) settings: WebhookSettings,
}

/// A name that resolves to no allowed address.
#[derive(Debug, thiserror::Error)]
#[error("the name resolves to no public address")]
struct NoPublicAddress;

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let settings = self.settings;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = allowed(found, settings);
            if allowed.is_empty() {
                return Err(NoPublicAddress.into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

fn allowed(found: impl Iterator<Item = SocketAddr>, settings: WebhookSettings) -> Vec<SocketAddr> {
    found
        .filter(|address| settings.allow_private_targets || is_public(address.ip()))
        .collect()
}

#[cfg(test)]
mod tests;

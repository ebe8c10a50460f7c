//! `in_network`: IPv4 and IPv6 addresses in CIDR blocks.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde_json::Value;

use super::{Outcome, text_of, texts};
use crate::rules::context::Attribute;

/// Networks as ranges of addresses, sorted and joined, so that one search decides.
#[derive(Debug)]
pub(crate) struct Networks {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Networks {
    pub(super) fn compile(value: &Value) -> Result<Self, String> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for text in texts(value)? {
            match parse(text).ok_or_else(|| format!("{text} is no address and no network in CIDR form"))? {
                IpNet::V4(net) => v4.push((u32::from(net.network()), u32::from(net.broadcast()))),
                IpNet::V6(net) => v6.push((u128::from(net.network()), u128::from(net.broadcast()))),
            }
        }
        Ok(Self {
            v4: join(v4),
            v6: join(v6),
        })
    }

    pub(super) fn check(&self, attribute: Attribute<'_>) -> Outcome {
        let text = match text_of(attribute) {
            Ok(text) => text,
            Err(outcome) => return outcome,
        };
        // An IPv4 address in its IPv6 form is the IPv4 address: dual-stack sockets write it so.
        match IpAddr::from_str(text).map(|address| address.to_canonical()) {
            Ok(IpAddr::V4(address)) => holds(&self.v4, u32::from(address)).into(),
            Ok(IpAddr::V6(address)) => holds(&self.v6, u128::from(address)).into(),
            Err(_) => Outcome::WrongType,
        }
    }
}

/// A network, or an address as the network of itself; IPv4 networks in IPv6 form are IPv4 networks.
fn parse(text: &str) -> Option<IpNet> {
    let net = IpNet::from_str(text)
        .ok()
        .or_else(|| IpAddr::from_str(text).ok().map(IpNet::from))?;
    let IpNet::V6(v6) = net else {
        return Some(net);
    };
    match (v6.network().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
        (Some(address), Some(prefix)) => IpNet::new(IpAddr::V4(address), prefix).ok(),
        _ => Some(net),
    }
}

fn join<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut joined: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (from, to) in ranges {
        match joined.last_mut() {
            Some((_, last)) if from <= *last => *last = to.max(*last),
            _ => joined.push((from, to)),
        }
    }
    joined.into()
}

fn holds<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(from, _)| *from <= address);
    let range = after.checked_sub(1).and_then(|at| ranges.get(at));
    range.is_some_and(|(_, to)| address <= *to)
}

//! The address guard: which addresses a target may be reached at. One implementation for
//! everything that dials a target; see `dial` for resolve → check → pin → connect.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Addresses that hand out credentials of the machine they are asked from.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

const PRIVATE_V4: [Ipv4Net; 7] = [
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    // Shared by carriers (RFC 6598), IETF protocols (RFC 6890), benchmarks (RFC 2544).
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15),
];

const PRIVATE_V6: [Ipv6Net; 4] = [
    Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10),
    // Local-use NAT64 (RFC 8215).
    Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48),
];

const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
const SIX_TO_FOUR: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);
const LINK_LOCAL_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);

/// What an address is, as far as it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Anybody's.
    Public,
    /// Loopback, private, unique local, shared by carriers.
    Private,
    /// `0.0.0.0/8` or `::`.
    Unspecified,
    /// Of this link only.
    LinkLocal,
    /// A cloud's metadata service.
    Metadata,
    /// Multicast, broadcast and reserved ranges.
    NotUnicast,
    /// Named by the operator as never to be called, such as the Kubernetes API.
    Denied,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Unspecified => "unspecified",
            Self::LinkLocal => "link-local",
            Self::Metadata => "a metadata service",
            Self::NotUnicast => "multicast, broadcast or reserved",
            Self::Denied => "denied by the operator",
        })
    }
}

/// An address that may not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {class}")]
pub struct RefusedAddress {
    /// The address.
    pub address: IpAddr,
    /// Why not.
    pub class: Class,
}

/// What this egress allows, beside what a target's own configuration does.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Private addresses may be called without being named by a target.
    pub allow_private: bool,
    /// Never to be called, whatever a target says.
    pub denied: Vec<IpNet>,
}

impl Guard {
    /// Judges one address that a target resolved to. `allowed` are the networks which the target
    /// names itself.
    ///
    /// # Errors
    /// [`RefusedAddress`] with the reason.
    pub fn check(&self, address: IpAddr, allowed: &[IpNet]) -> Result<(), RefusedAddress> {
        let address = address.to_canonical();
        let class = self.class(address);
        let named = || allowed.iter().any(|network| network.contains(&address));
        match class {
            Class::Public => Ok(()),
            Class::Private if self.allow_private || named() => Ok(()),
            _ => Err(RefusedAddress { address, class }),
        }
    }

    fn class(&self, address: IpAddr) -> Class {
        if METADATA.contains(&address) {
            return Class::Metadata;
        }
        if self.denied.iter().any(|network| network.contains(&address)) {
            return Class::Denied;
        }
        match address {
            IpAddr::V4(address) => class_v4(address),
            // An address that carries another one is what that one is.
            IpAddr::V6(address) => match carried(address) {
                Some(inner) => self.class(IpAddr::V4(inner)),
                None => class_v6(address),
            },
        }
    }
}

fn class_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        [0, ..] => Class::Unspecified,
        [169, 254, ..] => Class::LinkLocal,
        [224..=255, ..] => Class::NotUnicast,
        _ if PRIVATE_V4.iter().any(|network| network.contains(&address)) => Class::Private,
        _ => Class::Public,
    }
}

fn class_v6(address: Ipv6Addr) -> Class {
    if address.is_unspecified() {
        Class::Unspecified
    } else if address.is_multicast() {
        Class::NotUnicast
    } else if LINK_LOCAL_V6.contains(&address) {
        Class::LinkLocal
    } else if PRIVATE_V6.iter().any(|network| network.contains(&address)) {
        Class::Private
    } else {
        Class::Public
    }
}

/// The IPv4 address inside a NAT64, 6to4 or IPv4-compatible one.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    if NAT64.contains(&address) {
        return Some(join(segments[6], segments[7]));
    }
    if SIX_TO_FOUR.contains(&address) {
        return Some(join(segments[1], segments[2]));
    }
    let compatible = segments[..6] == [0; 6] && segments[6] != 0;
    compatible.then(|| join(segments[6], segments[7]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(allow_private: bool, address: &str, allowed: &[&str]) -> Option<Class> {
        let guard = Guard {
            allow_private,
            denied: vec!["203.0.113.7/32".parse().unwrap()],
        };
        let allowed: Vec<IpNet> = allowed.iter().map(|text| text.parse().unwrap()).collect();
        guard
            .check(address.parse().unwrap(), &allowed)
            .err()
            .map(|refused| refused.class)
    }

    /// Address, what refuses it when private addresses are allowed, and when they are not.
    const TABLE: [(&str, Option<Class>, Option<Class>); 33] = [
        ("93.184.216.34", None, None),
        ("2606:4700::1111", None, None),
        ("10.1.2.3", None, Some(Class::Private)),
        ("172.31.255.255", None, Some(Class::Private)),
        ("172.32.0.1", None, None),
        ("192.168.0.1", None, Some(Class::Private)),
        ("127.0.0.1", None, Some(Class::Private)),
        ("127.255.0.9", None, Some(Class::Private)),
        ("::1", None, Some(Class::Private)),
        ("fd12::1", None, Some(Class::Private)),
        ("100.64.0.1", None, Some(Class::Private)),
        ("100.128.0.1", None, None),
        ("198.19.0.1", None, Some(Class::Private)),
        (
            "0.0.0.0",
            Some(Class::Unspecified),
            Some(Class::Unspecified),
        ),
        (
            "0.1.2.3",
            Some(Class::Unspecified),
            Some(Class::Unspecified),
        ),
        ("::", Some(Class::Unspecified), Some(Class::Unspecified)),
        (
            "169.254.1.1",
            Some(Class::LinkLocal),
            Some(Class::LinkLocal),
        ),
        ("fe80::1", Some(Class::LinkLocal), Some(Class::LinkLocal)),
        ("febf::1", Some(Class::LinkLocal), Some(Class::LinkLocal)),
        (
            "169.254.169.254",
            Some(Class::Metadata),
            Some(Class::Metadata),
        ),
        (
            "fd00:ec2::254",
            Some(Class::Metadata),
            Some(Class::Metadata),
        ),
        (
            "100.100.100.200",
            Some(Class::Metadata),
            Some(Class::Metadata),
        ),
        (
            "224.0.0.1",
            Some(Class::NotUnicast),
            Some(Class::NotUnicast),
        ),
        (
            "255.255.255.255",
            Some(Class::NotUnicast),
            Some(Class::NotUnicast),
        ),
        (
            "240.0.0.1",
            Some(Class::NotUnicast),
            Some(Class::NotUnicast),
        ),
        ("ff02::1", Some(Class::NotUnicast), Some(Class::NotUnicast)),
        ("203.0.113.7", Some(Class::Denied), Some(Class::Denied)),
        // The same in disguise.
        ("::ffff:10.0.0.1", None, Some(Class::Private)),
        (
            "::ffff:169.254.169.254",
            Some(Class::Metadata),
            Some(Class::Metadata),
        ),
        (
            "64:ff9b::a9fe:a9fe",
            Some(Class::Metadata),
            Some(Class::Metadata),
        ),
        ("64:ff9b::a00:1", None, Some(Class::Private)),
        ("2002:7f00:1::", None, Some(Class::Private)),
        ("::127.0.0.1", None, Some(Class::Private)),
    ];

    #[test]
    fn every_kind_of_address_is_judged_as_the_table_says() {
        for (address, open, closed) in TABLE {
            assert_eq!(
                judge(true, address, &[]),
                open,
                "{address} with private allowed"
            );
            assert_eq!(
                judge(false, address, &[]),
                closed,
                "{address} with private refused"
            );
        }
    }

    #[test]
    fn a_target_may_name_private_networks_but_never_the_rest() {
        assert_eq!(judge(false, "10.1.2.3", &["10.1.0.0/16"]), None);
        assert_eq!(judge(false, "::ffff:10.1.2.3", &["10.1.0.0/16"]), None);
        assert_eq!(
            judge(false, "10.2.2.3", &["10.1.0.0/16"]),
            Some(Class::Private)
        );
        assert_eq!(
            judge(false, "169.254.169.254", &["0.0.0.0/0"]),
            Some(Class::Metadata)
        );
        assert_eq!(
            judge(false, "169.254.3.4", &["0.0.0.0/0"]),
            Some(Class::LinkLocal)
        );
        assert_eq!(
            judge(true, "203.0.113.7", &["0.0.0.0/0"]),
            Some(Class::Denied)
        );
    }
}

//! Which addresses are reached: the public ones, and what `outbound.allow_networks` lists.
//!
//! An address that merely carries another (IPv4-mapped, NAT64, 6to4, Teredo) is judged by the one that it carries, since
//! that is where the packets end. What is not known to be public is refused.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// <https://www.iana.org/assignments/iana-ipv4-special-registry>
const RESERVED_V4: &[(Ipv4Net, &str)] = &[
    (v4([0, 0, 0, 0], 8), "unspecified"),
    (v4([10, 0, 0, 0], 8), "private"),
    (v4([100, 64, 0, 0], 10), "shared (CGNAT)"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v4([172, 16, 0, 0], 12), "private"),
    (v4([192, 0, 0, 0], 24), "reserved"),
    (v4([192, 0, 2, 0], 24), "documentation"),
    (v4([192, 88, 99, 0], 24), "reserved"),
    (v4([192, 168, 0, 0], 16), "private"),
    (v4([198, 18, 0, 0], 15), "benchmarking"),
    (v4([198, 51, 100, 0], 24), "documentation"),
    (v4([203, 0, 113, 0], 24), "documentation"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([255, 255, 255, 255], 32), "broadcast"),
    (v4([240, 0, 0, 0], 4), "reserved"),
];

/// <https://www.iana.org/assignments/iana-ipv6-special-registry>; of what is left only `2000::/3` is in use.
const RESERVED_V6: &[(Ipv6Net, &str)] = &[
    (v6([0; 8], 128), "unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), "benchmarking"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "reserved"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation"),
    (
        v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
        "private (unique local)",
    ),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (
        v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
        "private (site-local)",
    ),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];

const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// An address that is not reached, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host} has the {kind} address {address}, which is not sent to; if the target may be there, list {address} in outbound.allow_networks"
)]
pub struct Refused {
    host: String,
    kind: &'static str,
    address: IpAddr,
}

/// Lets through the addresses that may be reached. Also the client's resolver: a name is looked up once for each
/// connection, and only what was checked is connected to, so a name that changes its mind between the check and the
/// connection gains nothing.
#[derive(Clone)]
pub(super) struct Guard {
    allowed: Arc<[IpNet]>,
    /// Who knows what a name stands for.
    names: Arc<dyn Resolve>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Guard").field(&self.allowed).finish()
    }
}

impl Guard {
    pub(super) fn new(allowed: Vec<IpNet>, names: Arc<dyn Resolve>) -> Self {
        Self {
            allowed: allowed.into(),
            names,
        }
    }

    /// Checks a URL whose host is an IP address: the client asks no resolver about those. So is `localhost` checked where
    /// no network is listed: what stands for the loopback alone need not be looked up to be refused.
    pub(super) fn check(&self, url: &Url) -> Result<(), Refused> {
        match url.host() {
            Some(Host::Domain(name)) if self.allowed.is_empty() && is_localhost(name) => {
                self.check_address(name, Ipv4Addr::LOCALHOST.into())
            }
            _ => match literal(url) {
                Some(address) => self.check_address(&address.to_string(), address),
                None => Ok(()),
            },
        }
    }

    /// Whether the URL's host is an IP address that `outbound.allow_networks` lists.
    pub(super) fn lists(&self, url: &Url) -> bool {
        literal(url).is_some_and(|address| self.is_listed(address))
    }

    fn check_address(&self, host: &str, address: IpAddr) -> Result<(), Refused> {
        match reserved(address) {
            Some(kind) if !self.is_listed(address) => Err(Refused {
                host: host.to_owned(),
                kind,
                address,
            }),
            _ => Ok(()),
        }
    }

    fn is_listed(&self, address: IpAddr) -> bool {
        let carried = match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => carried(address).map(IpAddr::V4),
        };
        [Some(address), carried]
            .into_iter()
            .flatten()
            .any(|one| self.allowed.iter().any(|net| net.contains(&one)))
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = guard.names.resolve(name).await?;
            let mut refused = None;
            let reached: Vec<_> = found
                .filter(|socket| match guard.check_address(&host, socket.ip()) {
                    Ok(()) => true,
                    Err(why) => {
                        refused.get_or_insert(why);
                        false
                    }
                })
                .collect();
            match refused {
                Some(why) if reached.is_empty() => Err(why.into()),
                _ => Ok(Box::new(reached.into_iter()) as Addrs),
            }
        })
    }
}

/// What the system knows of names.
#[derive(Debug)]
pub(super) struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether a name is one that stands for the loopback wherever it is asked for, by RFC 6761. `url` has put it in small
/// letters.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// The host, where it is an IP address. `url` has read the decimal, octal and hexadecimal spellings already.
fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
    }
}

/// What kind of address it is, if it is none of the public ones.
fn reserved(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => RESERVED_V4
            .iter()
            .find(|(net, _)| net.contains(&address))
            .map(|(_, kind)| *kind),
        IpAddr::V6(address) => {
            let known = RESERVED_V6
                .iter()
                .find(|(net, _)| net.contains(&address))
                .map(|(_, kind)| *kind);
            match carried(address) {
                Some(inner) => reserved(inner.into()),
                None => known.or_else(|| (!GLOBAL_V6.contains(&address)).then_some("reserved")),
            }
        }
    }
}

/// The IPv4 address inside an IPv6 address: mapped, translated, compatible, NAT64, 6to4 or Teredo.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => join(high, low),
        // Teredo hides the client's address by inverting it.
        [0x2001, 0, .., high, low] => join(!high, !low),
        _ => None,
    }
}

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from_octets(octets), prefix)
}

const fn v6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::from_segments(segments), prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_that_is_not_public_is_refused_by_its_kind() {
        let table = [
            ("unspecified", "0.0.0.0 0.255.255.255 ::"),
            (
                "private",
                "10.0.0.0 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 192.168.255.255",
            ),
            ("shared (CGNAT)", "100.64.0.0 100.127.255.255"),
            ("loopback", "127.0.0.1 127.255.255.255 ::1"),
            ("link-local", "169.254.169.254 fe80::1 febf::1"),
            (
                "reserved",
                "192.0.0.1 192.88.99.1 240.0.0.1 255.255.255.254 4000::1 100::1 64:ff9b:1::1 2001:20::1 5f00::1",
            ),
            (
                "documentation",
                "192.0.2.1 198.51.100.1 203.0.113.1 2001:db8::1 3fff::1",
            ),
            ("benchmarking", "198.18.0.1 198.19.255.255 2001:2::1"),
            ("multicast", "224.0.0.1 239.255.255.255 ff02::1"),
            ("broadcast", "255.255.255.255"),
            ("private (unique local)", "fc00::1 fd12:3456::1"),
            ("private (site-local)", "fec0::1"),
            // Addresses that carry another: mapped, compatible, translated, NAT64, 6to4, Teredo.
            (
                "loopback",
                "::ffff:127.0.0.1 ::127.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 2002:7f00:1::",
            ),
            (
                "private",
                "::ffff:10.0.0.1 64:ff9b::10.0.0.1 2002:a00:1::1 2001:0:4136:e378:8000:63bf:f5ff:fffe",
            ),
            ("link-local", "::ffff:169.254.169.254"),
        ];
        for (kind, addresses) in table {
            for address in addresses.split(' ') {
                assert_eq!(reserved(address.parse().unwrap()), Some(kind), "{address}");
            }
        }
    }

    #[test]
    fn public_addresses_are_reached() {
        let public = "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0 \
                      192.167.255.255 198.17.255.255 198.20.0.0 223.255.255.255 2606:4700::1111 2a00:1450::1 \
                      ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1";
        for address in public.split_whitespace() {
            assert_eq!(reserved(address.parse().unwrap()), None, "{address}");
        }
    }

    #[test]
    fn every_spelling_of_an_address_in_a_url_is_seen_through() {
        let guard = Guard::new(vec![], Arc::new(System));
        let check = |text: &str| guard.check(&Url::parse(text).unwrap());
        for (kind, hosts) in [
            (
                "loopback",
                "127.0.0.1 127.0.0.1. 127.1 0x7f.1 0x7f.0x1 0177.0.0.1 0177.1 0x7f000001 2130706433 017700000001 \
                 [::1] [::ffff:7f00:1] [::127.0.0.1] [64:ff9b::7f00:1] １２７.0.0.1 127。0。0。1 %31%32%37.0.0.1 \
                 localhost localhost. LOCALHOST LocalHost. foo.localhost foo.localhost. a.b.LOCALHOST ｌocalhost \
                 example.com@127.0.0.1 example.com:443@127.1 user:pass@localhost 127.0.0.1#@example.com \
                 127.0.0.1?@example.com 127.0.0.1\\@example.com /127.0.0.1 \\127.0.0.1",
            ),
            ("unspecified", "0 0.0.0.0 0x0 [::] 00000000000 [::ffff:0:0]"),
            (
                "link-local",
                "2852039166 0xa9fea9fe 0251.0376.0251.0376 169.254.43518 [fe80::1]",
            ),
            ("private", "10.1 012.1 192.168.257 3232235777 [fd00::1]"),
        ] {
            for host in hosts.split_whitespace() {
                let why = check(&format!("https://{host}/x")).unwrap_err().to_string();
                assert!(why.contains(kind), "{host}: {why}");
            }
        }
        for fine in [
            "https://example.com/",
            "https://127.0.0.1@example.com/",
            "https://localhost.example.com/",
            "https://notlocalhost/",
        ] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
    }

    #[test]
    fn a_listed_network_is_reached_and_its_neighbours_are_not() {
        let listed = ["10.1.0.0/16", "fd00::/8"].map(|net| net.parse().unwrap());
        let guard = Guard::new(listed.into(), Arc::new(System));
        let check = |address: &str| guard.check_address("x", address.parse().unwrap());
        assert_eq!(
            (
                check("10.1.2.3"),
                check("::ffff:10.1.2.3"),
                check("fd00::1")
            ),
            (Ok(()), Ok(()), Ok(()))
        );
        let refused = check("10.2.0.1").unwrap_err().to_string();
        assert_eq!(
            refused,
            "x has the private address 10.2.0.1, which is not sent to; if the target may be there, list 10.2.0.1 in \
             outbound.allow_networks"
        );
    }
}

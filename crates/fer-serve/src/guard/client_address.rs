//! The address of a client whose request may have passed through proxies.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use actix_web::http::header::{self, HeaderMap};

use crate::config::ProxyHeader;

/// The proxies whose header is trusted.
pub(crate) struct TrustedProxies {
    addresses: Vec<IpAddr>,
    header: ProxyHeader,
}

impl TrustedProxies {
    /// IPv4 addresses match however they are written: `::ffff:10.0.0.9` is `10.0.0.9`.
    pub(crate) fn new(addresses: &[IpAddr], header: ProxyHeader) -> Self {
        Self { addresses: addresses.iter().map(IpAddr::to_canonical).collect(), header }
    }

    /// The client's address, given the address that the connection comes from.
    ///
    /// Each proxy appends the address that it was contacted from, so only the end of the list is trustworthy. The list is read
    /// from its end: trusted proxies are skipped, and the first other address is the client. At an entry that is not an address
    /// the search stops with the last proxy, because everything before it may be made up by the client.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let hops = match self.header {
            ProxyHeader::XForwardedFor => hops(headers, "x-forwarded-for", x_forwarded_for),
            ProxyHeader::Forwarded => hops(headers, header::FORWARDED.as_str(), forwarded),
        };
        for hop in hops.into_iter().rev() {
            if !self.addresses.contains(&client) {
                break;
            }
            let Some(address) = hop else { break };
            client = address.to_canonical();
        }
        client
    }
}

/// The addresses that share one limit with this one. A client usually has a whole /64 network of IPv6 to itself, so all of its
/// addresses count as one.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// The entries of a header from the first to the last; `None` for one that is not an address.
fn hops(headers: &HeaderMap, name: &str, parse: fn(&str) -> Vec<Option<IpAddr>>) -> Vec<Option<IpAddr>> {
    headers.get_all(name).flat_map(|value| value.to_str().map_or_else(|_| vec![None], parse)).collect()
}

fn x_forwarded_for(value: &str) -> Vec<Option<IpAddr>> {
    value.split(',').map(|entry| node(entry.trim())).collect()
}

/// An address with or without a port, as proxies write it: `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::7`, `[2001:db8::7]:4711`.
fn node(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(bracketed).or_else(with_port)
}

/// The `for` parameters of a `Forwarded` header, RFC 7239.
fn forwarded(value: &str) -> Vec<Option<IpAddr>> {
    split_unquoted(value, ',')
        .into_iter()
        .map(|element| forwarded_for(element).and_then(|text| node(&text)))
        .collect()
}

/// The value of the only `for` parameter of an element, without quotes. `None` if the element is malformed.
fn forwarded_for(element: &str) -> Option<String> {
    let mut found = None;
    for pair in split_unquoted(element, ';') {
        let (name, value) = pair.split_once('=')?;
        let value = unquoted(value.trim_end())?;
        if name.trim().eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
    }
    found
}

/// The text of a token or a quoted string. `None` if quotes are left open or stand inside of a token.
fn unquoted(value: &str) -> Option<String> {
    let Some(quoted) = value.strip_prefix('"') else {
        return (!value.is_empty() && !value.contains(['"', '\\', ' '])).then(|| value.to_owned());
    };
    let (mut text, mut characters) = (String::new(), quoted.chars());
    loop {
        match characters.next()? {
            '"' => return characters.as_str().is_empty().then_some(text),
            '\\' => text.push(characters.next()?),
            character => text.push(character),
        }
    }
}

/// Splits at a separator, except inside of quoted strings.
fn split_unquoted(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|character: char| {
        let split = character == separator && !quoted;
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        split
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const PROXY: &str = "10.0.0.9";

    /// The client's address for header lines that came from `peer`, where `trusted` is a proxy.
    fn client(trusted: &str, peer: &str, header: ProxyHeader, lines: &[&str]) -> String {
        let name = match header {
            ProxyHeader::XForwardedFor => "x-forwarded-for",
            ProxyHeader::Forwarded => "forwarded",
        };
        let proxies = TrustedProxies::new(&[trusted.parse().unwrap(), "10.0.0.8".parse().unwrap()], header);
        let request =
            lines.iter().fold(TestRequest::default(), |request, line| request.append_header((name, *line)));
        proxies.client(peer.parse().unwrap(), request.to_http_request().headers()).to_string()
    }

    #[test]
    fn the_last_address_before_the_trusted_proxies_is_the_client() {
        let client = |lines: &[&str]| client(PROXY, PROXY, ProxyHeader::XForwardedFor, lines);
        assert_eq!(client(&["6.6.6.6, 192.0.2.7"]), "192.0.2.7");
        assert_eq!(client(&["6.6.6.6", "192.0.2.7"]), "192.0.2.7", "lines are one list");
        assert_eq!(client(&["6.6.6.6, 192.0.2.7, 10.0.0.8"]), "192.0.2.7");
        assert_eq!(client(&["10.0.0.8"]), "10.0.0.8", "a trusted proxy may be the client");
        assert_eq!(client(&[]), PROXY);
    }

    /// Entries that were not a bare address used to be skipped, so that the client's own entry came next.
    #[test]
    fn an_entry_with_a_port_is_read_and_a_malformed_one_ends_the_search() {
        let client = |lines: &[&str]| client(PROXY, PROXY, ProxyHeader::XForwardedFor, lines);
        assert_eq!(client(&["6.6.6.6, 192.0.2.7:4711"]), "192.0.2.7");
        assert_eq!(client(&["6.6.6.6, [2001:db8::7]:4711"]), "2001:db8::7");
        assert_eq!(client(&["6.6.6.6, [2001:db8::7]"]), "2001:db8::7");
        assert_eq!(client(&["6.6.6.6, 2001:db8::7"]), "2001:db8::7");
        for rubbish in ["nonsense", "", "unknown", "1.2.3", "[::1", "192.0.2.7:port", "::1%eth0"] {
            assert_eq!(client(&[&format!("6.6.6.6, {rubbish}")]), PROXY, "{rubbish:?}");
            assert_eq!(client(&[&format!("6.6.6.6, {rubbish}, 10.0.0.8")]), "10.0.0.8", "{rubbish:?}");
        }
    }

    #[test]
    fn mapped_addresses_equal_the_ones_that_they_map() {
        let header = ProxyHeader::XForwardedFor;
        assert_eq!(client(PROXY, "::ffff:10.0.0.9", header, &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(client("::ffff:10.0.0.9", PROXY, header, &["::ffff:192.0.2.7"]), "192.0.2.7");
        assert_eq!(client(PROXY, PROXY, header, &["192.0.2.7, ::ffff:10.0.0.8"]), "192.0.2.7");
        assert_eq!(client(PROXY, "10.0.0.7", header, &["192.0.2.7"]), "10.0.0.7", "not a trusted proxy");
    }

    #[test]
    fn the_forwarded_header_is_read_only_where_it_is_chosen() {
        let client = |lines: &[&str]| client(PROXY, PROXY, ProxyHeader::Forwarded, lines);
        assert_eq!(client(&["for=6.6.6.6, for=192.0.2.7;proto=https;by=10.0.0.9"]), "192.0.2.7");
        assert_eq!(client(&["For=\"[2001:db8::7]:4711\""]), "2001:db8::7");
        assert_eq!(client(&["for=\"192.0.2.7:4711\"", "for=10.0.0.8"]), "192.0.2.7");
        assert_eq!(client(&["for=6.6.6.6, for=unknown"]), PROXY);
        assert_eq!(client(&["for=6.6.6.6, for=_hidden, for=10.0.0.8"]), "10.0.0.8");
        // What a client sends before the proxy's part must not change how that part is read.
        for open in ["for=6.6.6.6;x=\"", "for=\"6.6.6.6", "for=6.6.6.6;x=\"\\"] {
            assert_eq!(client(&[&format!("{open}, for=192.0.2.7")]), PROXY, "{open}");
            assert_eq!(client(&[&format!("{open}, for=\"[2001:db8::7]\"")]), PROXY, "{open}");
        }
        assert_eq!(client(&["for=6.6.6.6, for=6.6.6.6;for=192.0.2.7"]), PROXY, "which of them?");
        let proxies = TrustedProxies::new(&[PROXY.parse().unwrap()], ProxyHeader::XForwardedFor);
        let request = TestRequest::default().insert_header(("forwarded", "for=6.6.6.6")).to_http_request();
        assert_eq!(proxies.client(PROXY.parse().unwrap(), request.headers()).to_string(), PROXY);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_client() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
    }
}

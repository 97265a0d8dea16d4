//! Who may use the server, and how often: API keys and a request rate per client.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap};
use anyhow::{Context, Result, ensure};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use subtle::ConstantTimeEq;

use super::client_address::{TrustedProxies, network};

/// Number of requests after which the rates of clients that have been quiet for a while are forgotten.
const CLEAN_UP: usize = 4096;

/// Shortest API key, in bytes. Shorter keys can be guessed.
const SHORTEST_KEY: usize = 16;

/// The rules that every request is checked against.
pub(crate) struct Access {
    /// Any of these keys opens the API. Without keys it is open to everybody.
    keys: Vec<String>,
    rate: Option<DefaultKeyedRateLimiter<IpAddr>>,
    checks: AtomicUsize,
    proxies: TrustedProxies,
}

impl Access {
    /// `rate` is in requests per second; 0 sets no limit.
    ///
    /// # Errors
    /// A key file that cannot be read, is empty, or has a key that is too short.
    pub(crate) fn new(key_file: Option<&Path>, rate: u32, proxies: TrustedProxies) -> Result<Self> {
        let keys = key_file.map(read_keys).transpose()?.unwrap_or_default();
        let rate = NonZeroU32::new(rate).map(|rate| {
            let burst = rate.saturating_mul(NonZeroU32::MIN.saturating_add(1));
            RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst))
        });
        Ok(Self { keys, rate, checks: AtomicUsize::new(0), proxies })
    }

    /// Whether a key opens the API. A wrong key takes as long to compare as a right one of the same length.
    pub(crate) fn opens(&self, key: &str) -> bool {
        let matches = self.keys.iter().map(|known| known.as_bytes().ct_eq(key.as_bytes()));
        matches.fold(subtle::Choice::from(0), |any, one| any | one).into()
    }

    /// Whether the headers contain a valid key; `None` if they contain no key at all.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> Option<bool> {
        if self.keys.is_empty() {
            return Some(true);
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text(header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
        bearer.or_else(|| text("x-api-key")).map(|key| self.opens(key.trim()))
    }

    /// The client that a request is counted for: its IPv4 address, or its /64 network of IPv6.
    pub(crate) fn client(&self, request: &HttpRequest) -> IpAddr {
        let peer = request.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |address| address.ip());
        network(self.proxies.client(peer, request.headers()))
    }

    /// Counts a request.
    ///
    /// # Errors
    /// The seconds to wait if the client has sent too many.
    pub(crate) fn count(&self, client: IpAddr) -> Result<(), u64> {
        let Some(rate) = &self.rate else { return Ok(()) };
        if self.checks.fetch_add(1, Ordering::Relaxed).is_multiple_of(CLEAN_UP) {
            rate.retain_recent();
        }
        rate.check_key(&client).map_err(|_| 1)
    }
}

fn read_keys(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("--api-key-file: cannot read {}", path.display()))?;
    let keys: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    ensure!(!keys.is_empty(), "--api-key-file: {} contains no key; expected one per line", path.display());
    let short = keys.iter().position(|key| key.len() < SHORTEST_KEY);
    if let Some(index) = short {
        anyhow::bail!(
            "--api-key-file: key {} in {} has fewer than {SHORTEST_KEY} characters",
            index + 1,
            path.display()
        );
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProxyHeader;

    fn no_proxies() -> TrustedProxies {
        TrustedProxies::new(&[], ProxyHeader::XForwardedFor)
    }

    #[test]
    fn keys_open_and_files_without_good_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        let open = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Access::new(Some(&file), 0, no_proxies())
        };
        let access = open("first-key-of-sixteen\n\n second-key-of-sixteen \n").unwrap();
        assert!(access.opens("first-key-of-sixteen") && access.opens("second-key-of-sixteen"));
        assert!(!access.opens("first-key-of-sixteem") && !access.opens(""));
        let refusal = |text: &str| open(text).err().unwrap().to_string();
        assert!(refusal("\n").contains("contains no key"));
        assert!(refusal("long-enough-to-be-one\nshort").contains("key 2"));
        assert!(Access::new(None, 0, no_proxies()).unwrap().admits(&HeaderMap::new()).unwrap());
    }

    #[test]
    fn each_client_has_its_own_rate() {
        let access = Access::new(None, 2, no_proxies()).unwrap();
        let [a, b]: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        let taken = (0..10).filter(|_| access.count(a).is_ok()).count();
        assert_eq!(taken, 4, "a burst of twice the rate");
        assert!(access.count(b).is_ok());
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_share_one_rate() {
        let access = Access::new(None, 2, no_proxies()).unwrap();
        let request = |host: u32| {
            let peer = format!("[2001:db8::{host:x}]:1").parse().unwrap();
            actix_web::test::TestRequest::default().peer_addr(peer).to_http_request()
        };
        let taken = (1..=10).filter(|&host| access.count(access.client(&request(host))).is_ok()).count();
        assert_eq!(taken, 4);
    }
}

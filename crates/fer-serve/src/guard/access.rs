//! Who may use the server, and how often: API keys, a rate per client, and which address a client has behind a proxy.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap};
use anyhow::{Context, Result, ensure};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use subtle::ConstantTimeEq;

/// Clients that were not heard of for a while are forgotten after so many requests.
const CLEAN_UP: usize = 4096;

/// A key that is shorter can be guessed.
const SHORTEST_KEY: usize = 16;

/// The rules.
#[derive(Default)]
pub(crate) struct Access {
    /// Any of these opens the API; none: it is open to all.
    keys: Vec<String>,
    rate: Option<DefaultKeyedRateLimiter<IpAddr>>,
    checks: AtomicUsize,
    /// Who may say on whose behalf it asks.
    proxies: Vec<IpAddr>,
}

impl Access {
    /// `rate` is in requests a second, 0 for any.
    pub(crate) fn new(key_file: Option<&Path>, rate: u32, proxies: Vec<IpAddr>) -> Result<Self> {
        let keys = key_file.map(read_keys).transpose()?.unwrap_or_default();
        let rate = NonZeroU32::new(rate).map(|rate| {
            let burst = rate.saturating_mul(NonZeroU32::MIN.saturating_add(1));
            RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst))
        });
        Ok(Self { keys, rate, checks: AtomicUsize::new(0), proxies })
    }

    /// Whether a key opens the API. Takes as long for a wrong one as for a right one of its length.
    pub(crate) fn opens(&self, key: &str) -> bool {
        let matches = self.keys.iter().map(|known| known.as_bytes().ct_eq(key.as_bytes()));
        matches.fold(subtle::Choice::from(0), |any, one| any | one).into()
    }

    /// Whether a request's headers hold a key that is wanted; `None` where there is none in them.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> Option<bool> {
        if self.keys.is_empty() {
            return Some(true);
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text(header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
        bearer.or_else(|| text("x-api-key")).map(|key| self.opens(key.trim()))
    }

    /// The client's address: the peer's, or what a trusted proxy says of it last.
    pub(crate) fn client(&self, request: &HttpRequest) -> IpAddr {
        let peer = request.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |address| address.ip());
        if !self.proxies.contains(&peer) {
            return peer;
        }
        let forwarded = request.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
        let addresses = forwarded.flat_map(|list| list.split(',')).filter_map(|one| one.trim().parse().ok());
        // Further left stands what the client itself may have made up.
        addresses.filter(|address| !self.proxies.contains(address)).last().unwrap_or(peer)
    }

    /// Counts a request; an error with the seconds to wait where there were too many.
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
    ensure!(!keys.is_empty(), "--api-key-file: {} holds no key; expected one a line", path.display());
    let short = keys.iter().position(|key| key.len() < SHORTEST_KEY);
    if let Some(line) = short {
        anyhow::bail!(
            "--api-key-file: key {} in {} has fewer than {SHORTEST_KEY} characters",
            line + 1,
            path.display()
        );
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn keys_open_and_files_without_good_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        let open = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Access::new(Some(&file), 0, Vec::new())
        };
        let access = open("first-key-of-sixteen\n\n second-key-of-sixteen \n").unwrap();
        assert!(access.opens("first-key-of-sixteen") && access.opens("second-key-of-sixteen"));
        assert!(!access.opens("first-key-of-sixteem") && !access.opens(""));
        let refusal = |text: &str| open(text).err().unwrap().to_string();
        assert!(refusal("\n").contains("holds no key"));
        assert!(refusal("long-enough-to-be-one\nshort").contains("key 2"));
        assert!(Access::default().admits(&HeaderMap::new()).unwrap());
    }

    #[test]
    fn a_proxy_that_is_trusted_says_who_asks() {
        let proxy: IpAddr = "10.0.0.9".parse().unwrap();
        let access = Access::new(None, 0, vec![proxy]).unwrap();
        let client = |peer: &str, forwarded: &str| {
            let request = TestRequest::default()
                .peer_addr(format!("{peer}:1").parse().unwrap())
                .insert_header(("x-forwarded-for", forwarded));
            access.client(&request.to_http_request()).to_string()
        };
        assert_eq!(client("10.0.0.9", "6.6.6.6, 192.0.2.7"), "192.0.2.7");
        assert_eq!(client("10.0.0.9", "192.0.2.7, 10.0.0.9"), "192.0.2.7");
        assert_eq!(client("10.0.0.9", "nonsense"), "10.0.0.9");
        assert_eq!(client("10.0.0.8", "192.0.2.7"), "10.0.0.8", "nobody else is believed");
    }

    #[test]
    fn each_client_has_a_rate_of_its_own() {
        let access = Access::new(None, 2, Vec::new()).unwrap();
        let [a, b]: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        let taken = (0..10).filter(|_| access.count(a).is_ok()).count();
        assert_eq!(taken, 4, "twice the rate at once");
        assert!(access.count(b).is_ok());
    }
}

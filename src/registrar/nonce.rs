//! Nonces: made without keeping any, remembered only once used, so that a count is never accepted twice (RFC 7616 §3.3, §5.4).
//! Each is good only from the IP address it was sent to: whoever forges a source cannot read what is sent there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::base::{Instant, Rng, limits};

/// How long a nonce may be used after it was issued.
const LIFETIME: Duration = Duration::from_secs(300);
/// Of the MAC: 128 bits cannot be guessed.
const MAC_BYTES: usize = 16;

/// When a nonce was issued (node clock, ms), and what tells it from others of that millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Issue {
    at_ms: u64,
    random: u64,
}

/// The issuer of one realm. Another secret or another realm makes other nonces.
pub(super) struct Nonces {
    mac: Hmac<Sha256>,
    /// The highest count used with each nonce.
    counts: BTreeMap<Issue, u32>,
    /// Nonces up to this one may have been used and forgotten: only those in `counts` are still good.
    forgotten: Option<Issue>,
    limit: usize,
}

impl Nonces {
    pub fn new(secret: &[u8; 64], realm: &str) -> Self {
        Self::with_limit(secret, realm, limits::NONCES)
    }

    fn with_limit(secret: &[u8; 64], realm: &str, limit: usize) -> Self {
        let mut mac = Hmac::<Sha256>::new(&(*secret).into());
        mac.update(realm.as_bytes());
        Self { mac, counts: BTreeMap::new(), forgotten: None, limit }
    }

    pub fn issue(&self, now: Instant, rng: &mut Rng, source: IpAddr) -> String {
        let issue = Issue { at_ms: now.as_millis(), random: rng.u64() };
        let mut whole = [0; 16 + MAC_BYTES];
        let bytes = issue.bytes().into_iter().chain(self.mac_of(issue, source));
        whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        URL_SAFE_NO_PAD.encode(whole)
    }

    /// `None` when the nonce is not one of ours, or was not sent to `source`.
    pub fn read(&self, nonce: &[u8], source: IpAddr) -> Option<Issue> {
        let mut whole = [0; 16 + MAC_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(nonce, &mut whole).ok()?;
        let (issue, mac) = whole.get(..length)?.split_at_checked(16)?;
        let (at_ms, random) = issue.split_at_checked(8)?;
        let issue = Issue {
            at_ms: u64::from_be_bytes(at_ms.try_into().ok()?),
            random: u64::from_be_bytes(random.try_into().ok()?),
        };
        bool::from(self.mac_of(issue, source).ct_eq(mac)).then_some(issue)
    }

    /// Uses a nonce with this `nc`, or without one (RFC 2069) for its only time. False: too old, or used before.
    pub fn spend(&mut self, now: Instant, issue: Issue, count: Option<u32>) -> bool {
        self.forget_expired(now);
        if self.is_expired(now, issue) {
            return false;
        }
        let count = count.unwrap_or(u32::MAX);
        let known = self.counts.get(&issue).copied();
        let last = match known {
            Some(last) => last,
            None if self.forgotten.is_some_and(|forgotten| issue <= forgotten) => return false,
            None => 0,
        };
        if count <= last {
            return false;
        }
        self.counts.insert(issue, count);
        if self.counts.len() > self.limit {
            self.forgotten = self.counts.pop_first().map(|(oldest, _)| oldest).max(self.forgotten);
        }
        true
    }

    fn forget_expired(&mut self, now: Instant) {
        while let Some((&oldest, _)) = self.counts.first_key_value() {
            if !self.is_expired(now, oldest) {
                break;
            }
            self.counts.pop_first();
        }
    }

    fn is_expired(&self, now: Instant, issue: Issue) -> bool {
        now.since(Instant::from_millis(issue.at_ms)) > LIFETIME
    }

    fn mac_of(&self, issue: Issue, source: IpAddr) -> [u8; MAC_BYTES] {
        let mut mac = self.mac.clone();
        mac.update(&issue.bytes());
        // No port, which a NAT may change; a dual-stack socket shows IPv4 peers as ::ffff:a.b.c.d.
        mac.update(&match source.to_canonical() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        });
        let mut short = [0; MAC_BYTES];
        short.iter_mut().zip(mac.finalize().into_bytes()).for_each(|(to, from)| *to = from);
        short
    }
}

impl Issue {
    fn bytes(self) -> [u8; 16] {
        ((u128::from(self.at_ms) << 64) | u128::from(self.random)).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));
    const START: Instant = Instant::from_millis(1_700_000_000_000);

    fn nonces(limit: usize) -> (Nonces, Rng) {
        (Nonces::with_limit(&[7; 64], "example.com", limit), Rng::from_u64(1))
    }

    fn fresh(nonces: &Nonces, now: Instant, rng: &mut Rng) -> Issue {
        nonces.read(nonces.issue(now, rng, HOME).as_bytes(), HOME).unwrap()
    }

    #[test]
    fn a_nonce_is_ours_only_under_its_realm_and_secret() {
        let (ours, mut rng) = nonces(9);
        let nonce = ours.issue(START, &mut rng, HOME);
        assert!(ours.read(nonce.as_bytes(), HOME).is_some());
        assert_ne!(nonce, ours.issue(START, &mut rng, HOME));
        assert!(Nonces::new(&[7; 64], "example.org").read(nonce.as_bytes(), HOME).is_none());
        assert!(Nonces::new(&[8; 64], "example.com").read(nonce.as_bytes(), HOME).is_none());
        for bad in ["", "x", "=", &nonce[1..], &format!("{nonce}A"), &"A".repeat(43), &"A".repeat(5000)] {
            assert!(ours.read(bad.as_bytes(), HOME).is_none(), "{bad}");
        }
        let mut bent = nonce.into_bytes();
        bent[3] ^= 1;
        assert!(ours.read(&bent, HOME).is_none());
    }

    #[test]
    fn a_nonce_is_good_only_where_it_was_sent() {
        let (ours, mut rng) = nonces(9);
        let nonce = ours.issue(START, &mut rng, HOME);
        for (source, is_good) in
            [("198.51.100.7", true), ("::ffff:198.51.100.7", true), ("198.51.100.8", false), ("::7", false)]
        {
            assert_eq!(ours.read(nonce.as_bytes(), source.parse().unwrap()).is_some(), is_good, "{source}");
        }
    }

    #[test]
    fn counts_only_rise() {
        let (mut ours, mut rng) = nonces(9);
        let issue = fresh(&ours, START, &mut rng);
        let spent: Vec<bool> = [0, 1, 1, 3, 2, 4].into_iter().map(|nc| ours.spend(START, issue, Some(nc))).collect();
        assert_eq!(spent, [false, true, false, true, false, true]);
        let legacy = fresh(&ours, START, &mut rng);
        assert!(ours.spend(START, legacy, None));
        assert!(!ours.spend(START, legacy, None));
        assert!(!ours.spend(START, legacy, Some(u32::MAX)));
    }

    #[test]
    fn old_nonces_end_and_are_forgotten() {
        let (mut ours, mut rng) = nonces(9);
        let issue = fresh(&ours, START, &mut rng);
        assert!(ours.spend(START + LIFETIME, issue, Some(1)));
        let late = START + LIFETIME + Duration::from_millis(1);
        assert!(!ours.spend(late, issue, Some(2)));
        assert!(ours.counts.is_empty());
    }

    #[test]
    fn at_the_limit_the_oldest_gives_way_and_is_never_good_again() {
        let (mut ours, mut rng) = nonces(2);
        let later = |ms: u64| START + Duration::from_millis(ms);
        let issues: Vec<Issue> = (0..4).map(|ms| fresh(&ours, later(ms), &mut rng)).collect();
        assert!(issues.iter().skip(1).all(|issue| ours.spend(later(9), *issue, Some(1))));
        assert_eq!(ours.counts.len(), 2);
        let again: Vec<bool> = issues.iter().map(|issue| ours.spend(later(9), *issue, Some(2))).collect();
        assert_eq!(again, [false, false, true, true]);
    }
}

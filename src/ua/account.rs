//! Credentials toward trunks: for which realm, with which nonce, and who may see them (RFC 3261 §22, RFC 7616, RFC 8760;
//! CONFORMANCE AU-3).
//!
//! Every trunk is an account, one without a password too: what is known to be another trunk's place never gets an answer.

use std::borrow::Cow;
use std::net::SocketAddr;

use compact_str::CompactString;
use slotmap::SlotMap;

use crate::base::{Rng, limits};
use crate::config::{Config, Hidden, TrunkIdx};
use crate::sip::digest::{self, Algorithm, Challenge, Credentials, Hex, Qop};
use crate::sip::{Lines, Message, Name, unfold};

slotmap::new_key_type! {
    /// The account at one trunk; the same across reloads that keep the name of the trunk.
    pub struct AccountId;
}

/// The accounts of all trunks.
#[derive(Default)]
pub struct Accounts {
    accounts: SlotMap<AccountId, Account>,
    by_trunk: Vec<AccountId>,
}

struct Account {
    trunk: CompactString,
    secret: Option<(CompactString, Hidden)>,
    /// Where the targets of the trunk are.
    places: Vec<SocketAddr>,
    /// The newest challenge of each realm, oldest first.
    challenges: Vec<Known>,
}

/// A challenge that can be answered again without being asked (RFC 7616 §3.3: until it is stale).
struct Known {
    /// Proxy-Authenticate and Proxy-Authorization, else WWW-Authenticate and Authorization.
    is_proxy: bool,
    realm: Box<[u8]>,
    nonce: Box<[u8]>,
    opaque: Option<Box<[u8]>>,
    algorithm: Algorithm,
    qop: bool,
    ha1: Hex,
    /// How often the nonce was used.
    uses: u32,
}

/// What a challenge brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learnt {
    /// The nonce of our answer was too old, or the realm is one we had not answered: another answer may do.
    pub is_news: bool,
}

impl Accounts {
    /// Takes the trunks of a configuration. What is known of a trunk stays while its name and credentials do.
    pub fn reload(&mut self, config: &Config) {
        let old = std::mem::take(&mut self.by_trunk);
        for trunk in &config.trunks {
            let secret = trunk.username.clone().zip(trunk.password.clone());
            let same = |id: &&AccountId| self.accounts.get(**id).is_some_and(|known| known.trunk == trunk.name);
            let kept = old.iter().find(same).copied();
            let id = kept.unwrap_or_else(|| self.accounts.insert(Account::new(trunk.name.clone())));
            if let Some(account) = self.accounts.get_mut(id)
                && account.secret != secret
            {
                account.secret = secret;
                account.challenges.clear();
            }
            self.by_trunk.push(id);
        }
        for gone in old.iter().filter(|id| !self.by_trunk.contains(id)) {
            self.accounts.remove(*gone);
        }
    }

    /// The account at a trunk; `None` when there is nothing to answer a challenge with.
    pub fn of_trunk(&self, trunk: TrunkIdx) -> Option<AccountId> {
        let id = *self.by_trunk.get(usize::try_from(trunk.0).ok()?)?;
        self.accounts.get(id).filter(|account| account.secret.is_some()).map(|_| id)
    }

    /// Tells where the targets of a trunk are now.
    pub fn set_places(&mut self, trunk: TrunkIdx, places: impl Iterator<Item = SocketAddr>) {
        let id = usize::try_from(trunk.0).ok().and_then(|at| self.by_trunk.get(at));
        if let Some(account) = id.and_then(|id| self.accounts.get_mut(*id)) {
            account.places.clear();
            account.places.extend(places);
        }
    }

    /// Credentials for every realm of the account that has challenged before, for a request to `remote`.
    pub fn credentials(&mut self, id: AccountId, rng: &mut Rng, remote: SocketAddr, method: &str, uri: &[u8]) -> Lines {
        let mut lines = Lines::default();
        if !self.may_see(id, remote) {
            return lines;
        }
        let Some(account) = self.accounts.get_mut(id) else { return lines };
        let Some((username, _)) = &account.secret else { return lines };
        for known in &mut account.challenges {
            let name: &[u8] = if known.is_proxy { b"Proxy-Authorization" } else { b"Authorization" };
            lines.push(name, known.answer(rng, username, method.as_bytes(), uri).as_bytes());
        }
        lines
    }

    /// Takes the challenges of a 401 or 407 from `remote`; `None` when none of them may or can be answered. At the targets of
    /// the trunk any realm is answered, elsewhere only one that was met there, and at another trunk's none.
    pub fn challenged(&mut self, id: AccountId, remote: SocketAddr, response: &Message) -> Option<Learnt> {
        if !self.may_see(id, remote) {
            return None;
        }
        let account = self.accounts.get_mut(id)?;
        let is_home = account.places.contains(&remote);
        // A forking proxy passes on what several have asked for: both kinds, in a 401 and in a 407 (RFC 3261 §16.7).
        let kind = |name| match name {
            Name::WwwAuthenticate => Some(false),
            Name::ProxyAuthenticate => Some(true),
            _ => None,
        };
        let values: Vec<(bool, Cow<'_, [u8]>)> =
            response.headers().filter_map(|header| Some((kind(header.name)?, unfold(header.value)))).collect();
        let mut offers: Vec<(Algorithm, bool, Challenge<'_>)> = values
            .iter()
            .filter_map(|(is_proxy, value)| Some((*is_proxy, Challenge::parse(value).ok()?)))
            .filter_map(|(is_proxy, challenge)| Some((challenge.algorithm?, is_proxy, challenge)))
            .filter(|(_, is_proxy, challenge)| is_home || account.knows(&challenge.realm, *is_proxy))
            .filter(|(_, _, challenge)| challenge.kept_bytes() <= limits::KEPT_VALUE_BYTES)
            .collect();
        // RFC 8760 §2.4: the strongest of a realm that we know.
        offers.sort_by_key(|(algorithm, ..)| std::cmp::Reverse(*algorithm));
        let mut learnt = None;
        let mut realms: Vec<(bool, Box<[u8]>)> = Vec::new();
        for (algorithm, is_proxy, challenge) in offers {
            if realms.iter().any(|(of, realm)| *of == is_proxy && **realm == *challenge.realm) {
                continue;
            }
            realms.push((is_proxy, challenge.realm.as_ref().into()));
            let is_news = challenge.stale || !account.knows(&challenge.realm, is_proxy);
            account.learn(is_proxy, algorithm, &challenge)?;
            let before = learnt.is_some_and(|learnt: Learnt| learnt.is_news);
            learnt = Some(Learnt { is_news: is_news || before });
        }
        learnt
    }

    /// Takes the nonce for the next request from a success (RFC 7616 §3.5).
    pub fn succeeded(&mut self, id: AccountId, response: &Message) {
        let Some(value) = response.header(Name::AuthenticationInfo) else { return };
        let Some(next) = digest::next_nonce(value).filter(|next| next.len() <= limits::KEPT_VALUE_BYTES) else {
            return;
        };
        let Some(account) = self.accounts.get_mut(id) else { return };
        if let Some(known) = account.challenges.iter_mut().rev().find(|known| !known.is_proxy) {
            known.nonce = next.as_ref().into();
            known.uses = 0;
        }
    }

    /// False where another trunk is known to be.
    pub fn may_see(&self, id: AccountId, remote: SocketAddr) -> bool {
        let own = self.accounts.get(id).is_some_and(|account| account.places.contains(&remote));
        own || !self.accounts.values().any(|account| account.places.contains(&remote))
    }
}

impl Account {
    fn new(trunk: CompactString) -> Self {
        Self { trunk, secret: None, places: Vec::new(), challenges: Vec::new() }
    }

    fn knows(&self, realm: &[u8], is_proxy: bool) -> bool {
        self.challenges.iter().any(|known| *known.realm == *realm && known.is_proxy == is_proxy)
    }

    /// The challenge takes the place of the last one of its realm.
    fn learn(&mut self, is_proxy: bool, algorithm: Algorithm, challenge: &Challenge<'_>) -> Option<()> {
        let (username, password) = self.secret.as_ref()?;
        let ha1 = digest::ha1(algorithm, username.as_bytes(), &challenge.realm, password.0.as_bytes());
        self.challenges.retain(|known| *known.realm != *challenge.realm || known.is_proxy != is_proxy);
        if self.challenges.len() >= limits::REALMS_PER_TRUNK {
            self.challenges.remove(0);
        }
        self.challenges.push(Known {
            is_proxy,
            realm: challenge.realm.as_ref().into(),
            nonce: challenge.nonce.as_ref().into(),
            opaque: challenge.opaque.as_deref().map(Into::into),
            algorithm,
            qop: challenge.qop,
            ha1,
            uses: 0,
        });
        Some(())
    }
}

impl Known {
    /// The value of an Authorization header, with the next count of the nonce (RFC 7616 §3.4).
    fn answer(&mut self, rng: &mut Rng, username: &str, method: &[u8], uri: &[u8]) -> String {
        self.uses = self.uses.saturating_add(1);
        let qop = self.qop.then(|| Qop {
            nc: Cow::Owned(format!("{:08x}", self.uses).into_bytes()),
            cnonce: Cow::Owned(format!("{:016x}", rng.u64()).into_bytes()),
        });
        let response = digest::response(self.algorithm, &self.ha1, &self.nonce, qop.as_ref(), method, uri);
        let credentials = Credentials {
            username: Cow::Borrowed(username.as_bytes()),
            realm: Cow::Borrowed(&self.realm),
            nonce: Cow::Borrowed(&self.nonce),
            uri: Cow::Borrowed(uri),
            response: Cow::Borrowed(response.as_bytes()),
            algorithm: Some(self.algorithm),
            opaque: self.opaque.as_deref().map(Cow::Borrowed),
            qop,
        };
        credentials.to_string()
    }
}

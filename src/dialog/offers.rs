//! Offer and answer of one dialog (RFC 3264 §4, RFC 6337 §2): one exchange at a time, and the descriptions it came to.
//! Only what travels reliably counts; a description in an unreliable 18x is a preview and never comes here.

use bytes::Bytes;

/// Where the exchange stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exchange {
    /// No offer is open.
    #[default]
    Stable,
    /// Ours waits for its answer.
    OfferSent,
    /// Theirs waits for our answer.
    OfferReceived,
}

/// The exchange, and what each side said last that holds.
#[derive(Clone, Debug, Default)]
pub struct Offers {
    exchange: Exchange,
    open: Bytes,
    ours: Bytes,
    theirs: Bytes,
}

impl Offers {
    /// An offer of ours that waits for its answer.
    pub fn open(offer: Bytes) -> Self {
        Self { exchange: Exchange::OfferSent, open: offer, ..Self::default() }
    }

    pub fn exchange(&self) -> Exchange {
        self.exchange
    }

    /// The description of ours that holds; empty before the first exchange is complete.
    pub fn ours(&self) -> &Bytes {
        &self.ours
    }

    /// The peer's.
    pub fn theirs(&self) -> &Bytes {
        &self.theirs
    }

    /// The offer that waits for its answer; empty without one.
    pub fn pending(&self) -> &Bytes {
        &self.open
    }

    /// A description of ours goes out: an offer, or the answer to theirs.
    pub fn sent(&mut self, description: &Bytes) {
        match self.exchange {
            Exchange::Stable => {
                (self.exchange, self.open) = (Exchange::OfferSent, description.clone());
            }
            Exchange::OfferReceived => {
                self.theirs = std::mem::take(&mut self.open);
                (self.exchange, self.ours) = (Exchange::Stable, description.clone());
            }
            Exchange::OfferSent => {}
        }
    }

    /// A description of the peer came: an offer, or the answer to ours.
    pub fn received(&mut self, description: Bytes) {
        match self.exchange {
            Exchange::Stable => (self.exchange, self.open) = (Exchange::OfferReceived, description),
            Exchange::OfferSent => {
                self.ours = std::mem::take(&mut self.open);
                (self.exchange, self.theirs) = (Exchange::Stable, description);
            }
            Exchange::OfferReceived => {}
        }
    }

    /// The open offer was refused, or taken back: what held before holds (RFC 3261 §14.1, RFC 3311 §5.3).
    pub fn abandoned(&mut self) {
        self.exchange = Exchange::Stable;
        self.open = Bytes::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Bytes = Bytes::from_static(b"a");
    const B: Bytes = Bytes::from_static(b"b");
    const C: Bytes = Bytes::from_static(b"c");

    fn state(offers: &Offers) -> (Exchange, &[u8], &[u8]) {
        (offers.exchange(), offers.ours(), offers.theirs())
    }

    #[test]
    fn every_state_and_event() {
        let mut offers = Offers::default();
        offers.sent(&A);
        assert_eq!(state(&offers), (Exchange::OfferSent, &b""[..], &b""[..]));
        offers.sent(&C);
        offers.received(B);
        assert_eq!(state(&offers), (Exchange::Stable, &b"a"[..], &b"b"[..]));
        offers.received(C);
        offers.received(A);
        assert_eq!(state(&offers), (Exchange::OfferReceived, &b"a"[..], &b"b"[..]));
        offers.abandoned();
        assert_eq!(state(&offers), (Exchange::Stable, &b"a"[..], &b"b"[..]));
        offers.received(C);
        offers.sent(&B);
        assert_eq!(state(&offers), (Exchange::Stable, &b"b"[..], &b"c"[..]));
    }
}

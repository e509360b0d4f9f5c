//! The answer of a phone to a digest challenge, for the phones that this program plays itself (RFC 7616 §3.4, RFC 8760 §2.4).

use crate::sip::digest::{self, Algorithm, Challenge, Credentials, Hex, Qop};
use crate::sip::{Message, Name};

/// An `Authorization` value for the strongest challenge in a 401 that `ha1` has something for; `None` when there is none.
pub fn answer(
    challenge: &Message,
    username: &str,
    cnonce: &str,
    (method, uri): (&str, &str),
    ha1: impl Fn(Algorithm, &[u8]) -> Option<Hex>,
) -> Option<(String, Algorithm)> {
    let lines = || challenge.headers().filter(|header| header.name == Name::WwwAuthenticate);
    let offers = || lines().filter_map(|header| Challenge::parse(header.value).ok());
    let offer = |wanted| {
        let offer = offers().find(|offer| offer.algorithm == Some(wanted) && offer.qop)?;
        let ha1 = ha1(wanted, &offer.realm)?;
        Some((offer, wanted, ha1))
    };
    let (offer, algorithm, ha1) = offer(Algorithm::Sha256).or_else(|| offer(Algorithm::Md5))?;
    let qop = Qop { nc: b"00000001".into(), cnonce: cnonce.as_bytes().into() };
    let response = digest::response(algorithm, &ha1, &offer.nonce, Some(&qop), method.as_bytes(), uri.as_bytes());
    let credentials = Credentials {
        username: username.as_bytes().into(),
        realm: offer.realm,
        nonce: offer.nonce,
        uri: uri.as_bytes().into(),
        response: response.as_bytes().into(),
        algorithm: Some(algorithm),
        opaque: offer.opaque,
        qop: Some(qop),
    };
    Some((credentials.to_string(), algorithm))
}

//! What only phones do: register, answer challenges, keep the registration alive.

use sosbridge::base::Instant;

use crate::chance::{between, percent, secs};
use crate::party::{Effect, Moment, Party, Tick, with_body};
use crate::text::{Msg, Nonce};

/// Who a phone is, and what it knows of its registration.
pub struct Registration {
    pub user: usize,
    pub name: &'static str,
    pub display: &'static str,
    pub password: &'static str,
    instance: Option<String>,
    prefers_sha256: bool,
    pub nonce: Option<Nonce>,
    call_id: String,
    cseq: u32,
    tries: u32,
    pub serial: u32,
    /// The daemon said 200 to this very address (or connection) at that time.
    pub confirmed_at: Option<Instant>,
    pub expires_at: Instant,
}

pub const DOMAIN: &str = "example.com";

impl Registration {
    pub fn new(
        user: usize,
        who: (&'static str, &'static str, &'static str),
        sha256: bool,
        instance: Option<String>,
    ) -> Self {
        let (name, display, password) = who;
        Self {
            user,
            name,
            display,
            password,
            instance,
            prefers_sha256: sha256,
            nonce: None,
            call_id: String::new(),
            cseq: 0,
            tries: 0,
            serial: 0,
            confirmed_at: None,
            expires_at: Instant::default(),
        }
    }

    pub fn instance(&self) -> String {
        self.instance.as_ref().map(|id| format!(";+sip.instance=\"<urn:uuid:{id}>\"")).unwrap_or_default()
    }

    /// The header that answers the last challenge.
    pub fn authorization(&mut self, method: &str, uri: &str) -> String {
        let (name, password) = (self.name, self.password);
        let answer = self.nonce.as_mut().map(|nonce| nonce.answer(name, password, method, uri));
        answer.map(|answer| format!("Authorization: {answer}\r\n")).unwrap_or_default()
    }

    /// Takes a challenge; `tries` counts those of one request, which is given up after a few.
    pub fn take_challenge(&mut self, refusal: &Msg, tries: &mut u32) -> bool {
        self.nonce = Nonce::of(refusal, self.prefers_sha256);
        *tries += 1;
        self.nonce.is_some() && *tries < 4
    }
}

impl Party {
    /// Registers anew, now.
    pub fn register(&mut self, moment: &mut Moment<'_>) {
        if let Some(phone) = &mut self.phone {
            phone.tries = 0;
            phone.serial += 1;
        }
        self.send_register(moment);
    }

    pub fn refresh(&mut self, moment: &mut Moment<'_>, serial: u32) {
        if self.phone.as_ref().is_some_and(|phone| phone.serial == serial) && !moment.closing {
            self.register(moment);
        }
    }

    fn send_register(&mut self, moment: &mut Moment<'_>) {
        let path = self.path();
        let (branch, tag) = (self.token("branch"), self.token("tag"));
        let via = self.via(path, &format!("z9hG4bK{branch}"));
        let fresh = self.token("call");
        let address = self.address;
        let Some(phone) = &mut self.phone else { return };
        if phone.call_id.is_empty() {
            phone.call_id = fresh;
        }
        phone.cseq += 1;
        let uri = format!("sip:{DOMAIN}");
        let authorization = phone.authorization("REGISTER", &uri);
        let (name, display, call_id, cseq) = (phone.name, phone.display, phone.call_id.clone(), phone.cseq);
        let expires = if percent(moment.rng, 80) { 3600 } else { 600 };
        let contact = self.contact(name);
        let text = format!(
            "REGISTER {uri} SIP/2.0\r\n{via}Max-Forwards: 70\r\nFrom: \"{display}\" <sip:{name}@{DOMAIN}>;tag={tag}\r\n\
             To: <sip:{name}@{DOMAIN}>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\n{contact}Expires: {expires}\r\n\
             User-Agent: SecretPhone {address}\r\n{authorization}{}",
            with_body("")
        );
        self.request(moment, path, &format!("z9hG4bK{branch}"), &call_id, text);
    }

    pub fn register_answered(&mut self, moment: &mut Moment<'_>, response: &Msg) {
        let contact = self.contact("");
        let mine = contact.split_once('@').and_then(|(_, rest)| rest.split('>').next()).unwrap_or_default().to_owned();
        let Some(phone) = &mut self.phone else { return };
        match response.code() {
            200 => {
                let ours = response.all("Contact").find(|contact| contact.contains(&mine));
                let expires = ours.and_then(|contact| contact.rsplit_once("expires=")?.1.parse().ok()).unwrap_or(0);
                if expires == 0 {
                    // The answer to a registration from another place.
                    return self.register_failed(moment);
                }
                phone.confirmed_at = Some(moment.now);
                phone.expires_at = moment.now + secs(expires);
                let serial = phone.serial;
                moment.effects.push(Effect::Registered { expires: secs(expires) });
                moment.later(secs(expires / 2), Tick::Register { serial });
            }
            401 => {
                let mut tries = phone.tries;
                let taken = phone.take_challenge(response, &mut tries);
                phone.tries = tries;
                if taken { self.send_register(moment) } else { self.register_failed(moment) }
            }
            _ => self.register_failed(moment),
        }
    }

    pub fn register_failed(&mut self, moment: &mut Moment<'_>) {
        let Some(phone) = &self.phone else { return };
        let serial = phone.serial;
        let wait = between(moment.rng, 2000, 9000);
        moment.later(wait, Tick::Register { serial });
    }
}

//! The story: who plays, and the steps that need no restart of the daemon. What each step shows, it also checks.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::audio::Voice;
use super::daemon::Daemon;
use super::emergency;
use super::ladder::{Ladder, Lane};
use super::paint::Paint;
use super::party::Party;
use super::script::{Dialog, authorization, header, text};
use super::stop::Stop;
use super::wrong::{Failure, Wrong};
use crate::base::E164;
use crate::sip::{Message, Method, Name};

/// Alice, as configured.
pub const AOR: &str = "sip:alice@example.com";
pub const OWN_NUMBER: &str = "+14255550123";
pub const PASSWORD: &str = "wonderland";
/// The number the PSAP calls from: not the one that was dialled, as in life.
pub const PSAP_NUMBER: &str = "+12065550142";

/// How long things last that people should notice.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub talk: Duration,
    pub talk_again: Duration,
    pub test_line: Duration,
    pub tick: Duration,
}

impl Times {
    pub const CALM: Self = Self {
        talk: Duration::from_secs(2),
        talk_again: Duration::from_secs(1),
        test_line: Duration::from_secs(1),
        tick: Duration::from_millis(700),
    };
    pub const FAST: Self = Self {
        talk: Duration::from_millis(200),
        talk_again: Duration::from_millis(100),
        test_line: Duration::from_millis(50),
        tick: Duration::from_millis(50),
    };
}

/// Everybody but the daemon, and what they remember.
pub struct Cast {
    pub ladder: Ladder,
    pub times: Times,
    pub stop: Stop,
    pub phone: Party,
    pub center: Party,
    pub outsider: Party,
    pub phone_voice: Voice,
    pub center_voice: Voice,
    pub server: SocketAddr,
    /// The temporary number, once it was heard.
    pub number: Option<E164>,
    /// The phone's side of the emergency call.
    pub call: Option<Dialog>,
}

impl Cast {
    pub fn new(server: SocketAddr, ladder: Ladder, times: Times, stop: Stop) -> Result<Self, Wrong> {
        let bind = |name, user, lane| {
            let bound = Party::bind(name, user, lane, server, stop.clone());
            bound.map_err(|error| Wrong::system("a free UDP port on loopback", &error))
        };
        let voice = |user| Voice::bind(user).map_err(|error| Wrong::system("a free UDP port on loopback", &error));
        Ok(Self {
            ladder,
            times,
            phone: bind("the phone", "alice", Lane::Phone)?,
            center: bind("the call center", "psap", Lane::Center)?,
            outsider: bind("the outsider", "mallory", Lane::Center)?,
            phone_voice: voice("alice")?,
            center_voice: voice("psap")?,
            server,
            number: None,
            call: None,
            stop,
        })
    }

    /// The temporary number; wrong before the test line has told it.
    pub fn number(&self) -> Result<E164, Wrong> {
        self.number.ok_or_else(|| Wrong::new("the temporary number", "no number was heard yet"))
    }

    /// The configuration of the daemon that this cast plays with.
    pub fn configuration(&self) -> String {
        let countries = r#""US", "PR", "CA", "GB", "DK""#;
        let (center, own, password) = (self.center.address, OWN_NUMBER, PASSWORD);
        format!(
            "[sip]\ndomains = [\"example.com\"]\n[registrar]\nrealm = \"example.com\"\n\
             [[resources]]\nname = \"contoso\"\nnumbers = [{{ number = \"+14255550100\", make_calls = true }}]\n\
             [[users]]\naor = \"{AOR}\"\npassword = \"{password}\"\nresource = \"contoso\"\nnumber = \"{own}\"\n\
             inbound = false\ncountry = \"US\"\n\
             [[pools]]\ncountries = [{countries}]\nnumbers = [\"+14255551000-+14255551099\"]\n\
             [[trunks]]\nname = \"call-center\"\ntargets = [{{ uri = \"sip:{center}\" }}]\naccept_from = [\"{center}\"]\n\
             options_interval = \"0s\"\n\
             [[routes]]\ncountries = [{countries}]\ntrunks = [\"call-center\"]\n\
             [[routes]]\ncountries = [\"US\"]\nnumbers = [\"933\"]\nservice = \"test-line\"\n\
             [media]\nmode = \"pass\"\n"
        )
    }
}

/// One step: what it is called, who stands on the right, and what happens. It returns what it has shown.
pub struct Step {
    pub title: &'static str,
    right: &'static str,
    act: fn(&mut Cast, &mut Daemon) -> Result<String, Wrong>,
}

pub const STEPS: [Step; 7] = [
    Step { title: "Alice's phone registers", right: "call center", act: register },
    Step { title: "An ordinary call to Alice's own number", right: "call center", act: ordinary_call },
    Step { title: "Alice dials 933 to test", right: "call center", act: test_line },
    Step { title: "Alice dials 911", right: "call center", act: emergency::dial },
    Step { title: "The call is cut off", right: "call center", act: emergency::cut_off },
    Step { title: "The PSAP calls back the number it saw", right: "call center", act: emergency::call_back },
    Step { title: "An outsider dials that number", right: "outsider", act: outsider },
];

/// Plays the steps in order, up to the first that fails; what each has shown, and how long it took.
pub fn play(cast: &mut Cast, daemon: &mut Daemon, steps: &[Step]) -> Result<Vec<(String, Duration)>, Failure> {
    let mut shown = Vec::new();
    for (number, step) in (1..).zip(steps) {
        let began = cast.ladder.elapsed();
        cast.ladder.heading(number, step.title, step.right);
        match (step.act)(cast, daemon) {
            Ok(text) => {
                cast.ladder.proven(&text);
                shown.push((text, cast.ladder.elapsed().saturating_sub(began)));
            }
            Err(wrong) => {
                cast.ladder.catch_up();
                return Err(Failure::new(format!("step {number} failed: {}", step.title), wrong));
            }
        }
    }
    Ok(shown)
}

fn register(cast: &mut Cast, _daemon: &mut Daemon) -> Result<String, Wrong> {
    let Cast { ladder, phone, .. } = cast;
    let aor = format!("<{AOR}>");
    let domain = "sip:example.com";
    let mut dialog = Dialog::new(phone, domain, &aor, &aor);
    phone.send(ladder, &dialog.request(phone, "REGISTER", "Expires: 3600\r\n", None))?;
    let challenge = phone.response(ladder, 401, Method::Register)?;
    let (credentials, algorithm) = authorization(&challenge, "alice", PASSWORD, "REGISTER", domain)?;
    let extra = format!("{credentials}Expires: 3600\r\n");
    phone.send(ladder, &dialog.request(phone, "REGISTER", &extra, None))?;
    ladder.detail(Lane::Phone, Paint::Faint, &format!("Authorization: Digest, {}", algorithm.as_str()));
    let accepted = phone.response(ladder, 200, Method::Register)?;
    let contact = header(&accepted, Name::Contact);
    if !contact.contains(&phone.address.to_string()) {
        return Err(Wrong::message(format!("a Contact with {}", phone.address), &accepted));
    }
    ladder.detail(Lane::Phone, Paint::Faint, &contact);
    Ok(format!("registered, the password proven by digest with {}", algorithm.as_str()))
}

fn ordinary_call(cast: &mut Cast, _daemon: &mut Daemon) -> Result<String, Wrong> {
    let Cast { ladder, phone, center, server, center_voice, .. } = cast;
    let mut dialog = dialog_from_outside(center, PSAP_NUMBER, OWN_NUMBER, *server);
    let invite = dialog.request(center, "INVITE", "", Some(&center_voice.sdp()));
    refused(center, ladder, &mut dialog, &invite)?;
    phone.hears_nothing(ladder)?;
    Ok("refused, and her phone stays silent: her inbound calling is off".to_owned())
}

fn test_line(cast: &mut Cast, _daemon: &mut Daemon) -> Result<String, Wrong> {
    let Cast { ladder, phone, server, phone_voice, times, stop, .. } = cast;
    let mut dialog =
        Dialog::new(phone, &format!("sip:933@{server}"), &format!("<{AOR}>"), &format!("<sip:933@{server}>"));
    phone.send(ladder, &dialog.request(phone, "INVITE", "", Some(&phone_voice.sdp())))?;
    let answer = phone.response(ladder, 200, Method::Invite)?;
    let told = answer.header_named("X-Emergency-Number").map(text).unwrap_or_default();
    let number: E164 =
        told.parse().map_err(|_| Wrong::message("a 200 with the number in X-Emergency-Number", &answer))?;
    if told == OWN_NUMBER {
        return Err(Wrong::message("a temporary number, not Alice's own", &answer));
    }
    ladder.detail(Lane::Phone, Paint::Strong, &format!("X-Emergency-Number: {number}"));
    dialog.answered(&answer);
    phone.send(ladder, &dialog.request(phone, "ACK", "", None))?;
    ladder.catch_up();
    stop.sleep(times.test_line);
    phone.send(ladder, &dialog.request(phone, "BYE", "", None))?;
    phone.response(ladder, 200, Method::Bye)?;
    cast.number = Some(number);
    Ok(format!("the path works; her temporary number is {number}"))
}

fn outsider(cast: &mut Cast, _daemon: &mut Daemon) -> Result<String, Wrong> {
    let number = cast.number()?;
    let Cast { ladder, phone, outsider, server, center_voice, .. } = cast;
    // It even claims to be the PSAP.
    let mut dialog = dialog_from_outside(outsider, PSAP_NUMBER, &number.to_string(), *server);
    let extra = "Priority: psap-callback\r\n";
    let invite = dialog.request(outsider, "INVITE", extra, Some(&center_voice.sdp()));
    refused(outsider, ladder, &mut dialog, &invite)?;
    phone.hears_nothing(ladder)?;
    Ok("refused, and her phone stays silent: only the trunk may call back".to_owned())
}

/// A call from `party` under `caller` to a number at the daemon.
pub fn dialog_from_outside(party: &Party, caller: &str, number: &str, server: SocketAddr) -> Dialog {
    let (target, host) = (format!("sip:{number}@{server}"), party.address);
    Dialog::new(party, &target, &format!("<sip:{caller}@{host}>"), &format!("<{target}>"))
}

/// Sends the INVITE, which must be refused with 403.
fn refused(party: &mut Party, ladder: &mut Ladder, dialog: &mut Dialog, invite: &Bytes) -> Result<Message, Wrong> {
    party.send(ladder, invite)?;
    let refusal = party.response(ladder, 403, Method::Invite)?;
    party.send(ladder, &dialog.ack_refusal(party, invite, &refusal))?;
    Ok(refusal)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::UdpSocket;
    use std::thread;

    use super::*;
    use crate::shell::demo::ladder::Pace;
    use crate::shell::demo::paint::Style;

    /// A cast that talks to a stranger, who answers the first datagram with `status`.
    fn against(status: &'static str) -> (Cast, Daemon) {
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = stranger.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            let (length, from) = stranger.recv_from(&mut buffer).unwrap();
            let request = String::from_utf8_lossy(buffer.get(..length).unwrap()).into_owned();
            let rest = request.split_once("\r\n").unwrap().1;
            stranger.send_to(format!("SIP/2.0 {status}\r\n{rest}").as_bytes(), from).unwrap();
        });
        let stop = Stop::default();
        let ladder = Ladder::new(Box::new(std::io::sink()), Style::PLAIN, Pace::NONE, stop.clone());
        let daemon = Daemon::new("sosbridge".into(), stop.clone()).unwrap();
        (Cast::new(server, ladder, Times::FAST, stop).unwrap(), daemon)
    }

    #[test]
    fn a_wrong_answer_ends_the_story_and_is_told() {
        let (mut cast, mut daemon) = against("500 Server Internal Error");
        let failure = play(&mut cast, &mut daemon, &STEPS).unwrap_err();
        let report = failure.to_string();
        assert!(report.starts_with("step 1 failed: Alice's phone registers\n"), "{report}");
        assert!(report.contains("expected  401 to the REGISTER of the phone\n"), "{report}");
        assert!(report.contains("came      SIP/2.0 500 Server Internal Error\n"), "{report}");
        assert!(report.contains("CSeq: 1 REGISTER"), "the whole message: {report}");
    }

    #[test]
    fn an_ordinary_call_that_is_let_through_fails_its_step() {
        let (mut cast, mut daemon) = against("180 Ringing");
        let failure = play(&mut cast, &mut daemon, STEPS.get(1..2).unwrap()).unwrap_err();
        assert!(failure.to_string().contains("expected  403 to the INVITE of the call center\n"), "{failure}");
        assert!(failure.to_string().contains("came      SIP/2.0 180 Ringing\n"), "{failure}");
    }

    #[test]
    fn silence_is_told_as_silence() {
        let (mut cast, mut daemon) = against("100 Trying");
        let failure = play(&mut cast, &mut daemon, STEPS.get(..1).unwrap()).unwrap_err();
        assert!(failure.to_string().contains("came      nothing in 4 s"), "{failure}");
    }
}

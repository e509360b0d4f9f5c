//! The heart of the story: the emergency call, the cut, and the callback.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::audio::{destination, talk};
use super::daemon::Daemon;
use super::ladder::{Ladder, Lane};
use super::paint::Paint;
use super::party::Party;
use super::script::{Dialog, answer, fresh, header, text};
use super::story::{AOR, Cast, OWN_NUMBER, PSAP_NUMBER, dialog_from_outside};
use super::wrong::Wrong;
use crate::admin::{LeaseView, RegistrationView};
use crate::base::E164;
use crate::shell::ask::Table;
use crate::sip::{Message, Method, Name, NameAddr, Uri};

/// Shown of the lease after the restart.
const TICKS: usize = 3;
/// SPEC: at least 60 minutes from dialling.
const WINDOW: Duration = Duration::from_secs(60 * 60);

/// 911: the call center sees the temporary number and nothing of Alice; both talk.
pub fn dial(cast: &mut Cast, daemon: &mut Daemon) -> Result<String, Wrong> {
    let number = cast.number()?;
    let Cast { ladder, phone, center, server, phone_voice, center_voice, times, stop, .. } = cast;
    let local = format!("\"Alice Liddell\" <{AOR}>");
    let mut call = Dialog::new(phone, &format!("sip:911@{server}"), &local, &format!("<sip:911@{server}>"));
    let extra = format!("P-Preferred-Identity: <sip:{OWN_NUMBER}@example.com>\r\nSubject: Fire at Liddell's\r\n");
    let dialled = std::time::Instant::now();
    phone.send(ladder, &call.request(phone, "INVITE", &extra, Some(&phone_voice.sdp())))?;
    ladder.detail(Lane::Phone, Paint::Faint, &format!("From: {}", local.replace('"', "")));
    phone.response(ladder, 100, Method::Invite)?;
    let offer = center.request(ladder, Method::Invite)?;
    let took = dialled.elapsed();
    sees_the_number(ladder, &offer, number)?;
    let secrets = sees_nothing_else(&offer, &call, phone)?;
    ladder.detail(Lane::Center, Paint::Faint, &format!("nothing of Alice: {secrets} secrets looked for"));
    let stored = daemon.lease_on_disk(number)?;
    if stored != format!("active for {}", AOR.trim_start_matches("sip:")) {
        return Err(Wrong::new(format!("{number} on disk for Alice when the INVITE arrives"), stored));
    }
    ladder.event(Paint::Strong, &format!("on disk when the INVITE arrives: lease {number}, {stored}"));
    let tag = fresh();
    center.send(ladder, &answer(center, &offer, 180, &tag, None))?;
    phone.response(ladder, 180, Method::Invite)?;
    ladder.catch_up();
    center.send(ladder, &answer(center, &offer, 200, &tag, Some(&center_voice.sdp())))?;
    let answered = phone.response(ladder, 200, Method::Invite)?;
    call.answered(&answered);
    phone.send(ladder, &call.request(phone, "ACK", "", None))?;
    center.request(ladder, Method::Ack)?;
    ladder.catch_up();
    let (to_center, to_phone) = (destination(&answered)?, destination(&offer)?);
    let packets = talk((phone_voice, to_phone), (center_voice, to_center), times.talk, stop)?;
    ladder.event(Paint::Good, &talked(times.talk, packets));
    cast.call = Some(call);
    Ok(format!("connected under {number}; it took {:.1} ms from dialling to the call center", millis(took)))
}

/// `kill -9` in the middle of the call; after the restart the number is still Alice's, and so is her registration.
pub fn cut_off(cast: &mut Cast, daemon: &mut Daemon) -> Result<String, Wrong> {
    let number = cast.number()?;
    let Cast { ladder, phone, times, stop, call, .. } = cast;
    let id = daemon.id().ok_or_else(|| Wrong::new("a daemon to kill", "none runs"))?;
    if let Some(status) = daemon.fate() {
        return Err(Wrong::new("the daemon to run until it is killed", format!("it ended before, with {status}")));
    }
    daemon.kill();
    ladder.event(Paint::Bad, &format!("kill -9 {id}: sosbridge dies, the call is lost"));
    ladder.catch_up();
    let took = daemon.start()?;
    let id = daemon.id().unwrap_or_default();
    ladder.event(Paint::Good, &format!("sosbridge is started again as {id}, ready after {:.0} ms", millis(took)));
    let contact = format!("sip:alice@{}", phone.address);
    let registrations: Vec<RegistrationView> = daemon.rows(Table::Registrations)?;
    if !registrations.iter().any(|row| row.user == AOR && row.contact.contains(&contact)) {
        return Err(Wrong::new(format!("the registration of {contact} back from disk"), format!("{registrations:?}")));
    }
    ladder.event(Paint::Plain, &format!("registration back from disk: {contact}"));
    let mut left = WINDOW;
    for tick in 0..TICKS {
        if tick > 0 {
            stop.sleep(times.tick);
        }
        let lease = lease_of(daemon, number)?;
        let now_left = left_of(&lease);
        // It was dialled a moment ago, and time runs down.
        if now_left > left || now_left + ladder.elapsed() < WINDOW {
            let expected = format!("less than {} left, and 60 minutes from dialling", clock(left));
            return Err(Wrong::new(expected, format!("{} left", clock(now_left))));
        }
        left = now_left;
        let text = match tick {
            0 => format!("lease back from disk: {number} is {}'s, {} left", lease.user, clock(left)),
            _ => format!("lease {number}: {} left", clock(left)),
        };
        ladder.event(Paint::Strong, &text);
        ladder.catch_up();
    }
    // The phone notices: its dialog is gone.
    if let Some(mut call) = call.take() {
        phone.send(ladder, &call.request(phone, "BYE", "", None))?;
        phone.response(ladder, 481, Method::Bye)?;
    }
    Ok(format!("killed in the call, back in {:.0} ms, and nothing is forgotten", millis(took)))
}

/// The PSAP dials the number: Alice's phone rings although her inbound calling is off.
pub fn call_back(cast: &mut Cast, _daemon: &mut Daemon) -> Result<String, Wrong> {
    let number = cast.number()?;
    let Cast { ladder, phone, center, server, phone_voice, center_voice, times, stop, .. } = cast;
    let mut caller = dialog_from_outside(center, PSAP_NUMBER, &number.to_string(), *server);
    let dialled = std::time::Instant::now();
    center.send(ladder, &caller.request(center, "INVITE", "", Some(&center_voice.sdp())))?;
    ladder.detail(Lane::Center, Paint::Faint, &format!("From: {PSAP_NUMBER}"));
    center.response(ladder, 100, Method::Invite)?;
    let offer = phone.request(ladder, Method::Invite)?;
    let took = dialled.elapsed();
    let priority = header(&offer, Name::Priority);
    if priority != "psap-callback" {
        return Err(Wrong::message("Priority: psap-callback (RFC 7090)", &offer));
    }
    ladder.detail(Lane::Phone, Paint::Strong, &format!("Priority: {priority}"));
    let tag = fresh();
    phone.send(ladder, &answer(phone, &offer, 180, &tag, None))?;
    center.response(ladder, 180, Method::Invite)?;
    ladder.catch_up();
    phone.send(ladder, &answer(phone, &offer, 200, &tag, Some(&phone_voice.sdp())))?;
    let answered = center.response(ladder, 200, Method::Invite)?;
    caller.answered(&answered);
    center.send(ladder, &caller.request(center, "ACK", "", None))?;
    phone.request(ladder, Method::Ack)?;
    ladder.catch_up();
    let (to_center, to_phone) = (destination(&offer)?, destination(&answered)?);
    let packets = talk((phone_voice, to_phone), (center_voice, to_center), times.talk_again, stop)?;
    ladder.event(Paint::Good, &talked(times.talk_again, packets));
    center.send(ladder, &caller.request(center, "BYE", "", None))?;
    let bye = phone.request(ladder, Method::Bye)?;
    phone.send(ladder, &answer(phone, &bye, 200, &tag, None))?;
    center.response(ladder, 200, Method::Bye)?;
    Ok(format!("her phone rang {:.1} ms after the PSAP dialled, although her inbound calling is off", millis(took)))
}

/// SPEC §4: From, P-Asserted-Identity and Contact carry the temporary number.
fn sees_the_number(ladder: &mut Ladder, offer: &Message, number: E164) -> Result<(), Wrong> {
    for name in [Name::From, Name::PAssertedIdentity, Name::Contact] {
        let value = header(offer, name);
        let shown = NameAddr::parse(value.as_bytes()).ok().and_then(|whom| {
            let uri = Uri::parse(whom.uri).ok()?;
            whom.display.is_empty().then(|| text(uri.user))
        });
        if shown.as_deref() != Some(number.to_string().as_str()) {
            return Err(Wrong::message(format!("{number} and nothing else in {}", name.as_str()), offer));
        }
        if name != Name::Contact {
            ladder.detail(Lane::Center, Paint::Strong, &format!("{}: {number}", name.as_str()));
        }
    }
    Ok(())
}

/// SPEC §4: not a byte of the caller's identity; how many texts were looked for.
fn sees_nothing_else(offer: &Message, call: &Dialog, phone: &Party) -> Result<usize, Wrong> {
    let tag = call.local.rsplit("tag=").next().unwrap_or_default();
    let secrets = [
        ("her name", "alice"),
        ("her family name", "liddell"),
        ("her own number", OWN_NUMBER.trim_start_matches('+')),
        ("her domain", "example.com"),
        ("her Call-ID", &call.call_id),
        ("her From tag", tag),
        ("her phone's address", &phone.address.to_string()),
        ("her phone's software", phone.name),
        ("her Subject", "fire"),
    ];
    let seen = text(offer.bytes()).to_lowercase();
    match secrets.iter().find(|(_, secret)| seen.contains(&secret.to_lowercase())) {
        Some((what, secret)) => Err(Wrong::message(format!("nothing of {what} ({secret}) at the call center"), offer)),
        None => Ok(secrets.len()),
    }
}

fn lease_of(daemon: &Daemon, number: E164) -> Result<LeaseView, Wrong> {
    let leases: Vec<LeaseView> = daemon.rows(Table::Leases)?;
    match leases.iter().find(|row| row.number == number && row.user == AOR) {
        Some(lease) => Ok(lease.clone()),
        None => Err(Wrong::new(format!("the lease of {number} to {AOR}"), format!("{leases:?}"))),
    }
}

/// How long the number stays with its user.
pub fn left_of(lease: &LeaseView) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(lease.expires_at.unix_millis()).saturating_sub(now)
}

/// The lease of the story's number as it stands now.
pub fn lease_left(cast: &Cast, daemon: &Daemon) -> Result<Duration, Wrong> {
    Ok(left_of(&lease_of(daemon, cast.number()?)?))
}

fn talked(length: Duration, (at_phone, at_center): (u32, u32)) -> String {
    let (seconds, codec) = (length.as_secs_f64(), "G.711");
    format!("they talk for {seconds:.1} s: {at_phone} {codec} packets heard by Alice, {at_center} by the call taker")
}

/// `59:58.3`.
pub fn clock(time: Duration) -> String {
    let tenths = time.as_millis() / 100;
    format!("{}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

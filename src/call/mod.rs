//! The B2BUA: calls of two legs and a purpose (RFC 7092; SPEC §1 to §7).
//!
//! What arrives is classified (`classify`), an emergency call gets its number and its trunk (`emergency`, `dial`), a callback finds
//! its phone (`callback`, `ring`, `wake`, `desk`), an answered call is carried in both directions (`bridge`), and every call ends in one
//! place (`end`) with its history told. A trunk may hand its caller on (`transfer`, `refer_to`, `handover`, `replace`). The legs themselves, their dialogs and timers are the business of `ua`.

mod align;
mod bridge;
mod callback;
mod called;
mod classify;
mod country;
mod desk;
mod dial;
mod dialling;
mod direct;
mod early;
mod emergency;
mod end;
mod handover;
mod history;
mod i3;
mod identify;
mod lent;
mod media;
mod neighbours;
mod pbx;
mod quota;
mod refer_to;
mod refuse;
mod reload;
mod replace;
mod rewrite;
pub(crate) mod ring;
pub(crate) mod routing;
mod stalled;
mod test_line;
mod trace;
mod transfer;
mod voice;
mod wake;
mod way;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use slotmap::SlotMap;
use smallvec::SmallVec;

use crate::base::{E164, Instant, limits};
use crate::config::{Aor, Config, Country};
use crate::geo::{self, Countries};
use crate::lease::{self, Elsewhere, Leases};
use crate::registrar::{Auth, Registrar};
use crate::sip::{Message, Name};
use crate::transaction::{ClientId, ServerId};
use crate::transport::{Flow, Place};
use crate::trunk::{TargetId, Trunks};
use crate::ua::{self, CallId, Event, LegId, Ua};

pub use trace::Trace;

pub use history::{Attempt, CountrySource, Dialled, History, Kind, Outcome, Report, State};
pub use media::MediaHealth;
pub use wake::Wake;

/// Everything a call acts on, borrowed from the node for one step.
pub struct Parts<'a> {
    pub context: ua::Context<'a>,
    pub ua: &'a mut Ua,
    pub config: &'a Arc<Config>,
    pub countries: &'a Countries,
    /// Tells the country of an address; `None`: nobody does.
    pub geography: Option<&'a geo::Database>,
    pub leases: &'a mut Leases,
    pub elsewhere: &'a Elsewhere,
    pub trunks: &'a mut Trunks,
    pub registrar: &'a Registrar,
    pub auth: &'a mut Auth,
    /// Refuse what is not an emergency.
    pub draining: bool,
    /// False while nobody knows what was leased before the start.
    pub knows_leases: bool,
    pub trace: &'a Trace,
    /// Wall clock minus node clock, in milliseconds; for times that others read.
    pub wall_offset_ms: i64,
}

impl Parts<'_> {
    /// The country of the address a flow comes from, as far as it may be believed.
    fn country_at(&self, flow: &Flow) -> Option<Country> {
        self.geography?.country(flow.remote.ip(), &self.config.geo.unreliable)
    }

    fn is_unreliable(&self, flow: &Flow) -> bool {
        self.geography.is_some() && geo::is_in(flow.remote.ip(), &self.config.geo.unreliable)
    }
}

/// Ties a write to the call that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(pub u64);

/// All calls of the node.
pub struct Calls {
    calls: SlotMap<CallId, Call>,
    alarms: BinaryHeap<Reverse<(Instant, CallId, Alarm)>>,
    /// Calls whose number is being written.
    granting: BTreeMap<GrantId, CallId>,
    next_grant: u64,
    reports: Vec<Report>,
    /// Rows a call waits for; the node hands them to the store at once.
    writes: Vec<(GrantId, lease::Row)>,
    /// Phones to be woken.
    wakes: Vec<Wake>,
    /// Posts that wake phones and have no answer -> the attempt of a call.
    woken: BTreeMap<u64, (CallId, usize)>,
    last_wake: u64,
    /// Callbacks that hold for a phone, by user.
    waiting: BTreeMap<Aor, SmallVec<[CallId; 2]>>,
    media: media::Media,
    /// Refusals that are being said.
    refusing: usize,
    quota: quota::Quota,
    /// Calls at once, beyond which only emergency calls and callbacks are taken.
    bound: usize,
}

/// What a call wants to be woken for. A call that has moved on ignores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// The store has not answered within `[store] write_deadline`.
    Write,
    /// A leg has had no response at all within its wait.
    Silent(LegId),
    /// Begin the next round over the trunks.
    NextRound,
    /// A callback: ring the other devices too.
    RingOthers,
    /// A callback: try the last known flow again.
    Redial,
    /// A callback: the hold is over.
    HoldOver,
    /// A callback: wake its phones again.
    Wake,
    /// A callback: its lease lasts longer.
    Renew,
    /// A leg said 100 and nothing more.
    Stalled(LegId),
    /// A leg rings, and may have died of it.
    Mute(LegId),
    /// An UPDATE that was carried as a re-INVITE has no answer.
    Overdue(ClientId),
    /// The two legs tell of different media: try again.
    Align,
    /// Something is due of a transfer.
    Transfer,
    /// The test line has said what it says.
    TestOver,
    /// A refusal has been said.
    RefusalOver,
}

/// One call.
struct Call {
    kind: Kind,
    /// The user it is about: the caller of an emergency, the called of a callback.
    user: Option<Aor>,
    number: Option<E164>,
    country: Option<Country>,
    country_source: Option<CountrySource>,
    dialled: CompactString,
    started_at: Instant,
    answered_at: Option<Instant>,
    callback_of: Option<CompactString>,
    /// The pattern of the direct route it takes, or took first.
    direct_route: Option<CompactString>,
    /// What others call this call, and the incident it belongs to (NENA-STA-010).
    nena_call_id: Option<CompactString>,
    incident_id: Option<CompactString>,
    /// It rings phones for a callback that has come to another node, which tells of it.
    for_neighbour: bool,
    /// The lease of its number is another node's, and not counted here.
    is_elsewhere: bool,
    /// The number is the resource's shared one.
    shared: bool,
    /// A test number was dialled, or is called back.
    test: bool,
    /// What decided about it, in words.
    decisions: Arc<Vec<String>>,
    /// What is out of the ordinary about its route.
    note: Option<CompactString>,
    caller: LegId,
    /// The leg the caller is bridged with.
    callee: Option<LegId>,
    /// Those that have media of this call.
    legs: SmallVec<[LegId; 4]>,
    /// How the streams of legs fared that are gone.
    past_media: Vec<MediaHealth>,
    /// What the caller was told of a voice of ours before the answer.
    announced: Option<ua::Content>,
    /// The branch whose description the caller was told reliably before the answer.
    early: Option<LegId>,
    /// Early offers that wait for what the caller will say of itself, in the PRACK it owes.
    unconfirmed: SmallVec<[ua::Confirms; 1]>,
    alignment: align::Alignment,
    /// The trunk hands the caller on.
    transfer: Option<Box<transfer::Transfer>>,
    /// The caller's INVITE, where it told more than who and with which media: for whom the call is transferred to.
    invite: Option<Box<[u8]>>,
    /// The leased number of the call that was joined to this one.
    joined: Option<E164>,
    /// Its trunk has joined it to another user, and is in it no more: nobody can transfer it again.
    without_trunk: bool,
    /// The leg whose peer did not answer when it was asked.
    silent: Option<LegId>,
    /// Legs that were called and have neither answered nor failed.
    branches: SmallVec<[Branch; 1]>,
    /// Offers to legs to come that rtpengine is asked for.
    asking: SmallVec<[crate::media::ng::AskId; 1]>,
    attempts: Vec<Attempt>,
    crossings: SmallVec<[Crossing; 1]>,
    stage: Stage,
}

/// What a call is busy with until it is answered.
enum Stage {
    Granting(Box<emergency::Granting>),
    Dialling(Box<dialling::Dialling>),
    Ringing(Box<ring::Ringing>),
    /// 933 without a trunk: the daemon itself has answered.
    TestLine,
    /// An emergency call that is refused, and its caller hears so first.
    Refusing(Box<ua::Refusal>),
    Bridged,
}

/// A leg on its way to an answer.
struct Branch {
    leg: LegId,
    /// Index into `attempts`.
    attempt: usize,
    /// The trunk target it goes to, and at which of its addresses; `None` toward a phone.
    target: Option<(TargetId, Place)>,
    /// Something came back: it is no longer silent.
    heard: bool,
    /// It rings, or more (18x).
    alerting: bool,
    /// When it last said so.
    rang_at: Instant,
    /// The description of its last 18x, as the caller saw it; the 2xx may leave it out (CONFORMANCE OA-1).
    early: Option<ua::Content>,
}

/// A request inside one dialog that is being carried to the other.
struct Crossing {
    from: LegId,
    server: ServerId,
    client: ClientId,
    request: Message,
    flow: Flow,
}

impl Calls {
    pub fn new() -> Self {
        Self {
            calls: SlotMap::with_key(),
            alarms: BinaryHeap::new(),
            granting: BTreeMap::new(),
            next_grant: 0,
            reports: Vec::new(),
            writes: Vec::new(),
            wakes: Vec::new(),
            woken: BTreeMap::new(),
            last_wake: 0,
            waiting: BTreeMap::new(),
            media: media::Media::default(),
            refusing: 0,
            quota: quota::Quota::default(),
            bound: limits::CALLS,
        }
    }

    /// An INVITE outside any dialog.
    pub fn incoming(&mut self, parts: &mut Parts<'_>, server: ServerId, invite: &Message, flow: Flow) {
        parts.trace.begin();
        self.invited(parts, server, invite, flow);
        parts.trace.end();
    }

    fn invited(&mut self, parts: &mut Parts<'_>, server: ServerId, invite: &Message, flow: Flow) {
        let replaces = invite.header(Name::Replaces).is_some();
        if replaces && self.replace(parts, server, invite, flow) {
            return;
        }
        let classify::Verdict { caller, decision } = classify::classify(parts, invite, flow);
        if replaces && decision.is_call() && !decision.is_urgent() {
            parts.ua.reply(&mut parts.context, server, invite, flow, &ua::Refusal::new(481));
            return;
        }
        let mended;
        let mut invite = invite;
        if decision.is_call()
            && let Some(refusal) = ua::Content::refusal_of(invite)
        {
            let Some(whole) = mended_of(invite, &decision) else {
                return self.turn_away_malformed(parts, server, invite, flow, (caller, decision), refusal);
            };
            let fault = refusal.warning.unwrap_or_default();
            parts.trace.note(|| format!("The session description was put right: {fault}"));
            self.reports.push(Report::Mended { kind: decision.kind(), fault, source: flow });
            mended = whole;
            invite = &mended;
        }
        if decision.is_call() && !decision.is_urgent() && parts.ua.settings().session.is_too_short(&invite.extensions())
        {
            // CONFORMANCE ST-2. An emergency call, or a callback, is not refused for it: it has no session timer then.
            return parts.ua.refuse_interval(&mut parts.context, server, invite, flow);
        }
        if decision.is_call() && !decision.is_urgent() && i3::is_priority_unknown(invite) {
            parts.ua.reply(&mut parts.context, server, invite, flow, &ua::Refusal::new(417));
            return;
        }
        if self.calls.len() >= self.bound && !decision.is_urgent() {
            let refusal = ua::Refusal { retry_after: Some(30), ..ua::Refusal::warn(503, "Too many calls at once") };
            parts.ua.reply(&mut parts.context, server, invite, flow, &refusal);
            return;
        }
        if decision.is_call() {
            parts.context.streams.vouch(&flow);
        }
        match decision {
            classify::Decision::Emergency(emergency) => self.start_emergency(parts, server, invite, flow, *emergency),
            classify::Decision::Callback(trunk, number) => {
                self.start_callback(parts, server, invite, flow, trunk, number)
            }
            classify::Decision::Neighbour(asked) => self.ring_for_neighbour(parts, server, invite, flow, asked),
            classify::Decision::Ordinary(ordinary) => self.start_ordinary(parts, server, invite, flow, *ordinary),
            classify::Decision::Direct(direct) => self.start_direct(parts, server, invite, flow, *direct),
            classify::Decision::Outbound(outbound) => self.start_outbound(parts, server, invite, flow, *outbound),
            classify::Decision::Challenge { stale } => {
                challenge(parts, server, invite, flow, stale);
            }
            classify::Decision::Refuse { kind, dialled, refusal, place } => {
                let refused = refuse::Refused { kind, user: caller, called_back: None, dialled, refusal, place };
                self.turn_away(parts, server, invite, flow, refused);
            }
        }
    }

    /// Something happened on a leg of a call.
    pub fn event(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId, event: Event) {
        self.media.touch(id);
        if let Some(event) = self.park(parts, id, leg, event) {
            self.happened(parts, id, leg, event);
        }
    }

    fn happened(&mut self, parts: &mut Parts<'_>, id: CallId, leg: LegId, event: Event) {
        let Some(event) = self.of_transfer(parts, id, leg, event) else { return };
        match event {
            Event::Progress { message, reliable, described } => {
                self.progressed(parts, id, leg, &message, reliable, described);
            }
            Event::Confirmed { message, confirms, asks } => self.confirmed(parts, id, leg, message, confirms, asks),
            Event::Changed => {
                if let Some(other) = self.other(id, leg) {
                    self.unsettle(parts, id, other);
                }
            }
            Event::Notified => {}
            Event::Alive => self.alive(id, leg),
            Event::Silent { refresh } => self.silent(parts, id, leg, refresh),
            Event::Answered { message } => self.answered(parts, id, leg, &message),
            Event::Failed { refusal } => self.branch_failed(parts, id, leg, &refusal),
            Event::Cancelled { reason } => self.caller_gave_up(parts, id, reason.as_deref()),
            Event::Acknowledged { message } => self.acknowledged(parts, id, leg, &message),
            Event::Request { server, message, flow } => self.carry(parts, id, leg, server, message, flow),
            Event::Withdrawn { server } => self.withdraw(parts, id, server),
            Event::Reply { client, message } => {
                self.carry_back(parts, id, leg, client, message.as_ref().map_err(|status| *status))
            }
            Event::Ended { reason, cause } => self.leg_ended(parts, id, leg, reason.as_deref(), cause),
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.alarms.peek().map(|Reverse((at, _, _))| *at)
    }

    pub fn handle_timeout(&mut self, parts: &mut Parts<'_>) {
        while let Some(&Reverse((at, id, alarm))) = self.alarms.peek() {
            if at > parts.context.now {
                return;
            }
            self.alarms.pop();
            if !self.calls.contains_key(id) {
                continue;
            }
            self.media.touch(id);
            match alarm {
                Alarm::Write => self.write_overdue(parts, id),
                Alarm::Silent(leg) => self.branch_silent(parts, id, leg),
                Alarm::NextRound => self.next_round(parts, id),
                Alarm::RingOthers => self.ring_others(parts, id),
                Alarm::Redial => self.redial(parts, id),
                Alarm::HoldOver => self.hold_over(parts, id),
                Alarm::Wake => self.wake_phones(parts, id),
                Alarm::Renew => self.renew_lease(parts, id),
                Alarm::Stalled(leg) => self.branch_stalled(parts, id, leg),
                Alarm::Mute(leg) => self.branch_mute(parts, id, leg),
                Alarm::Overdue(client) => self.crossing_overdue(parts, id, client),
                Alarm::Align => self.align(parts, id),
                Alarm::Transfer => self.transfer_due(parts, id),
                Alarm::TestOver => self.test_over(parts, id),
                Alarm::RefusalOver => self.refusal_over(parts, id),
            }
        }
    }

    /// Rows that calls wait for, each with what [`Calls::stored`] wants back.
    pub fn take_writes(&mut self) -> Vec<(GrantId, lease::Row)> {
        std::mem::take(&mut self.writes)
    }

    /// What there is to count, record or raise an alarm about.
    pub fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    pub fn len(&self) -> usize {
        self.calls.len()
    }

    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn set_bound(&mut self, bound: usize) {
        self.bound = bound;
    }

    fn wake(&mut self, at: Instant, call: CallId, alarm: Alarm) {
        self.alarms.push(Reverse((at, call, alarm)));
    }

    fn branch(&mut self, call: CallId, leg: LegId) -> Option<&mut Branch> {
        self.calls.get_mut(call)?.branches.iter_mut().find(|branch| branch.leg == leg)
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self::new()
    }
}

/// An emergency call or a callback whose description can be mended is not refused for it.
fn mended_of(invite: &Message, decision: &classify::Decision) -> Option<Message> {
    if decision.is_urgent() { crate::sip::mended(invite) } else { None }
}

/// The text that identifies a call to operators: its key, stable while the daemon runs, and the time it began.
fn name_of(id: CallId, started_at: Instant) -> CompactString {
    use slotmap::Key;
    compact_str::format_compact!("{:x}-{:x}", started_at.as_millis(), id.data().as_ffi())
}

/// 401 with a challenge for each algorithm (RFC 8760 §2.4).
fn challenge(parts: &mut Parts<'_>, server: ServerId, invite: &Message, flow: Flow, stale: bool) {
    let Parts { context, ua, auth, .. } = parts;
    let (now, mut lines) = (context.now, crate::sip::Lines::default());
    auth.challenge(now, context.rng, stale, invite, flow.remote.ip(), &mut lines);
    ua.reply_with(context, server, invite, flow, &ua::Refusal::new(401), &lines);
}

fn reason_bytes(status: u16, text: &str) -> Bytes {
    Bytes::from(format!("SIP;cause={status};text=\"{text}\""))
}

//! The last resort of a callback: a desk on site, when the phone that called cannot be reached or nobody there answers (SPEC §6).

use compact_str::{CompactString, format_compact};

use super::dialling::Dialling;
use super::history::Outcome;
use super::ring::device_of;
use super::routing::flow_to_uri;
use super::{Calls, Parts, Stage};
use crate::config::{Aor, Config, TrunkIdx};
use crate::lease::Device;
use crate::sip::Uri;
use crate::ua::{CallId, Refusal};

/// Where `[callback] desk` is.
enum Desk {
    /// A user of ours: the devices.
    User(Aor),
    /// A URI whose host is an address.
    Uri(CompactString),
    /// A number, by way of `[other_calls] trunk`.
    Number(CompactString, TrunkIdx),
}

impl Desk {
    fn of(config: &Config) -> Option<Self> {
        let desk = config.callback.desk.as_ref()?;
        let uri = Uri::parse(desk.as_bytes()).ok().filter(Uri::is_sip);
        let Some(uri) = uri else {
            if let Some(user) = desk.parse().ok().and_then(|number| config.user_by_number(number)) {
                return Some(Self::User(user.aor.clone()));
            }
            return Some(Self::Number(desk.clone(), config.other_calls.trunk?));
        };
        match Aor::from_uri(&uri).and_then(|aor| config.user_served(&aor)) {
            Some(user) => Some(Self::User(user.aor.clone())),
            None => uri.host.ip().map(|_| Self::Uri(desk.clone())),
        }
    }
}

impl Calls {
    /// Rings the desk, once; false when there is none that can be rung. What rings already rings on.
    pub(super) fn ring_desk(&mut self, parts: &mut Parts<'_>, id: CallId) -> bool {
        let Some(desk) = Desk::of(parts.config) else { return false };
        let Some(call) = self.calls.get_mut(id) else { return false };
        let (is_alone, number) = (call.is_alone(), call.number);
        let Stage::Ringing(ringing) = &mut call.stage else { return false };
        let Some(hold) = ringing.hold.as_mut().filter(|hold| !hold.desk_rung) else { return false };
        let devices: Vec<Device> = match &desk {
            Desk::User(user) => parts.registrar.bindings(user).iter().map(device_of).collect(),
            Desk::Uri(uri) => flow_to_uri(parts.config, uri.as_bytes()).map(|flow| at(uri, flow)).into_iter().collect(),
            Desk::Number(..) if !is_alone => return true,
            Desk::Number(wanted, trunk) => {
                let identity = number.map(|number| format_compact!("{number}")).unwrap_or_default();
                let dialling =
                    Dialling::desk(identity, wanted.clone(), *trunk, ringing.invite.clone(), parts.context.now);
                self.stop_waiting(id);
                self.start_dialling(parts, id, dialling);
                return true;
            }
        };
        hold.desk_rung = true;
        for device in devices {
            self.ring(parts, id, &device);
        }
        self.calls.get(id).is_some_and(|call| !call.is_alone())
    }

    /// The desk was rung: it is there or it is not, and then the callback is over.
    pub(super) fn desk_failed(&mut self, parts: &mut Parts<'_>, id: CallId) {
        let Some(call) = self.calls.get(id).filter(|call| call.is_alone()) else { return };
        let Stage::Ringing(ringing) = &call.stage else { return };
        let caller = call.caller;
        match ringing.hold.as_ref().and_then(|hold| hold.refused.clone()) {
            Some(refused) => {
                let refusal = self.refusal_for(id, caller, refused);
                self.refuse_caller(parts, id, &refusal, Outcome::Refused);
            }
            None => {
                let unwilling = ringing.hold.as_ref().and_then(|hold| hold.unwilling.clone());
                let refusal = match unwilling {
                    Some(unwilling) => self.refusal_for(id, caller, unwilling),
                    None => Refusal::warn(480, "The phone that called is not reachable"),
                };
                self.refuse_caller(parts, id, &refusal, Outcome::Unanswered);
            }
        }
    }
}

fn at(uri: &CompactString, flow: crate::transport::Flow) -> Device {
    Device { key: uri.clone(), contact: uri.clone(), push: CompactString::default(), flow }
}

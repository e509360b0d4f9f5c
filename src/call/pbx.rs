//! Callbacks to a PBX: to where its configuration says, for whom it asserted (SPEC §2).

use compact_str::{CompactString, format_compact};

use super::routing::flow_to;
use super::{Calls, Parts, Stage};
use crate::base::Protocol;
use crate::config::{Aor, Pbx, PbxIdx};
use crate::lease::Device;
use crate::transport::Flow;
use crate::trunk::State;
use crate::ua::CallId;

/// What is remembered of a caller behind `pbx`: the same device whenever it calls.
pub(super) fn device_of(pbx: &Pbx, caller: &Aor, flow: Flow) -> Device {
    let key = format_compact!("pbx {}", pbx.name);
    Device { key, contact: request_uri(pbx, caller), push: CompactString::default(), flow }
}

/// The identity at the target of its PBX.
fn request_uri(pbx: &Pbx, caller: &Aor) -> CompactString {
    let user = caller.user();
    let port = pbx.target.port.map(|port| format_compact!(":{port}")).unwrap_or_default();
    let transport = match pbx.target.protocol {
        None | Some(Protocol::Udp) => CompactString::default(),
        Some(stream) => format_compact!(";transport={}", stream.uri_token()),
    };
    let phone = if user.starts_with('+') { ";user=phone" } else { "" };
    format_compact!("sip:{user}@{}{port}{transport}{phone}", pbx.target.host)
}

impl Calls {
    /// Calls the PBX back for one of its users, at the next of its places; where none is known yet, where it called from.
    pub(super) fn ring_pbx(&mut self, parts: &mut Parts<'_>, id: CallId, pbx: PbxIdx, origin: &Device) {
        let Some(Stage::Ringing(ringing)) = self.calls.get(id).map(|call| &call.stage) else { return };
        let contact = parts.config.pbx(pbx).map_or(origin.contact.clone(), |pbx| request_uri(pbx, &ringing.user));
        let target = parts.trunks.target_of_pbx(pbx);
        let places = target.and_then(|id| Some(parts.trunks.target(id)?.places(parts.context.rng))).unwrap_or_default();
        let way = places.into_iter().find_map(|place| Some((flow_to(parts.config, place)?, place)));
        let device = Device { contact, ..origin.clone() };
        match way {
            Some((flow, place)) => {
                let flow = target.map_or(flow, |target| parts.context.streams.toward(flow, target.number()));
                self.ring_at(parts, id, &device, flow, target.map(|target| (target, place)));
            }
            None => self.ring_at(parts, id, &device, origin.flow, None),
        }
        self.look_on_if_alone(parts, id);
    }

    /// True when the PBX that a callback is for may answer at another of its places.
    pub(super) fn has_other_place(&self, parts: &Parts<'_>, id: CallId) -> bool {
        let Some(Stage::Ringing(ringing)) = self.calls.get(id).map(|call| &call.stage) else { return false };
        let target = parts.config.pbx_of(&ringing.user).and_then(|(pbx, _)| parts.trunks.target_of_pbx(pbx));
        let target = target.and_then(|target| parts.trunks.target(target));
        target.is_some_and(|target| target.known().count() > 1 && target.state() != State::Down)
    }
}

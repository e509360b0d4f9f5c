//! The registrar against a naive one: a list, copied before each request and thrown away when the request fails.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::tests::{after, alice, contacts, request, settings, udp};
use super::*;
use crate::base::limits;

#[derive(Clone, Debug)]
enum Step {
    /// Contacts (number, expires), Call-ID, CSeq, port it comes from.
    Register {
        contacts: Vec<(u8, u32)>,
        call_id: u8,
        cseq: u32,
        port: u16,
    },
    RemoveAll {
        call_id: u8,
        cseq: u32,
    },
    Wait {
        seconds: u64,
    },
    Restart,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    contact: u8,
    call_id: u8,
    cseq: u32,
    port: u16,
    expires_s: u64,
    refreshed_s: u64,
}

#[derive(Clone, Default)]
struct Naive {
    now_s: u64,
    kept: Vec<Kept>,
}

impl Naive {
    /// The status code.
    fn register(&mut self, contacts: &[(u8, u32)], call_id: u8, cseq: u32, port: u16) -> u16 {
        if contacts.iter().any(|(_, expires)| (1..60).contains(expires)) {
            return 423;
        }
        let overtaken = |kept: &Kept| kept.call_id == call_id && cseq <= kept.cseq;
        let named = |kept: &Kept| contacts.iter().any(|(contact, _)| *contact == kept.contact);
        if self.kept.iter().any(|kept| named(kept) && overtaken(kept)) {
            return 500;
        }
        self.kept.retain(|kept| !named(kept));
        let mut lasting: BTreeMap<u8, u32> = BTreeMap::new();
        lasting.extend(contacts.iter().copied().filter(|(_, expires)| *expires > 0));
        for (contact, expires) in lasting {
            let expires_s = self.now_s + u64::from(expires.min(3600));
            self.kept.push(Kept { contact, call_id, cseq, port, expires_s, refreshed_s: self.now_s });
        }
        200
    }

    fn remove_all(&mut self, call_id: u8, cseq: u32) -> u16 {
        if self.kept.iter().any(|kept| kept.call_id == call_id && cseq <= kept.cseq) {
            return 500;
        }
        self.kept.clear();
        200
    }

    fn lines(&self) -> Vec<String> {
        let line = |kept: &Kept| format!("<sip:{}@b>;expires={}", kept.contact, kept.expires_s - self.now_s);
        let mut lines: Vec<String> = self.kept.iter().map(line).collect();
        lines.sort();
        lines
    }
}

fn step() -> BoxedStrategy<Step> {
    let expires = prop_oneof![3 => 60u32..4000, 1 => Just(0), 1 => 1u32..60];
    let contacts = prop::collection::vec((0u8..5, expires), 1..4);
    prop_oneof![
        8 => (contacts, 0u8..3, 1u32..30, 1u16..3)
            .prop_map(|(contacts, call_id, cseq, port)| Step::Register { contacts, call_id, cseq, port }),
        1 => (0u8..3, 1u32..30).prop_map(|(call_id, cseq)| Step::RemoveAll { call_id, cseq }),
        3 => (0u64..2000).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Restart),
    ]
    .boxed()
}

fn status(outcome: Outcome) -> u16 {
    match outcome {
        Outcome::Accepted { .. } => 200,
        Outcome::Unsupported { .. } => 420,
        Outcome::TooBrief { .. } => 423,
        Outcome::Refused { status, .. } => status,
    }
}

fn expire(registrar: &mut Registrar, now: Instant) {
    while registrar.next_deadline().is_some_and(|due| due <= now) {
        registrar.handle_timeout(now);
    }
}

fn write(store: &mut BTreeMap<RowKey, Row>, registrar: &mut Registrar) {
    for change in registrar.take_rows() {
        match change {
            Change::Put { row, .. } => drop(store.insert(row.key(), row)),
            Change::Delete { key, .. } => drop(store.remove(&key)),
        }
    }
}

fn take(step: &Step, registrar: &mut Registrar, naive: &mut Naive, store: &mut BTreeMap<RowKey, Row>) -> (u16, u16) {
    let now = after(naive.now_s);
    match step {
        Step::Register { contacts, call_id, cseq, port } => {
            let list: Vec<String> =
                contacts.iter().map(|(contact, expires)| format!("<sip:{contact}@b>;expires={expires}")).collect();
            let message = request(*cseq, &format!("Call-ID: {call_id}\nContact: {}", list.join(", ")));
            let outcome = registrar.register(now, &alice(), &message, udp(*port));
            (status(outcome), naive.register(contacts, *call_id, *cseq, *port))
        }
        Step::RemoveAll { call_id, cseq } => {
            let message = request(*cseq, &format!("Call-ID: {call_id}\nContact: *\nExpires: 0"));
            (status(registrar.register(now, &alice(), &message, udp(1))), naive.remove_all(*call_id, *cseq))
        }
        Step::Wait { seconds } => {
            naive.now_s += seconds;
            let now_s = naive.now_s;
            naive.kept.retain(|kept| kept.expires_s > now_s);
            expire(registrar, after(now_s));
            (0, 0)
        }
        Step::Restart => {
            registrar.flush_prolonged();
            write(store, registrar);
            *registrar = Registrar::new(settings());
            registrar.load(store.values().cloned(), now);
            (0, 0)
        }
    }
}

proptest! {
    #[test]
    fn whole_or_not_at_all(steps in prop::collection::vec(step(), 1..40)) {
        let mut registrar = Registrar::new(settings());
        let mut naive = Naive::default();
        let mut store = BTreeMap::new();
        for step in &steps {
            let (ours, theirs) = take(step, &mut registrar, &mut naive, &mut store);
            prop_assert_eq!(ours, theirs, "{:?}", step);
            write(&mut store, &mut registrar);
            let mut lines = contacts(&mut registrar, after(naive.now_s));
            lines.sort();
            prop_assert_eq!(lines, naive.lines());
            prop_assert_eq!(registrar.len(), naive.kept.len());
            prop_assert_eq!(store.len(), naive.kept.len(), "the store has a row for each");
            for port in 1..3 {
                let there = naive.kept.iter().any(|kept| kept.port == port);
                prop_assert_eq!(registrar.users_on_flow(&udp(port)).count(), usize::from(there));
            }
            prop_assert!(registrar.bindings(&alice()).is_sorted_by_key(|binding| std::cmp::Reverse(binding.refreshed_at)));
        }
        expire(&mut registrar, after(naive.now_s + 4000));
        prop_assert!(registrar.is_empty() && registrar.next_deadline().is_none());
    }

    /// Whatever stands in Contact and Expires, nothing breaks, and what was promised stays within the limits.
    #[test]
    fn any_bytes(contact in any::<String>(), expires in any::<String>(), zero: bool) {
        let clean = |text: String| text.replace(['\r', '\n'], " ");
        let text = format!(
            "REGISTER sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:a@h>\r\n\
             Call-ID: 1\r\nCSeq: 1 REGISTER\r\nContact: <sip:a@b>;{}\r\nExpires: {}\r\n\r\n",
            clean(contact), if zero { "0".to_owned() } else { clean(expires) },
        );
        if let Ok(message) = Message::parse(bytes::Bytes::from(text)) {
            let mut registrar = Registrar::new(settings());
            registrar.register(after(0), &alice(), &message, udp(1));
            prop_assert!(registrar.len() <= limits::BINDINGS_PER_USER);
            prop_assert!(registrar.listed(&alice()).iter().all(|binding| binding.expires_at <= after(3600)));
        }
    }
}

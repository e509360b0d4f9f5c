//! The instances of rtpengine and what they are asked: repeated with the same cookie, given up within `TRIES` times [`REPEAT`], and an
//! instance that is silent is passed over until it answers a ping again.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::command::{Command, Refused, Reply};
use crate::base::{Instant, Rng, limits};

/// Between two repetitions.
const REPEAT: Duration = Duration::from_millis(100);
/// When an answer is given up: an emergency call does not wait longer.
const TRIES: u8 = 3;
/// Between two pings of one instance.
const PING: Duration = Duration::from_secs(2);
/// An instance that misses so many in a row is gone, and its calls have to go on without it. One that was silent for a moment still
/// has them.
const MISSED: u8 = 2;
/// Pongs that are wanted at most of one that answers pings and nothing else, before it is asked again.
const PONGS: u8 = 8;

/// One question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(u64);

/// The end of a question.
#[derive(Debug)]
pub struct Heard {
    pub ask: AskId,
    /// Who has it now.
    pub instance: SocketAddr,
    /// Who was asked before that one, and may have it too.
    pub left: Option<SocketAddr>,
    /// `None`: nobody answered in time.
    pub reply: Option<Result<Reply, Refused>>,
}

#[derive(Default)]
pub struct Client {
    instances: Vec<Instance>,
    pending: BTreeMap<AskId, Pending>,
    /// What our cookies begin with, unlike those of another start of ours.
    prefix: Option<u64>,
    last: u64,
    ping_due: Option<Instant>,
    /// An instance has missed its pings just now.
    has_lost: bool,
    /// An instance answers that did not, or is new.
    has_gained: bool,
    out: VecDeque<(SocketAddr, Bytes)>,
}

struct Instance {
    address: SocketAddr,
    is_up: bool,
    /// The ping that is not answered, and how many were missed before.
    pinged: Option<AskId>,
    missed: u8,
    /// Pongs before it is asked again.
    wants: u8,
    /// The same when it fails again: twice as many each time, until it has answered a question.
    next_wants: u8,
}

struct Pending {
    instance: SocketAddr,
    left: Option<SocketAddr>,
    command: Bytes,
    sent: u8,
    due: Instant,
    /// Nobody has the call yet, so anybody may.
    may_move: bool,
    is_ping: bool,
}

impl Client {
    /// From now on these, in the order of preference; none: rtpengine is not used.
    pub fn set_instances(&mut self, now: Instant, addresses: &[SocketAddr]) {
        let old = std::mem::take(&mut self.instances);
        let known = |address: SocketAddr| old.iter().find(|old| old.address == address);
        self.instances = addresses
            .iter()
            .map(|&address| Instance {
                address,
                is_up: known(address).is_none_or(|known| known.is_up),
                pinged: known(address).and_then(|known| known.pinged),
                missed: known(address).map_or(0, |known| known.missed),
                wants: known(address).map_or(0, |known| known.wants),
                next_wants: known(address).map_or(1, |known| known.next_wants),
            })
            .collect();
        self.has_gained |= addresses.iter().any(|address| known(*address).is_none());
        self.ping_due = (!self.instances.is_empty()).then_some(now);
    }

    /// The first instance that answers.
    pub fn preferred(&self) -> Option<SocketAddr> {
        self.instances.iter().find(|instance| instance.is_up).map(|instance| instance.address)
    }

    pub fn is_up(&self, address: SocketAddr) -> bool {
        self.instances.iter().any(|instance| instance.address == address && instance.is_up)
    }

    /// It has not answered for so long that its calls are lost, or is not in use any more.
    pub fn is_gone(&self, address: SocketAddr) -> bool {
        !self.instances.iter().any(|instance| instance.address == address && instance.missed < MISSED)
    }

    /// An instance is gone since the last time.
    pub fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.has_lost)
    }

    /// Another instance may be asked since the last time.
    pub fn take_gained(&mut self) -> bool {
        std::mem::take(&mut self.has_gained)
    }

    /// Asks `instance`, which has the call; `None`: whoever answers. `None` comes back when nobody can be asked.
    pub fn ask(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        instance: Option<SocketAddr>,
        command: &Command<'_>,
    ) -> Option<AskId> {
        let to = instance.or_else(|| self.preferred())?;
        if self.pending.len() >= limits::RTPENGINE_QUESTIONS {
            return None;
        }
        let pending = Pending {
            instance: to,
            left: None,
            command: command.write(),
            sent: 0,
            due: now,
            may_move: instance.is_none(),
            is_ping: matches!(command, Command::Ping),
        };
        self.prefix.get_or_insert_with(|| rng.u64());
        self.last += 1;
        let ask = AskId(self.last);
        self.pending.insert(ask, pending);
        self.send(now, ask);
        Some(ask)
    }

    /// Nobody waits for this any more; who was asked, last and before.
    pub fn forget(&mut self, ask: AskId) -> [Option<SocketAddr>; 2] {
        let pending = self.pending.remove(&ask);
        pending.map_or([None; 2], |pending| [Some(pending.instance), pending.left])
    }

    /// A datagram of an instance; `None`: nothing that anybody waits for.
    pub fn received(&mut self, from: SocketAddr, datagram: &[u8]) -> Option<Heard> {
        let at = datagram.iter().position(|byte| *byte == b' ')?;
        let (cookie, rest) = datagram.split_at(at);
        let ask = self.asked(cookie)?;
        // An answer of the one that was asked before counts no more: the other one has the call.
        let pending = self.pending.get(&ask).filter(|pending| pending.instance == from)?;
        let (is_ping, left) = (pending.is_ping, pending.left);
        self.pending.remove(&ask);
        let reply = Reply::read(rest.get(1..).unwrap_or_default());
        let Some(instance) = self.instances.iter_mut().find(|instance| instance.address == from) else {
            return Some(Heard { ask, instance: from, left, reply: Some(reply) });
        };
        if is_ping {
            instance.pinged = None;
        }
        // Whatever it says of one call, whose description may be at fault; but one that talks nonsense is not asked again
        // before it answers a ping.
        match (!matches!(reply, Err(Refused::Bencode(_) | Refused::NoResult)), is_ping) {
            (true, _) => self.has_gained |= instance.spoke(is_ping),
            (false, true) => {
                instance.failed(true);
                self.missed(from);
            }
            (false, false) => instance.failed(false),
        }
        (!is_ping).then_some(Heard { ask, instance: from, left, reply: Some(reply) })
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.pending.values().map(|pending| pending.due).chain(self.ping_due).min()
    }

    /// Repeats, gives up, pings; what was given up.
    pub fn handle_timeout(&mut self, now: Instant, rng: &mut Rng) -> Vec<Heard> {
        let due = self.pending.iter().filter(|(_, pending)| pending.due <= now).map(|(ask, _)| *ask);
        let due: Vec<AskId> = due.collect();
        let mut given_up = Vec::new();
        for ask in due {
            let Some(pending) = self.pending.get_mut(&ask) else { continue };
            let (instance, sent, is_ping, left) = (pending.instance, pending.sent, pending.is_ping, pending.left);
            if sent >= TRIES {
                self.pending.remove(&ask);
                self.fell_silent(instance, is_ping);
                match is_ping {
                    true => self.missed(instance),
                    false => given_up.push(Heard { ask, instance, left, reply: None }),
                }
                continue;
            }
            // The last try goes to another one, if there is any.
            if sent + 1 == TRIES && pending.may_move {
                let other = self.instances.iter().find(|other| other.is_up && other.address != instance);
                if let Some(other) = other.map(|other| other.address) {
                    (pending.instance, pending.left) = (other, Some(instance));
                    self.fell_silent(instance, false);
                }
            }
            self.send(now, ask);
        }
        if self.ping_due.is_some_and(|due| due <= now) {
            self.ping_due = Some(now + PING);
            self.ping(now, rng);
        }
        given_up
    }

    /// The next datagram to send.
    pub fn poll_output(&mut self) -> Option<(SocketAddr, Bytes)> {
        self.out.pop_front()
    }

    fn ping(&mut self, now: Instant, rng: &mut Rng) {
        for at in 0..self.instances.len() {
            let Some(instance) = self.instances.get(at) else { continue };
            let (address, pinged) = (instance.address, instance.pinged);
            if pinged.is_some_and(|ask| self.pending.contains_key(&ask)) {
                continue;
            }
            let ask = self.ask(now, rng, Some(address), &Command::Ping);
            if let Some(instance) = self.instances.get_mut(at) {
                instance.pinged = ask;
            }
        }
    }

    fn send(&mut self, now: Instant, ask: AskId) {
        let Some(pending) = self.pending.get_mut(&ask) else { return };
        pending.sent += 1;
        pending.due = now + REPEAT;
        let cookie = format!("{:016x}{:x} ", self.prefix.unwrap_or_default(), ask.0);
        self.out.push_back((pending.instance, [cookie.as_bytes(), &pending.command].concat().into()));
    }

    fn asked(&self, cookie: &[u8]) -> Option<AskId> {
        let cookie = std::str::from_utf8(cookie).ok()?;
        let (prefix, number) = cookie.split_at_checked(16)?;
        let prefix = u64::from_str_radix(prefix, 16).ok()?;
        (Some(prefix) == self.prefix).then_some(())?;
        u64::from_str_radix(number, 16).ok().map(AskId)
    }

    fn missed(&mut self, address: SocketAddr) {
        let Some(instance) = self.instances.iter_mut().find(|instance| instance.address == address) else { return };
        instance.missed = instance.missed.saturating_add(1);
        self.has_lost |= instance.missed == MISSED;
    }

    fn fell_silent(&mut self, address: SocketAddr, is_ping: bool) {
        if let Some(instance) = self.instances.iter_mut().find(|instance| instance.address == address) {
            instance.failed(is_ping);
        }
    }
}

impl Instance {
    /// It has answered; true: it may be asked again.
    fn spoke(&mut self, is_pong: bool) -> bool {
        self.missed = 0;
        match is_pong {
            true => self.wants = self.wants.saturating_sub(1),
            false => (self.wants, self.next_wants) = (0, 1),
        }
        let is_back = !self.is_up && self.wants == 0;
        if is_back {
            self.is_up = true;
            tell(self.address, true);
        }
        is_back
    }

    /// It is silent or talks nonsense.
    fn failed(&mut self, is_ping: bool) {
        if !std::mem::take(&mut self.is_up) {
            return;
        }
        if !is_ping {
            self.wants = self.next_wants;
            self.next_wants = (2 * self.next_wants).min(PONGS);
        }
        tell(self.address, false);
    }
}

fn tell(instance: SocketAddr, is_up: bool) {
    match is_up {
        true => tracing::info!(%instance, "rtpengine answers again"),
        false => tracing::warn!(%instance, "rtpengine does not answer as it should: passed over until it does"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const QUERY: Command<'_> = Command::Query { call: "x" };

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn client(instances: usize) -> (Client, Rng, Vec<SocketAddr>) {
        let addresses: Vec<SocketAddr> =
            (0..instances).map(|at| format!("127.0.0.1:{}", 2223 + at).parse().unwrap()).collect();
        let mut client = Client::default();
        client.set_instances(at(1000), &addresses);
        client.ping_due = Some(at(60_000));
        (client, Rng::from_u64(1), addresses)
    }

    fn sent(client: &mut Client) -> Vec<(SocketAddr, Bytes)> {
        std::iter::from_fn(|| client.poll_output()).collect()
    }

    fn reply(sent: &Bytes, body: &str) -> Vec<u8> {
        let cookie = sent.split(|byte| *byte == b' ').next().unwrap();
        [cookie, b" ", body.as_bytes()].concat()
    }

    #[test]
    fn a_question_is_repeated_with_its_cookie_and_given_up_in_time() {
        let (mut client, mut rng, to) = client(1);
        let ask = client.ask(at(1000), &mut rng, None, &QUERY).unwrap();
        let first = sent(&mut client);
        assert!(client.handle_timeout(at(1100), &mut rng).is_empty());
        assert!(client.handle_timeout(at(1200), &mut rng).is_empty());
        assert_eq!(sent(&mut client), [first.clone(), first.clone()].concat());
        let given_up = client.handle_timeout(at(1300), &mut rng);
        assert!(given_up.len() == 1 && given_up[0].ask == ask && given_up[0].reply.is_none());
        // Late: nobody waits for it. And silent: not asked before it answers a ping.
        assert!(client.received(to[0], &reply(&first[0].1, "d6:result2:oke")).is_none());
        assert!(client.ask(at(1400), &mut rng, None, &QUERY).is_none());
        client.handle_timeout(at(60_000), &mut rng);
        let ping = sent(&mut client);
        assert!(client.received(to[0], &reply(&ping[0].1, "d6:result4:ponge")).is_none());
        assert!(client.ask(at(60_100), &mut rng, None, &QUERY).is_some());
    }

    #[test]
    fn the_last_try_for_a_new_call_goes_to_another_instance() {
        let (mut client, mut rng, to) = client(2);
        client.ask(at(1000), &mut rng, None, &QUERY).unwrap();
        client.handle_timeout(at(1100), &mut rng);
        client.handle_timeout(at(1200), &mut rng);
        let sent = sent(&mut client);
        assert_eq!(sent.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [to[0], to[0], to[1]]);
        // What the first says now counts no more.
        assert!(client.received(to[0], &reply(&sent[0].1, "d6:result2:oke")).is_none());
        let heard = client.received(to[1], &reply(&sent[2].1, "d6:result2:oke")).unwrap();
        assert_eq!((heard.instance, heard.left, heard.reply), (to[1], Some(to[0]), Some(Ok(Reply::Done))));
        assert_eq!(client.preferred(), Some(to[1]));
        // One that has the call is asked alone.
        client.ask(at(2000), &mut rng, Some(to[1]), &QUERY).unwrap();
        for ms in [2100, 2200] {
            client.handle_timeout(at(ms), &mut rng);
        }
        assert!(self::sent(&mut client).iter().all(|(instance, _)| *instance == to[1]));
    }

    #[test]
    fn nonsense_is_named_and_its_instance_passed_over() {
        let (mut client, mut rng, to) = client(1);
        for (body, refused, is_passed_over) in [
            ("", "bencode that ends too early", true),
            ("d6:result5:maybee", "a reply without a result", true),
            ("d6:result5:error12:error-reason7:no porte", "rtpengine says: no port", false),
            // Of one call, which another party may have brought about.
            ("d6:result2:ok3:sdp1:xe", "a description that is malformed", false),
        ] {
            client.set_instances(at(1000), &[]);
            client.set_instances(at(1000), &to);
            client.ask(at(1000), &mut rng, None, &QUERY).unwrap();
            let sent = sent(&mut client);
            let heard = client.received(to[0], &reply(&sent[0].1, body)).unwrap();
            assert_eq!(heard.reply.unwrap().unwrap_err().to_string(), refused);
            assert_eq!(client.preferred().is_none(), is_passed_over, "{refused}");
        }
        // From elsewhere, without cookie, or with another's.
        client.set_instances(at(1000), &[]);
        client.set_instances(at(1000), &to);
        client.ask(at(1000), &mut rng, None, &QUERY).unwrap();
        let sent = sent(&mut client);
        assert!(client.received("127.0.0.9:9".parse().unwrap(), &reply(&sent[0].1, "d6:result2:oke")).is_none());
        for datagram in [&b""[..], b"x", b" d6:result2:oke", b"0000000000000000ff d6:result2:oke", "ä1 de".as_bytes()]
        {
            assert!(client.received(to[0], datagram).is_none());
        }
    }
}

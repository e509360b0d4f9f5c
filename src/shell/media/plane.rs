//! The thread that carries packets: receives, asks the [`End`]s, sends. It never waits for the node, and the node never for it.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use tokio::sync::mpsc::Sender;

use super::ports::{Bound, Locals, Range};
use super::voice::{Frame, Playing};
use crate::base::{self, limits};
use crate::config::Media;
use crate::media::{End, News, Order, Packet, PairId, Port, Ports, hide_names};
use crate::node::Input;
use crate::shell::events::Event;

/// Pairs of each address that wait for their use; below `LOW` there are more.
const READY: usize = 256;
const LOW: usize = 192;
/// Before ports of a range that had none to give are tried again: while calls want some, and while there are a few left.
const SOON: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_secs(1);
/// How often the node hears how pairs fare.
const COUNT: Duration = Duration::from_secs(1);
/// Largest packet: more than any link carries unfragmented, less than what a peer can send.
const PACKET: usize = 9216;
/// Sockets that are ready, in one look.
const EVENTS: usize = 1024;
/// Packets taken from one socket before the next has its turn.
const TURN: usize = 64;
/// News that wait for the node; beyond, the counts wait for the next second.
const NEWS: usize = 1024;
pub const WAKE: Token = Token(usize::MAX);

enum State {
    /// Bound, and known to the node.
    Ready,
    Used,
    Resting,
    Spare,
}

struct Pair {
    id: PairId,
    sockets: Bound,
    /// Which of the ranges it is from.
    range: usize,
    state: State,
    end: End,
    joined: Option<usize>,
    voice: Option<Playing>,
}

impl Pair {
    fn socket(&self, port: Port) -> &UdpSocket {
        match port {
            Port::Rtp => &self.sockets.rtp,
            Port::Rtcp => &self.sockets.rtcp,
        }
    }
}

/// A range of ports, and what it has given.
struct Shelf {
    range: Range,
    /// Its address is told; else it only waits for what is out to come back.
    is_open: bool,
    /// How many pairs are ready.
    ready: usize,
    /// Pairs that have rested.
    spare: Vec<usize>,
    /// Not before this is a port of it tried again.
    due: Option<Instant>,
    /// The node was told that it is used up.
    is_scarce: bool,
}

impl Shelf {
    const fn new(range: Range) -> Self {
        Self { range, is_open: true, ready: 0, spare: Vec::new(), due: None, is_scarce: false }
    }
}

pub struct Plane {
    poll: Poll,
    shelves: Vec<Shelf>,
    /// First and last port of every range.
    ports: (u16, u16),
    resting: VecDeque<(Instant, usize)>,
    pairs: Vec<Pair>,
    generation: u64,
    playing: Vec<usize>,
    orders: Receiver<Vec<Order>>,
    events: Sender<Event>,
    news: VecDeque<News>,
    locals: Locals,
    began: Instant,
    counted: Instant,
    random: u64,
    /// What hides the names in RTCP.
    key: u64,
}

impl Plane {
    pub fn new(poll: Poll, media: &Media, orders: Receiver<Vec<Order>>, events: Sender<Event>, random: u64) -> Self {
        let now = Instant::now();
        Self {
            poll,
            shelves: Range::of(&media.addresses, media.ports, random).into_iter().map(Shelf::new).collect(),
            ports: media.ports,
            resting: VecDeque::new(),
            pairs: Vec::new(),
            generation: 0,
            playing: Vec::new(),
            orders,
            events,
            news: VecDeque::new(),
            locals: Locals::default(),
            began: now,
            counted: now,
            random,
            key: random.rotate_left(32),
        }
    }

    /// Until the daemon is gone.
    pub fn run(mut self) {
        let mut ready = Events::with_capacity(EVENTS);
        let mut buffer = vec![0; PACKET];
        loop {
            match self.poll.poll(&mut ready, Some(self.patience(Instant::now()))) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    tracing::error!(%error, "the relay of media has ended: calls go on without sound. Restart soon");
                    return;
                }
                Err(_) | Ok(()) => {}
            }
            let now = Instant::now();
            let at = self.time(now);
            for event in &ready {
                match event.token() {
                    WAKE => {
                        if !self.take_orders(now) {
                            return;
                        }
                    }
                    Token(token) => {
                        let port = if token % 2 == 0 { Port::Rtp } else { Port::Rtcp };
                        self.receive(at, token / 2, port, &mut buffer);
                    }
                }
            }
            self.speak(now);
            self.rise(now);
            self.top_up(now);
            if now.saturating_duration_since(self.counted) >= COUNT {
                self.counted = now;
                self.count(at);
            }
            self.tell();
        }
    }

    /// How long there is nothing to do unless something comes.
    fn patience(&self, now: Instant) -> Duration {
        let voice =
            self.playing.iter().filter_map(|slot| self.pairs.get(*slot)?.voice.as_ref()).map(Playing::due).min();
        let rested = self.resting.front().map(|(at, _)| *at);
        let counted = Some(self.counted + COUNT);
        let next = [voice, rested, counted].into_iter().flatten().min().unwrap_or(now);
        let wait = next.saturating_duration_since(now);
        // What the node had no room for.
        if self.news.is_empty() { wait } else { wait.min(Duration::from_millis(5)) }
    }

    fn time(&self, now: Instant) -> base::Instant {
        base::Instant::from_millis(0) + now.saturating_duration_since(self.began)
    }

    /// False when the daemon is gone.
    fn take_orders(&mut self, now: Instant) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(orders) => orders.into_iter().for_each(|order| self.obey(now, order)),
                Err(std::sync::mpsc::TryRecvError::Empty) => return true,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn slot(&mut self, now: Instant, id: PairId) -> Option<usize> {
        let slot = usize::try_from(id.0 & u64::from(u32::MAX)).ok()?;
        let at = self.time(now);
        let pair = self.pairs.get_mut(slot).filter(|pair| pair.id == id)?;
        if matches!(pair.state, State::Ready) {
            pair.state = State::Used;
            pair.end = End::new(at);
            if let Some(shelf) = self.shelves.get_mut(pair.range) {
                shelf.ready = shelf.ready.saturating_sub(1);
            }
        }
        matches!(pair.state, State::Used).then_some(slot)
    }

    fn obey(&mut self, now: Instant, order: Order) {
        match order {
            Order::Take(id) => drop(self.slot(now, id)),
            Order::Serve(addresses, ports) => self.serve(&addresses, ports),
            Order::Join(one, other) => {
                let (Some(one), Some(other)) = (self.slot(now, one), self.slot(now, other)) else { return };
                self.part(one);
                self.part(other);
                self.join(one, other);
                self.join(other, one);
            }
            Order::Part(id) => {
                if let Some(slot) = self.slot(now, id) {
                    self.part(slot);
                }
            }
            Order::Point(id, peer) => {
                let at = self.time(now);
                if let Some(pair) = self.slot(now, id).and_then(|slot| self.pairs.get_mut(slot)) {
                    pair.end.point(at, peer);
                }
            }
            Order::Play(id, voice) => {
                let Some(slot) = self.slot(now, id) else { return };
                self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                let playing = Playing::new(voice, now, self.random ^ (self.random >> 29));
                if let Some(pair) = self.pairs.get_mut(slot) {
                    pair.voice = Some(playing);
                }
                if !self.playing.contains(&slot) {
                    self.playing.push(slot);
                }
            }
            Order::Silence(id) => {
                if let Some(slot) = self.slot(now, id) {
                    self.silence(slot);
                }
            }
            Order::Release(id) => {
                let Some(slot) = self.slot(now, id) else { return };
                self.part(slot);
                self.silence(slot);
                if let Some(pair) = self.pairs.get_mut(slot) {
                    pair.state = State::Resting;
                    self.resting.push_back((now + limits::PORTS_REST, slot));
                }
            }
        }
    }

    fn serve(&mut self, addresses: &[IpAddr], ports: (u16, u16)) {
        self.ports = ports;
        for shelf in &mut self.shelves {
            shelf.is_open = addresses.contains(&shelf.range.address);
            shelf.range.change(ports);
            (shelf.due, shelf.is_scarce) = (None, false);
        }
        let is_new = |address: &&IpAddr| !self.shelves.iter().any(|shelf| shelf.range.address == **address);
        let new: Vec<IpAddr> = addresses.iter().filter(is_new).copied().collect();
        self.shelves.extend(Range::of(&new, self.ports, self.random).into_iter().map(Shelf::new));
    }

    fn join(&mut self, slot: usize, other: usize) {
        if let Some(pair) = self.pairs.get_mut(slot) {
            pair.joined = Some(other);
        }
    }

    fn part(&mut self, slot: usize) {
        let other = self.pairs.get_mut(slot).and_then(|pair| pair.joined.take());
        if let Some(other) = other.and_then(|other| self.pairs.get_mut(other)) {
            other.joined = None;
        }
    }

    fn silence(&mut self, slot: usize) {
        if let Some(pair) = self.pairs.get_mut(slot) {
            pair.voice = None;
        }
        self.playing.retain(|playing| *playing != slot);
    }

    /// Takes what waits on one socket and sends it on. The kernel says only once that something is there: all of it is taken.
    fn receive(&mut self, at: base::Instant, slot: usize, port: Port, buffer: &mut [u8]) {
        for _ in 0..TURN {
            let Some(pair) = self.pairs.get(slot) else { return };
            match pair.socket(port).recv_from(buffer) {
                // Over another address of this machine a packet would go round for ever.
                Ok((_, from)) if pair.sockets.is_any && self.is_ours(from) => {}
                Ok((length, from)) => {
                    if let Some(bytes) = buffer.get_mut(..length) {
                        self.forward(at, slot, port, from, bytes);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // An ICMP error of something sent before.
                Err(_) => {}
            }
        }
        // There may be more, and nobody will say so again.
        self.renew(slot, port);
    }

    /// True of our own sockets, where these have all addresses of this machine.
    fn is_ours(&mut self, from: SocketAddr) -> bool {
        let is_own = |shelf: &Shelf| shelf.range.has(from.port());
        self.shelves.iter().any(is_own) && self.locals.contains(from.ip().to_canonical())
    }

    fn renew(&mut self, slot: usize, port: Port) {
        let Some(pair) = self.pairs.get_mut(slot) else { return };
        let (socket, offset) = match port {
            Port::Rtp => (&mut pair.sockets.rtp, 0),
            Port::Rtcp => (&mut pair.sockets.rtcp, 1),
        };
        let _ = self.poll.registry().reregister(socket, Token(slot * 2 + offset), Interest::READABLE);
    }

    fn forward(&mut self, at: base::Instant, slot: usize, port: Port, from: SocketAddr, bytes: &mut [u8]) {
        let Some(joined) = self.pairs.get(slot).map(|pair| pair.joined) else { return };
        let heard = joined.and_then(|other| self.pairs.get(other)?.end.ssrc());
        let Some(pair) = self.pairs.get_mut(slot).filter(|pair| matches!(pair.state, State::Used)) else { return };
        let Some(packet) = pair.end.arrived(at, port, from, bytes, heard) else { return };
        let other = joined.and_then(|other| self.pairs.get_mut(other));
        let Some(other) = other.filter(|other| other.voice.is_none()) else { return };
        if packet == Packet::Rtcp {
            hide_names(bytes, self.key);
        }
        if let Some((port, to)) = other.end.send(at, packet, bytes.len()) {
            // A full buffer loses a packet, as any hop of the network may.
            let _ = other.socket(port).send_to(bytes, to);
        }
    }

    /// Sends what voices are to say by now.
    fn speak(&mut self, now: Instant) {
        let at = self.time(now);
        let mut over = Vec::new();
        let mut frame: Frame = [0; size_of::<Frame>()];
        for slot in &self.playing {
            let Some(Pair { id, sockets, end, voice: Some(voice), .. }) = self.pairs.get_mut(*slot) else { continue };
            while voice.due() <= now {
                if voice.next(now, &mut frame).is_none() {
                    over.push((*slot, *id));
                    break;
                }
                if let Some((_, to)) = end.send(at, Packet::Rtp, frame.len()) {
                    let _ = sockets.rtp.send_to(&frame, to);
                }
            }
        }
        for (slot, id) in over {
            self.silence(slot);
            self.news.push_back(News::Played(id));
        }
    }

    /// Ports that have rested enough are good for another pair.
    fn rise(&mut self, now: Instant) {
        while let Some(&(at, slot)) = self.resting.front().filter(|(at, _)| *at <= now) {
            let _ = at;
            self.resting.pop_front();
            let Some(pair) = self.pairs.get_mut(slot) else { continue };
            pair.state = State::Spare;
            if let Some(shelf) = self.shelves.get_mut(pair.range) {
                shelf.spare.push(slot);
            }
        }
    }

    /// Sees to it that pairs are ready before anybody wants them.
    fn top_up(&mut self, now: Instant) {
        let mut bound = Vec::new();
        for at in 0..self.shelves.len() {
            if self.shelves.get(at).is_none_or(|shelf| !shelf.is_open || shelf.ready >= LOW) {
                continue;
            }
            while self.shelves.get(at).is_some_and(|shelf| shelf.ready < READY) {
                match self.another(now, at) {
                    Ok(ports) => bound.push(ports),
                    Err(error) => {
                        self.scarce(at, &error);
                        break;
                    }
                }
            }
        }
        if !bound.is_empty() {
            self.news.push_back(News::Bound(bound));
        }
    }

    fn scarce(&mut self, at: usize, error: &std::io::Error) {
        let Some(shelf) = self.shelves.get_mut(at) else { return };
        // A range that is smaller than what is kept ready is not in want.
        let is_used_up = shelf.ready == 0;
        if is_used_up && !shelf.is_scarce && self.news.len() < NEWS {
            let address = shelf.range.address;
            let reason = match shelf.range.is_used_up() {
                true => format!("{address}: all of them are in use, or rest"),
                false => format!("{address}: {error}"),
            };
            self.news.push_back(News::Scarce { reason });
        }
        shelf.is_scarce = is_used_up;
    }

    /// A pair of a range under a new name.
    fn another(&mut self, now: Instant, at: usize) -> std::io::Result<Ports> {
        let slot = match self.spare(at) {
            Some(slot) => slot,
            None => self.bind(now, at)?,
        };
        self.generation += 1;
        let time = self.time(now);
        let (Some(pair), Some(shelf)) = (self.pairs.get_mut(slot), self.shelves.get_mut(at)) else {
            return Err(ErrorKind::NotFound.into());
        };
        shelf.ready += 1;
        pair.id = PairId(self.generation << 32 | slot as u64);
        pair.state = State::Ready;
        pair.end = End::new(time);
        Ok(Ports { pair: pair.id, address: pair.sockets.address, rtp: pair.sockets.port })
    }

    /// A pair that has rested. Those of a range that was left wait for its return.
    fn spare(&mut self, at: usize) -> Option<usize> {
        let Self { shelves, pairs, .. } = self;
        let Shelf { range, spare, .. } = shelves.get_mut(at)?;
        let is_told = |slot: &usize| pairs.get(*slot).is_some_and(|pair| range.contains(pair.sockets.port));
        let place = spare.iter().rposition(is_told)?;
        Some(spare.swap_remove(place))
    }

    fn bind(&mut self, now: Instant, at: usize) -> std::io::Result<usize> {
        let Some(shelf) = self.shelves.get_mut(at) else { return Err(ErrorKind::NotFound.into()) };
        if shelf.due.is_some_and(|due| now < due) {
            return Err(ErrorKind::AddrInUse.into());
        }
        let bound = shelf.range.bind();
        let wait = if shelf.ready == 0 { SOON } else { LATER };
        shelf.due = bound.is_err().then(|| now + wait);
        self.keep(now, at, bound?)
    }

    /// Listens to the sockets; where the system does not let us their place is free for another try.
    fn keep(&mut self, now: Instant, at: usize, mut sockets: Bound) -> std::io::Result<usize> {
        let slot = self.pairs.len();
        let registry = self.poll.registry();
        let registered = registry
            .register(&mut sockets.rtp, Token(slot * 2), Interest::READABLE)
            .and_then(|()| registry.register(&mut sockets.rtcp, Token(slot * 2 + 1), Interest::READABLE));
        if let Err(error) = registered {
            if let Some(shelf) = self.shelves.get_mut(at) {
                shelf.range.give_up(sockets.port);
                shelf.due = Some(now + if shelf.ready == 0 { SOON } else { LATER });
            }
            return Err(error);
        }
        let end = End::new(base::Instant::from_millis(0));
        let (id, state) = (PairId(slot as u64), State::Spare);
        self.pairs.push(Pair { id, sockets, range: at, state, end, joined: None, voice: None });
        Ok(slot)
    }

    fn count(&mut self, at: base::Instant) {
        if self.news.len() >= NEWS {
            return;
        }
        let used = self.pairs.iter().filter(|pair| matches!(pair.state, State::Used));
        let counted: Vec<_> = used.map(|pair| (pair.id, pair.end.counters(at))).collect();
        if !counted.is_empty() {
            self.news.push_back(News::Counted(counted));
        }
    }

    fn tell(&mut self) {
        while let Some(news) = self.news.pop_front() {
            match self.events.try_send(Event::Input(Input::Media(news))) {
                Ok(()) => {}
                Err(tokio::sync::mpsc::error::TrySendError::Full(Event::Input(Input::Media(news)))) => {
                    self.news.push_front(news);
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// Binds the first pairs, through the whole of each range if need be; what there is to tell of it.
    pub fn first_news(&mut self) -> Vec<News> {
        self.top_up(Instant::now());
        while self.shelves.iter_mut().any(|shelf| shelf.ready == 0 && shelf.range.has_untried()) {
            self.shelves.iter_mut().for_each(|shelf| shelf.due = None);
            self.top_up(Instant::now());
        }
        self.news.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods)]
    use super::*;

    /// As when `fs.epoll.max_user_watches` is reached: here one of the two is watched already.
    #[test]
    fn a_pair_that_cannot_be_listened_to_is_given_up_and_told() {
        let text = "[[sip.listen]]\ntransport = \"udp\"\naddress = \"127.0.0.1:5060\"\n\
            [media]\naddress = \"127.0.0.78\"\nports = \"48400-48403\"\n";
        let media = crate::config::load(text, std::path::Path::new("/")).unwrap().config.media;
        let (orders, events) = (std::sync::mpsc::sync_channel(1).1, tokio::sync::mpsc::channel(1).0);
        let mut plane = Plane::new(Poll::new().unwrap(), &media, orders, events, 0);
        let now = Instant::now();
        let mut sockets = plane.shelves[0].range.bind().unwrap();
        let port = sockets.port;
        plane.poll.registry().register(&mut sockets.rtcp, Token(9), Interest::READABLE).unwrap();
        let error = plane.keep(now, 0, sockets).unwrap_err();
        plane.scarce(0, &error);
        assert!(plane.pairs.is_empty() && !plane.shelves[0].range.has(port));
        assert!(matches!(&plane.news[0], News::Scarce { reason } if reason.contains("127.0.0.78")));
        // Not at every packet anew; and then it is there again.
        assert!(plane.bind(now, 0).is_err());
        let ports: Vec<u16> = (0..2)
            .map(|_| {
                let slot = plane.bind(now + SOON, 0).unwrap();
                plane.pairs[slot].sockets.port
            })
            .collect();
        assert!(ports.contains(&port), "{ports:?}");
    }
}

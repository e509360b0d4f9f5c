//! UDP listeners: read and written by the run loop itself, a batch per system call, without a hand-over.
//!
//! ICMP errors come from the error queue of the socket, so that "nobody listens there" reaches the node with the
//! destination it is about, at once (SPEC §5).

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::events::Event;
use super::mmsg;
use crate::admin::{Dropped, Metrics};
use crate::node::Input;
use crate::transport::ListenerId;

/// Kernel buffer of a socket, in bytes, each way: half a second of a flood. The kernel may grant less.
const KERNEL_BUFFER_BYTES: usize = 4 << 20;
/// Datagrams waiting here because the kernel's buffer is full; then the oldest goes (its sender retransmits).
const SEND_QUEUE: usize = 4096;

/// One `[[sip.listen]]` of UDP.
pub struct UdpListener {
    id: ListenerId,
    socket: Arc<AsyncFd<std::net::UdpSocket>>,
    /// To be sent, oldest first.
    waiting: VecDeque<(SocketAddr, Bytes)>,
    /// The kernel's buffer was full at the last try.
    is_stuck: bool,
}

/// Binds without a runtime, so that a wrong address is reported before anything runs.
pub fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // One listener, one address family: a v4 peer never shows as ::ffff:a.b.c.d.
        socket.set_only_v6(true)?;
    }
    socket.set_recv_buffer_size(KERNEL_BUFFER_BYTES)?;
    socket.set_send_buffer_size(KERNEL_BUFFER_BYTES)?;
    mmsg::keep_errors(socket.as_fd(), address.is_ipv6())?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

impl UdpListener {
    /// Takes over a socket of [`bind`]. ICMP errors go to `events`.
    pub fn start(id: ListenerId, socket: std::net::UdpSocket, events: mpsc::Sender<Event>) -> io::Result<Self> {
        // Not for writing: every datagram the kernel sends would wake us once more. A full buffer is rare, and tried again
        // by the loop.
        let socket = Arc::new(mmsg::watch(socket, Interest::READABLE | Interest::ERROR)?);
        tokio::spawn(watch_errors(id, Arc::clone(&socket), events));
        Ok(Self { id, socket, waiting: VecDeque::new(), is_stuck: false })
    }

    pub const fn id(&self) -> ListenerId {
        self.id
    }

    /// Ready when there is something to read. An error of the poll itself is found again, and reported, by the read.
    pub fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_read_ready(context).map(|_| ())
    }

    /// The kernel's buffer was full at the last [`Self::flush`], which is to be tried again soon.
    pub const fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Takes at most one batch; says how many datagrams are in `batch`.
    pub fn receive(&self, batch: &mut mmsg::Inbound) -> usize {
        let mut count = 0;
        let result = self.socket.try_io(Interest::READABLE, |socket| {
            count = match batch.receive(socket.as_fd()) {
                // A pending ICMP error of some earlier send; the error queue tells whose. Reading it cleared it.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => batch.receive(socket.as_fd())?,
                other => other?,
            };
            // A batch that is not full emptied the socket: say so, which spares a system call that would find nothing.
            // What arrives from here on is a new edge for epoll.
            if count < mmsg::BATCH { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        if let Err(error) = result
            && error.kind() != io::ErrorKind::WouldBlock
        {
            tracing::warn!(listener = self.id.0, %error, "reading a UDP socket");
        }
        count
    }

    /// Queues one datagram for [`Self::flush`].
    pub fn send(&mut self, remote: SocketAddr, bytes: Bytes, metrics: &Metrics) {
        if self.waiting.len() >= SEND_QUEUE {
            self.waiting.pop_front();
            metrics.dropped(Dropped::Datagram);
        }
        self.waiting.push_back((remote, bytes));
    }

    /// Sends what waits, as far as the kernel takes it. `unreachable` hears of destinations that have no route.
    pub fn flush(&mut self, metrics: &Metrics, mut unreachable: impl FnMut(Input)) {
        self.is_stuck = false;
        let mut is_retry = false;
        while !self.waiting.is_empty() {
            match mmsg::send(self.socket.get_ref().as_fd(), self.waiting.iter()) {
                Ok(sent) => {
                    self.waiting.drain(..sent.min(self.waiting.len()));
                    is_retry = false;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_stuck = true;
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The first error may be the ICMP answer to some earlier datagram: it says nothing about this one.
                Err(_) if !is_retry => is_retry = true,
                Err(error) => {
                    is_retry = false;
                    if let Some((remote, _)) = self.waiting.pop_front() {
                        tracing::debug!(%remote, %error, "a datagram cannot be sent");
                        if error.raw_os_error().is_some_and(is_of_the_datagram) {
                            metrics.dropped(Dropped::Datagram);
                        } else {
                            unreachable(Input::Unreachable { listener: self.id, remote });
                        }
                    }
                }
            }
        }
    }
}

/// Empties the error queue whenever there is something in it.
async fn watch_errors(id: ListenerId, socket: Arc<AsyncFd<std::net::UdpSocket>>, events: mpsc::Sender<Event>) {
    let mut found = Vec::new();
    while let Ok(guard) = socket.ready(Interest::ERROR).await {
        drop(guard);
        let _ = socket.try_io(Interest::ERROR, |socket| -> io::Result<()> {
            loop {
                match mmsg::next_error(socket.as_fd()) {
                    Ok((Some(remote), errno)) if means_unreachable(errno) => found.push(remote),
                    Ok(_) => {}
                    // `WouldBlock` from inside also tells tokio to wait for the next edge.
                    Err(_) => return Err(io::ErrorKind::WouldBlock.into()),
                }
            }
        });
        found.dedup();
        for remote in found.drain(..) {
            if events.send(Event::Input(Input::Unreachable { listener: id, remote })).await.is_err() {
                return;
            }
        }
    }
}

/// Errors that say the destination cannot be reached, rather than that one datagram was too large for the path.
fn means_unreachable(errno: i32) -> bool {
    matches!(errno, libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::EACCES)
}

/// Errors that say nothing of the destination: this datagram is longer than any can be, or the queue of the interface is full,
/// which a socket that asks for errors is told. What else waits for an answer from there is not to suffer for it.
const fn is_of_the_datagram(errno: i32) -> bool {
    matches!(errno, libc::EMSGSIZE | libc::ENOBUFS | libc::ENOMEM)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    fn start(address: &str) -> (UdpListener, SocketAddr, mpsc::Receiver<Event>) {
        let socket = bind(address.parse().unwrap()).unwrap();
        let local = socket.local_addr().unwrap();
        let (events, received) = mpsc::channel(16);
        (UdpListener::start(ListenerId(0), socket, events).unwrap(), local, received)
    }

    async fn receive_all(listener: &UdpListener, count: usize) -> Vec<(SocketAddr, Bytes)> {
        let mut batch = mmsg::Inbound::default();
        let mut all = Vec::new();
        while all.len() < count {
            tokio::time::timeout(Duration::from_secs(5), poll_fn(|context| listener.poll_ready(context)))
                .await
                .unwrap();
            let received = listener.receive(&mut batch);
            all.extend((0..received).filter_map(|at| batch.datagram(at)));
        }
        all
    }

    #[tokio::test]
    async fn datagrams_of_any_size_arrive_whole_and_in_order() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (mut one, one_address, _errors) = start(address);
            let (two, two_address, _errors) = start(address);
            let metrics = Metrics::new();
            let sizes: Vec<usize> = (0..100).map(|n| n * 13).chain([65_000]).collect();
            for size in &sizes {
                one.send(two_address, vec![b'x'; *size].into(), &metrics);
            }
            one.flush(&metrics, |input| panic!("{input:?}"));
            let received = receive_all(&two, sizes.len()).await;
            assert!(received.iter().all(|(remote, _)| *remote == one_address));
            assert_eq!(received.iter().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>(), sizes);
        }
    }

    #[tokio::test]
    async fn nobody_there_is_told_with_its_address_and_costs_no_other_datagram() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (mut one, _, mut errors) = start(address);
            let (two, two_address, _errors) = start(address);
            let nobody = std::net::UdpSocket::bind(address).unwrap().local_addr().unwrap();
            let metrics = Metrics::new();
            for _ in 0..3 {
                one.send(nobody, Bytes::from_static(b"anyone?"), &metrics);
                one.flush(&metrics, |input| panic!("{input:?}"));
                one.send(two_address, Bytes::from_static(b"hello"), &metrics);
                one.flush(&metrics, |input| panic!("{input:?}"));
            }
            assert_eq!(receive_all(&two, 3).await.len(), 3);
            let event = tokio::time::timeout(Duration::from_secs(5), errors.recv()).await.unwrap().unwrap();
            match event {
                Event::Input(Input::Unreachable { listener, remote }) => {
                    assert_eq!((listener, remote), (ListenerId(0), nobody));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_destination_without_route_is_told_at_once() {
        let (mut one, _, _errors) = start("127.0.0.1:0");
        let (two, two_address, _errors) = start("127.0.0.1:0");
        let metrics = Metrics::new();
        // A loopback source cannot leave the machine: EINVAL or ENETUNREACH from the send itself.
        let outside = "192.0.2.1:5060".parse().unwrap();
        one.send(outside, Bytes::from_static(b"lost"), &metrics);
        one.send(two_address, Bytes::from_static(b"hello"), &metrics);
        let mut told = Vec::new();
        one.flush(&metrics, |input| told.push(input));
        assert!(matches!(told.as_slice(), [Input::Unreachable { remote, .. }] if *remote == outside));
        assert_eq!(receive_all(&two, 1).await.len(), 1);
    }

    /// One phone may send what no datagram can hold: the calls of others to the same trunk are not to be taken from it for that.
    #[tokio::test]
    async fn a_datagram_that_is_too_long_says_nothing_of_its_destination() {
        let (mut one, _, _errors) = start("127.0.0.1:0");
        let (two, two_address, _errors) = start("127.0.0.1:0");
        let metrics = Metrics::new();
        one.send(two_address, vec![b'x'; 65_508].into(), &metrics);
        one.send(two_address, Bytes::from_static(b"hello"), &metrics);
        one.flush(&metrics, |input| panic!("{input:?}"));
        assert_eq!(receive_all(&two, 1).await.len(), 1);
        assert!(metrics.render().contains(r#"sosbridge_dropped_total{what="datagram"} 1"#));
        assert!(is_of_the_datagram(libc::ENOBUFS) && !is_of_the_datagram(libc::ENETUNREACH));
    }

    #[tokio::test]
    async fn the_queue_drops_its_oldest_at_the_bound() {
        let (mut one, _, _errors) = start("127.0.0.1:0");
        let metrics = Metrics::new();
        for n in 0..=SEND_QUEUE {
            one.send("127.0.0.1:9".parse().unwrap(), n.to_string().into(), &metrics);
        }
        assert_eq!(one.waiting.len(), SEND_QUEUE);
        assert_eq!(one.waiting.front().map(|(_, bytes)| bytes.clone()), Some(Bytes::from_static(b"1")));
        assert!(metrics.render().contains(r#"sosbridge_dropped_total{what="datagram"} 1"#));
    }
}

//! The system calls that neither std nor socket2 offer in safe form: batches of datagrams, the error queue of a UDP
//! socket, its registration with the runtime, the limit on open files, and the place of a thread before others. The only
//! `unsafe` of the crate.
//!
//! Soundness, for all of it: every pointer handed to the kernel is made right before the call, from a live exclusive
//! borrow (or, for bytes to send, a shared one: the kernel only reads them) that lasts until the call is back; the
//! kernel keeps none. Every length is that of the allocation. What the kernel wrote is read only as far as it says it wrote.
#![allow(unsafe_code, reason = "see the module documentation")]

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd};

use bytes::Bytes;
use socket2::{SockAddr, SockAddrStorage};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::base::limits;

/// Datagrams taken from, or given to, the kernel in one system call.
pub const BATCH: usize = 32;
/// Room for one datagram; one byte more than the largest, so that none is cut unseen.
const SLOT: usize = limits::MESSAGE_BYTES + 1;
/// Priority of a thread that runs before others: above those of the lowest real-time priority, below the kernel's own.
const BEFORE_OTHERS: libc::c_int = 10;

/// Room for one batch of received datagrams, reused.
pub struct Inbound {
    buffers: Vec<u8>,
    names: Vec<SockAddrStorage>,
    /// Length of each datagram and of its sender's address, as the kernel told.
    lengths: Vec<(usize, libc::socklen_t)>,
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            buffers: vec![0; BATCH * SLOT],
            names: (0..BATCH).map(|_| SockAddrStorage::zeroed()).collect(),
            lengths: vec![(0, 0); BATCH],
        }
    }
}

impl Inbound {
    /// Takes up to [`BATCH`] waiting datagrams from a non-blocking socket. `WouldBlock` when none waits.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        // SAFETY: all-zero is a valid mmsghdr and a valid iovec (null pointers, zero lengths).
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let mut vectors: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
        let slots = self.buffers.chunks_exact_mut(SLOT).zip(&mut self.names);
        for ((buffer, name), (header, vector)) in slots.zip(headers.iter_mut().zip(&mut vectors)) {
            vector.iov_base = buffer.as_mut_ptr().cast();
            vector.iov_len = buffer.len();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = name.size_of();
        }
        // SAFETY: module documentation; BATCH headers, each with one vector over its own slot and its own name.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (kept, header) in self.lengths.iter_mut().zip(&headers).take(count) {
            *kept = (header.msg_len as usize, header.msg_hdr.msg_namelen);
        }
        Ok(count)
    }

    /// Datagram `at` of the last batch with its sender, copied into one allocation of its own size.
    pub fn datagram(&self, at: usize) -> Option<(SocketAddr, Bytes)> {
        let (length, name_length) = *self.lengths.get(at)?;
        let bytes = self.buffers.get(at * SLOT..)?.get(..length)?;
        let remote = address(self.names.get(at)?, name_length)?;
        Some((remote, Bytes::copy_from_slice(bytes)))
    }
}

/// Gives up to [`BATCH`] datagrams to the kernel; says how many it took. An error is about the first, or about the
/// socket (a pending ICMP error): then none was sent.
pub fn send<'a>(socket: BorrowedFd<'_>, datagrams: impl Iterator<Item = &'a (SocketAddr, Bytes)>) -> io::Result<usize> {
    // SAFETY: all-zero is a valid mmsghdr and a valid iovec.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    let mut vectors: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
    let mut names: [MaybeUninit<SockAddr>; BATCH] = [const { MaybeUninit::uninit() }; BATCH];
    let mut count: libc::c_uint = 0;
    let slots = headers.iter_mut().zip(&mut vectors).zip(&mut names);
    for (((header, vector), name), (remote, bytes)) in slots.zip(datagrams) {
        let name = name.write(SockAddr::from(*remote));
        vector.iov_base = bytes.as_ptr().cast_mut().cast();
        vector.iov_len = bytes.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = std::ptr::from_ref(name).cast_mut().cast();
        header.msg_hdr.msg_namelen = name.len();
        count += 1;
    }
    // SAFETY: module documentation; `count` headers were filled, and sendmmsg reads names and bytes but does not write them.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Registers a non-blocking socket with the runtime.
pub fn watch(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    // SAFETY: a UdpSocket owns its file descriptor and always names the same one until it is dropped, which AsyncFd does
    // after taking it off the reactor; nobody gets it mutably or out of there.
    let watched = unsafe { AsyncFd::register_with_interest(socket, interest) };
    watched.map_err(|error| error.into_parts().1)
}

/// Asks the kernel to keep ICMP errors in the error queue of the socket, with the destination they are about.
pub fn keep_errors(socket: BorrowedFd<'_>, is_ipv6: bool) -> io::Result<()> {
    let (level, option) =
        if is_ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) } else { (libc::IPPROTO_IP, libc::IP_RECVERR) };
    let on: libc::c_int = 1;
    // SAFETY: the option value is an int that outlives the call.
    let result = unsafe {
        let value = std::ptr::from_ref(&on).cast();
        libc::setsockopt(socket.as_raw_fd(), level, option, value, size_of::<libc::c_int>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes one error from the error queue: the destination that was sent to, and the error number. `WouldBlock` when empty.
pub fn next_error(socket: BorrowedFd<'_>) -> io::Result<(Option<SocketAddr>, i32)> {
    /// Control messages are aligned like their header.
    #[repr(C, align(8))]
    struct Control([u8; 512]);
    let mut control = Control([0; 512]);
    let mut name = SockAddrStorage::zeroed();
    // SAFETY: all-zero is a valid msghdr. No data is asked for: no vectors.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = std::ptr::from_mut(&mut name).cast();
    header.msg_namelen = name.size_of();
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    // SAFETY: module documentation.
    let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut errno = 0;
    // SAFETY: the CMSG macros walk the control buffer within the length the kernel wrote; the payload of RECVERR is a
    // sock_extended_err, read by copy without assuming its alignment, and only if its header says it is whole.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(&header);
        while let Some(message) = at.as_ref() {
            let is_error = (message.cmsg_level == libc::IPPROTO_IP && message.cmsg_type == libc::IP_RECVERR)
                || (message.cmsg_level == libc::IPPROTO_IPV6 && message.cmsg_type == libc::IPV6_RECVERR);
            let whole = libc::CMSG_LEN(size_of::<libc::sock_extended_err>() as u32) as usize;
            if is_error && message.cmsg_len >= whole {
                let error: libc::sock_extended_err =
                    libc::CMSG_DATA(at).cast::<libc::sock_extended_err>().read_unaligned();
                errno = i32::try_from(error.ee_errno).unwrap_or(0);
            }
            at = libc::CMSG_NXTHDR(&header, at);
        }
    }
    Ok((address(&name, header.msg_namelen), errno))
}

/// Where the system does not say how many files may be open.
pub const USUAL_OPEN_FILES: u64 = 1024;

/// Raises the limit on open files to what the administrator allows; says the limit now in force.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit, written by the first call and read by the second.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return Err(io::Error::last_os_error());
        }
        limit.rlim_cur = limit.rlim_max;
        if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

/// Gives the calling thread the processor as soon as it wants it, before all ordinary threads (`SCHED_RR`, sched(7)): for one that
/// does little at a time, and for whom a wait of some milliseconds is heard.
///
/// # Errors
/// The user may not (`CAP_SYS_NICE`, or `RLIMIT_RTPRIO` of [`BEFORE_OTHERS`]); the thread is as it was.
pub fn run_before_others() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: BEFORE_OTHERS };
    // SAFETY: `priority` is a valid sched_param, which the call only reads; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &priority) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn address(storage: &SockAddrStorage, length: libc::socklen_t) -> Option<SocketAddr> {
    let mut copy = SockAddrStorage::zeroed();
    let length = length.min(copy.size_of());
    // SAFETY: both are storages of the same size, `length` at most that; the copy holds an address the kernel wrote with
    // that length, or zeroes (family 0, of which `as_socket` makes None).
    let whole = unsafe {
        let to: *mut u8 = std::ptr::from_mut(&mut copy).cast();
        std::ptr::copy_nonoverlapping(std::ptr::from_ref(storage).cast::<u8>(), to, length as usize);
        SockAddr::new(copy, length)
    };
    whole.as_socket()
}

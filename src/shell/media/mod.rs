//! The data plane of media: sockets, a thread of its own, and voices (SPEC §8).
//!
//! The contract with the node is in [`crate::media::order`]. Nothing of a call waits here: ports are bound before they are
//! wanted, orders and news go through queues.

mod plane;
mod ports;
mod prompts;
mod voice;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use mio::{Poll, Waker};
use tokio::sync::mpsc::Sender;

use self::plane::{Plane, WAKE};
use super::events::Event;
use super::mmsg;
use crate::config::Media;
use crate::media::{News, Order};

/// Batches of orders that wait for the data plane; one batch is what one input to the node has caused.
const ORDERS: usize = 16 * 1024;

/// The way to the data plane.
pub struct MediaPlane {
    orders: SyncSender<Vec<Order>>,
    waker: Arc<Waker>,
    batch: Vec<Order>,
}

impl MediaPlane {
    /// Starts the thread; the first ports are bound when this returns, and are in the news.
    ///
    /// # Errors
    /// The operating system gives no thread or no epoll.
    pub fn start(media: &Media, events: Sender<Event>, random: u64) -> io::Result<(Self, Vec<News>)> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (orders, receiver) = sync_channel(ORDERS);
        let mut plane = Plane::new(poll, media, receiver, events, random);
        let news = plane.first_news();
        std::thread::Builder::new().name("media".into()).spawn(move || {
            go_first();
            plane.run();
        })?;
        Ok((Self { orders, waker, batch: Vec::new() }, news))
    }

    /// Takes an order; [`MediaPlane::flush`] hands it over.
    pub fn order(&mut self, order: Order) {
        self.batch.push(order);
    }

    /// Hands over what was ordered; false when orders were lost, because the data plane does not take them any more.
    pub fn flush(&mut self) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        match self.orders.try_send(std::mem::take(&mut self.batch)) {
            Ok(()) => self.waker.wake().is_ok(),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

/// Packets wait for no other thread, where another processor is left for those: signalling must have its turn, too.
fn go_first() {
    if std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1)
        && let Err(error) = mmsg::run_before_others()
    {
        tracing::info!(%error, "media has no priority over other programs: when the machine is busy, sound may be late");
    }
}

impl Drop for MediaPlane {
    /// The thread finds nobody at the other end, and ends.
    fn drop(&mut self) {
        let (orders, _) = sync_channel(1);
        self.orders = orders;
        let _ = self.waker.wake();
    }
}

//! What the publisher has under way: messages that are waiting or outstanding, and the batches that wait for their confirms.
//!
//! A queue may reject (`basic.nack`) what it is sent. None of ours has a limit, so that means that its members are not to
//! be reached, and whoever publishes again succeeds once they are. But not always on the same channel. Until 2023
//! (rabbitmq-server#9221) RabbitMQ's channels ask one node something before they send a queue its first message: the node
//! of its leader, as noted when the channel first looked. If that node has died and no successor is elected and noted yet,
//! the channel rejects all that the queue is sent until the node is back. One that is opened later sees the new leader.
//! So while a queue does nothing but reject, one channel after the other is tried. What is outstanding on the old ones is
//! still awaited there. A node may also go on for minutes without noting a leader that the others know. So after some
//! channels the connection is given up, and the next host is connected to.
//!
//! A node that hangs instead answers that question after a minute (`net_ticktime`). Until then its channels are silent,
//! which [`super::publisher`] looks after.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::BasicPublishOptions,
    types::{FieldTable, ShortString},
};
use tokio::{sync::oneshot, time::Instant};

use super::{
    super::{Error, Message, Result},
    DELAY, Link, PUBLISHED,
    publisher::{Batch, SILENCE},
    unavailable,
};
use crate::clock;

/// Confirms that are awaited at the same time. More only adds latency.
const OUTSTANDING: usize = 512;

/// How long a queue may reject everything before another channel is tried.
const REJECTING: Duration = Duration::from_secs(1);

/// How long a queue may reject everything, by whichever channels, before another host is tried.
const GIVEN_UP: Duration = Duration::from_secs(8);

/// A queue on the broker that has taken nothing since it began to reject.
struct Rejecting {
    since: Instant,
    /// Since when it is by the present channel; None if it has not answered by that yet.
    here_since: Option<Instant>,
}

/// A batch of which messages are waiting or outstanding.
struct Open {
    left: usize,
    failure: Option<Error>,
    answer: oneshot::Sender<Result<()>>,
}

/// What became of one publish.
pub(super) struct Landed {
    batch: u64,
    number: u64,
    /// The queue on the broker that was to take it, and by which of the channels.
    queue: ShortString,
    channel: u64,
    confirmation: lapin::Result<Confirmation>,
}

/// What stands on the publisher's channel, and on those that it replaced.
pub(super) struct Traffic<'a> {
    link: &'a Link,
    channel: Channel,
    /// Counts channels.
    current: u64,
    /// Messages that are outstanding on channels that were replaced, and since when there are any.
    behind: usize,
    behind_since: Instant,
    waiting: VecDeque<(u64, Message)>,
    pub(super) flying: FuturesUnordered<BoxFuture<'static, Landed>>,
    open: HashMap<u64, Open>,
    /// Numbers of messages that the broker sent back.
    returned: HashSet<u64>,
    rejecting: HashMap<ShortString, Rejecting>,
    /// Counts batches and messages.
    number: u64,
}

impl<'a> Traffic<'a> {
    pub(super) fn new(link: &'a Link, channel: Channel) -> Self {
        let (waiting, flying) = (VecDeque::new(), FuturesUnordered::new());
        Self {
            link,
            channel,
            current: 0,
            behind: 0,
            behind_since: Instant::now(),
            waiting,
            flying,
            open: HashMap::new(),
            returned: HashSet::new(),
            rejecting: HashMap::new(),
            number: 0,
        }
    }

    /// Whether another batch may come in.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.is_empty() && self.flying.len() < OUTSTANDING
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(super) fn accept(&mut self, batch: Batch) {
        if batch.answer.is_closed() {
            return; // the caller gave up while the broker was away or slow: do not publish what it will publish again
        }
        let number = self.next_number();
        self.open.insert(
            number,
            Open {
                left: batch.messages.len(),
                failure: None,
                answer: batch.answer,
            },
        );
        self.waiting
            .extend(batch.messages.into_iter().map(|message| (number, message)));
    }

    /// Sends off what is waiting, as far as there is room.
    pub(super) fn launch(&mut self) {
        while self.flying.len() < OUTSTANDING
            && let Some((batch, message)) = self.waiting.pop_front()
        {
            let number = self.next_number();
            let route = self.link.topology.route(message.delay);
            let key: ShortString = message.queue.to_string().into();
            // A delayed message goes to a wait queue, which has the name of its exchange.
            let queue = if message.delay.is_zero() {
                key.clone()
            } else {
                route.exchange.clone()
            };
            let (channel, current) = (self.channel.clone(), self.current);
            let mut flight = async move {
                let options = BasicPublishOptions {
                    mandatory: true,
                    ..BasicPublishOptions::default()
                };
                let mut properties = properties(number, message.delay);
                if let Some(expiration) = route.expiration {
                    properties = properties.with_expiration(expiration);
                }
                let confirmation = match channel
                    .basic_publish(route.exchange, key, options, &message.body, properties)
                    .await
                {
                    Ok(confirm) => confirm.await,
                    Err(error) => Err(error),
                };
                Landed {
                    batch,
                    number,
                    queue,
                    channel: current,
                    confirmation,
                }
            }
            .boxed();
            // The first poll numbers the message and queues its frames: it must happen here, one after the other.
            match flight.as_mut().now_or_never() {
                Some(landed) => self.flying.push(async move { landed }.boxed()),
                None => self.flying.push(flight),
            }
        }
    }

    /// Settles this one and all others that have landed. True if the broker sent a message back.
    ///
    /// lapin hands a message that was sent back to whichever confirm completes next, not to the message's own. So which
    /// one it was is told by the number that it carries; and a confirm that brings a foreign one counts as refused, too,
    /// since its own may be still to come. All that have landed are looked at before any is answered: the confirm that
    /// brings the message back may be a later one in the same frame.
    pub(super) fn settle(&mut self, first: Landed) -> bool {
        let mut landed = vec![first];
        while let Some(Some(next)) = self.flying.next().now_or_never() {
            landed.push(next);
        }
        let mut returned = false;
        for Landed { confirmation, .. } in &landed {
            if let Ok(Confirmation::Ack(Some(message)) | Confirmation::Nack(Some(message))) =
                confirmation
            {
                returned = true;
                let id = message.delivery.properties.message_id().as_ref();
                self.returned
                    .extend(id.and_then(|id| id.as_str().parse::<u64>().ok()));
            }
        }
        for Landed {
            batch,
            number,
            queue,
            channel,
            confirmation,
        } in landed
        {
            match &confirmation {
                _ if channel != self.current => self.behind -= 1,
                Ok(Confirmation::Ack(_)) => {
                    self.rejecting.remove(&queue);
                }
                Ok(Confirmation::Nack(_)) => {
                    let now = Instant::now();
                    let rejecting = self.rejecting.entry(queue).or_insert(Rejecting {
                        since: now,
                        here_since: None,
                    });
                    rejecting.here_since.get_or_insert(now);
                }
                _ => {}
            }
            let came_back = self.returned.remove(&number);
            let failure = match confirmation {
                Ok(Confirmation::Ack(None)) if !came_back => None,
                Ok(Confirmation::Ack(_)) => Some(Error::Refused(
                    "no queue is bound to take the message".to_owned(),
                )),
                Ok(Confirmation::Nack(_)) => {
                    Some(Error::Refused("the broker rejected the message".to_owned()))
                }
                Ok(Confirmation::NotRequested) => Some(Error::Refused(
                    "the channel is not in confirm mode".to_owned(),
                )),
                Err(error) => Some(unavailable(error)),
            };
            self.close(batch, failure);
        }
        if self.flying.is_empty() {
            self.returned.clear();
        }
        returned
    }

    /// One message of the batch is done with.
    fn close(&mut self, batch: u64, failure: Option<Error>) {
        let Some(open) = self.open.get_mut(&batch) else {
            return;
        };
        open.left -= 1;
        if open.failure.is_none() {
            open.failure = failure;
        }
        if open.left == 0
            && let Some(open) = self.open.remove(&batch)
        {
            drop(open.answer.send(open.failure.map_or(Ok(()), Err)));
        }
    }

    /// Whether the connection is of no further use: its channel is closed, a queue rejects everything by whichever channel,
    /// or the broker keeps messages from before waiting. So a channel that is held up by each of its messages holds up no
    /// caller for longer than [`SILENCE`].
    pub(super) fn is_lost(&self) -> bool {
        let is_held_up = self.behind > 0 && self.behind_since.elapsed() > SILENCE;
        let mut rejecting = self.rejecting.values();
        let is_in_vain =
            rejecting.any(|queue| queue.here_since.is_some() && queue.since.elapsed() > GIVEN_UP);
        is_held_up || is_in_vain || !self.channel.status().connected()
    }

    /// Whether some queue does nothing but reject, so that another channel is to be tried.
    pub(super) fn wants_channel(&self) -> bool {
        let mut since = self.rejecting.values().filter_map(|queue| queue.here_since);
        since.any(|since| since.elapsed() > REJECTING)
    }

    /// Sends off by another channel from now on.
    pub(super) fn go_on_by(&mut self, channel: Channel) {
        if self.behind == 0 {
            self.behind_since = Instant::now();
        }
        self.behind = self.flying.len();
        self.channel = channel;
        self.current += 1;
        for queue in self.rejecting.values_mut() {
            queue.here_since = None;
        }
    }

    /// The connection is lost: nobody knows what of this has arrived.
    pub(super) fn fail(self) {
        for open in self.open.into_values() {
            drop(open.answer.send(Err(Error::Unavailable(
                "the connection was lost before the confirm".into(),
            ))));
        }
    }
}

fn properties(number: u64, delay: Duration) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(PUBLISHED.into(), clock::now().as_millisecond().into());
    if !delay.is_zero() {
        headers.insert(
            DELAY.into(),
            i64::try_from(delay.as_millis()).unwrap_or(i64::MAX).into(),
        );
    }
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_message_id(number.to_string().into())
        .with_headers(headers)
}

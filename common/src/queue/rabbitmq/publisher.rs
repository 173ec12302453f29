//! The one task that publishes, on a channel that only it uses.
//!
//! One task, because lapin mixes up the confirms of tasks that publish on one channel from several threads: a rejected
//! message is then reported as confirmed. Here every publish is first polled by this task, so that the order in which
//! lapin numbers them is the order in which they leave.
//!
//! A batch is answered when the last of its confirms has come. When the connection is lost, all that is outstanding
//! fails at once, the task connects again for ever, and what arrives meanwhile fails at once, too.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::StreamExt;
use lapin::{Channel, Connection, options::ConfirmSelectOptions};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, interval, sleep},
};

use super::{
    super::{Error, Message, Result},
    ANSWER, DECLARE, Link,
    traffic::Traffic,
    within,
};

/// A broker that confirms nothing for so long is given up, as if the connection were lost.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// A queue that was deleted on the broker is declared again, but not more often than this.
const MEND: Duration = Duration::from_secs(1);

/// How often a lost connection is looked for while nothing is published.
const LOOK: Duration = Duration::from_millis(250);

/// What a caller wants published, and where it waits.
pub(super) struct Batch {
    pub(super) messages: Vec<Message>,
    pub(super) answer: oneshot::Sender<Result<()>>,
}

pub(super) struct Publisher {
    link: Arc<Link>,
    inbox: mpsc::Receiver<Batch>,
    current: watch::Sender<Option<Arc<Connection>>>,
}

impl Publisher {
    pub(super) fn new(
        link: Arc<Link>,
        inbox: mpsc::Receiver<Batch>,
        current: watch::Sender<Option<Arc<Connection>>>,
    ) -> Self {
        Self {
            link,
            inbox,
            current,
        }
    }

    /// Publishes until the adapter is dropped.
    pub(super) async fn run(mut self, first: Opened) {
        let mut opened = first;
        loop {
            self.current.send_replace(Some(opened.connection.clone()));
            self.serve(opened).await;
            self.current.send_replace(None);
            if self.inbox.is_closed() {
                return;
            }
            tracing::warn!("the connection for publishing is lost, connecting again");
            let Some(again) = self.reconnect().await else {
                return;
            };
            opened = again;
        }
    }

    /// Connects again for ever. None when the adapter was dropped.
    async fn reconnect(&mut self) -> Option<Opened> {
        let delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(5));
        let mut delays = delays.with_jitter().without_max_times().build();
        let link = self.link.clone();
        let connecting = async {
            // A broker that is away for an hour is one line, not a thousand.
            let mut last = String::new();
            loop {
                match Opened::open(&link).await {
                    Ok(opened) => {
                        tracing::info!("connected for publishing again");
                        return opened;
                    }
                    Err(error) => {
                        let why = error.to_string();
                        if last != why {
                            tracing::warn!(
                                error = why,
                                "the broker is not reachable; trying for ever"
                            );
                            last = why;
                        }
                        sleep(delays.next().unwrap_or(LOOK)).await;
                    }
                }
            }
        };
        tokio::pin!(connecting);
        loop {
            tokio::select! {
                opened = &mut connecting => return Some(opened),
                batch = self.inbox.recv() => drop(batch?.answer.send(Err(Error::Unavailable("the broker is away".into())))),
            }
        }
    }

    /// Publishes on this connection until it is lost or the adapter dropped.
    async fn serve(&mut self, opened: Opened) {
        let Opened {
            connection,
            channel,
        } = opened;
        let mut traffic = Traffic::new(&self.link, channel);
        let mut look = interval(LOOK);
        let mut heard = Instant::now();
        let mut mended = None;
        loop {
            traffic.launch();
            tokio::select! {
                biased;
                Some(landed) = traffic.flying.next() => {
                    heard = Instant::now();
                    if traffic.settle(landed) && mended.is_none_or(|at: Instant| at.elapsed() > MEND) {
                        mended = Some(Instant::now());
                        if let Err(error) = within(DECLARE, self.link.topology.declare(&connection)).await {
                            tracing::warn!(%error, "a queue is missing on the broker, and could not be declared again");
                        }
                    }
                }
                batch = self.inbox.recv(), if traffic.has_room() => {
                    if traffic.flying.is_empty() {
                        heard = Instant::now();
                    }
                    let Some(batch) = batch else { return };
                    traffic.accept(batch);
                }
                _ = look.tick() => {}
            }
            if traffic.wants_channel() {
                tracing::debug!("a queue rejects all that it is sent, trying by another channel");
                match confirming(&connection).await {
                    Ok(channel) => traffic.go_on_by(channel),
                    Err(_) => return traffic.fail(),
                }
            }
            let silent = !traffic.flying.is_empty() && heard.elapsed() > SILENCE;
            if silent || traffic.is_lost() || !connection.status().connected() {
                return traffic.fail();
            }
        }
    }
}

/// A connection on which everything is declared, and a channel that confirms.
pub(super) struct Opened {
    pub(super) connection: Arc<Connection>,
    channel: Channel,
}

impl Opened {
    pub(super) async fn open(link: &Link) -> Result<Self> {
        let connection = link.connect().await?;
        within(DECLARE, link.topology.declare(&connection)).await?;
        let channel = confirming(&connection).await?;
        Ok(Self {
            connection: Arc::new(connection),
            channel,
        })
    }
}

/// Opens a channel that confirms.
async fn confirming(connection: &Connection) -> Result<Channel> {
    within(ANSWER, async {
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(channel)
    })
    .await
}

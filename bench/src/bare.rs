//! The ceilings of ingress: the least that could answer the same requests, each as a process of its own on one thread,
//! as ingress is. They check nothing, keep no count and survive no reconnection.
//!
//! - `handler` reads the body and answers.
//! - `gathered` answers after a confirm, of one message that holds all that has arrived while the last was on its way.
//! - `each` answers after a confirm of a message of its own, up to 512 of them on their way. One task does all the
//!   publishing, since lapin mixes up the confirms of several.

use std::sync::Arc;

use anyhow::{Context, ensure};
use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::any};
use bytes::BytesMut;
use clap::ValueEnum;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use lapin::{Channel, Confirmation, options::BasicPublishOptions};
use tests::binary;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
    sync::{mpsc, oneshot},
};

use crate::{broker, world::address};

/// What ingress gathers at most, and has on its way at most.
const GATHERED: usize = 256;
const ON_THE_WAY: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bare {
    Handler,
    Gathered,
    Each,
}

/// One of them, running.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: std::net::SocketAddr,
}

impl Running {
    /// Starts it, over this queue on this broker.
    pub(crate) async fn start(bare: Bare, url: &str, queue: &str) -> anyhow::Result<Self> {
        let name = bare.to_possible_value().context("it has a name")?;
        let mut child = Command::new(binary("bench"))
            .args(["--bare", name.get_name(), "--broker", url, "--queue", queue])
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("this same program")?;
        let output = child.stdout.take().context("its output")?;
        let said = BufReader::new(output).lines().next_line().await?;
        let address = address(&said.context("a ceiling does not start")?)?;
        Ok(Self { child, address })
    }

    pub(crate) fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("a ceiling has ended")
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("a ceiling has ended")
    }
}

/// Whoever waits for the confirm.
type Waiting = (Bytes, oneshot::Sender<bool>);

/// Serves, and first tells its address on standard output.
#[expect(clippy::print_stdout, reason = "whoever started it reads its address")]
pub(crate) async fn serve(bare: Bare, url: &str, queue: &str) -> anyhow::Result<()> {
    let (to, arrivals) = mpsc::channel(4096);
    let app = match bare {
        Bare::Handler => Router::new().fallback(any(answer_at_once)),
        Bare::Gathered | Bare::Each => Router::new().fallback(any(answer)).with_state(Arc::new(to)),
    };
    let publish = async {
        match bare {
            Bare::Handler => std::future::pending().await,
            Bare::Gathered => gathered(&broker::confirming(url).await?, queue, arrivals).await,
            Bare::Each => each(&broker::confirming(url).await?, queue, arrivals).await,
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    tokio::select! {
        served = async { axum::serve(listener, app).await } => Ok(served?),
        published = publish => published,
    }
}

/// What ingress answers is as long.
const RECEIVED: &str = r#"{"received":true,"id":"0192a3b4-c5d6-7e8f-9012-3456789abcde"}"#;

async fn answer_at_once(body: Bytes) -> (StatusCode, &'static str) {
    drop(body);
    (StatusCode::OK, RECEIVED)
}

async fn answer(
    State(to): State<Arc<mpsc::Sender<Waiting>>>,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let (confirmed, confirm) = oneshot::channel();
    let sent = to.send((body, confirmed)).await.is_ok();
    if sent && confirm.await == Ok(true) {
        (StatusCode::OK, RECEIVED)
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "")
    }
}

async fn gathered(
    channel: &Channel,
    queue: &str,
    mut arrivals: mpsc::Receiver<Waiting>,
) -> anyhow::Result<()> {
    let mut waiting = Vec::with_capacity(GATHERED);
    while arrivals.recv_many(&mut waiting, GATHERED).await > 0 {
        let mut message = BytesMut::new();
        for (body, _) in &waiting {
            message.extend_from_slice(body);
        }
        let is_confirmed = publish(channel, queue, &message).await?;
        for (_, confirmed) in waiting.drain(..) {
            confirmed.send(is_confirmed).ok();
        }
    }
    Ok(())
}

async fn each(
    channel: &Channel,
    queue: &str,
    mut arrivals: mpsc::Receiver<Waiting>,
) -> anyhow::Result<()> {
    let mut flying = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(landed) = flying.next() => {
                let (is_confirmed, confirmed): (anyhow::Result<bool>, oneshot::Sender<bool>) = landed;
                confirmed.send(is_confirmed?).ok();
            }
            arrived = arrivals.recv(), if flying.len() < ON_THE_WAY => {
                let Some((body, confirmed)) = arrived else { return Ok(()) };
                let mut flight = async move {
                    (publish(channel, queue, &body).await, confirmed)
                }.boxed();
                // Its first poll, here, is what numbers it.
                match flight.as_mut().now_or_never() {
                    Some(landed) => flying.push(async move { landed }.boxed()),
                    None => flying.push(flight),
                }
            }
        }
    }
}

/// Persistent and confirmed.
async fn publish(channel: &Channel, queue: &str, message: &[u8]) -> anyhow::Result<bool> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let sent = channel.basic_publish(
        "".into(),
        queue.into(),
        options,
        message,
        broker::persistent(),
    );
    let confirmation = sent.await?.await?;
    ensure!(
        confirmation != Confirmation::NotRequested,
        "the channel does not confirm"
    );
    Ok(confirmation == Confirmation::Ack(None))
}

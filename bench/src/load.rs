//! The load: requests over so many connections, each with one request under way, as fast as they are answered or at a
//! steady rate. It is bounded in count and in time.
//!
//! Every 200 is counted. At a steady rate a request's latency begins when it was due, not when it could be sent: a
//! server that stalls is not spared what would have come meanwhile. Timers are good to a millisecond.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    time::Duration,
};

use futures_util::future::try_join_all;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until},
};

use crate::{latency::Latency, wire::Wire};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Each connection sends as soon as it is answered.
    Unbounded,
    /// So many requests a second, over all connections.
    PerSecond(f64),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    /// At most so many requests, and nothing new after that time.
    pub(crate) count: u64,
    pub(crate) time: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) ok: u64,
    pub(crate) refused: u64,
    pub(crate) took: Duration,
    /// Of those that were answered 200.
    pub(crate) latency: Latency,
}

impl Answered {
    pub(crate) fn rate(&self) -> f64 {
        rate(self.ok, self.took)
    }
}

/// So many in that time, a second.
pub(crate) fn rate(count: u64, took: Duration) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "no count here comes near 2 to the 52nd"
    )]
    let count = count as f64;
    count / took.as_secs_f64()
}

/// Sends. `write` puts the `n`th request, whole, into an empty buffer; `ok` is told of each 200 as it comes, and its body.
pub(crate) async fn run(
    plan: &Plan,
    write: impl Fn(u64, &mut Vec<u8>),
    ok: impl Fn(u64, &[u8]),
) -> io::Result<Answered> {
    let opened = try_join_all((0..plan.connections).map(|_| TcpStream::connect(plan.address)));
    let opened = opened.await?;
    let begun = Instant::now();
    let (next, oks, refused) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let latency = RefCell::new(Latency::default());
    let one = async |stream| {
        let (mut wire, mut request) = (Wire::new(stream)?, vec![]);
        while let Some((n, due)) = plan.next(&next, begun).await {
            request.clear();
            write(n, &mut request);
            wire.write(&request).await?;
            let answer = wire.read().await?;
            let answer = answer.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            if answer.status() == Some(200) {
                oks.set(oks.get() + 1);
                latency.borrow_mut().record(due.elapsed());
                ok(n, answer.body);
            } else {
                refused.set(refused.get() + 1);
            }
        }
        Ok::<_, io::Error>(())
    };
    try_join_all(opened.into_iter().map(one)).await?;
    Ok(Answered {
        ok: oks.get(),
        refused: refused.get(),
        took: begun.elapsed(),
        latency: latency.into_inner(),
    })
}

impl Plan {
    /// The next request's number, once it is due, and since when it is.
    async fn next(&self, next: &Cell<u64>, begun: Instant) -> Option<(u64, Instant)> {
        let n = next.get();
        if n >= self.count {
            return None;
        }
        next.set(n + 1);
        let now = Instant::now();
        let due = match self.pace {
            Pace::Unbounded => now,
            Pace::PerSecond(rate) => {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "no count here comes near 2 to the 52nd"
                )]
                let after = Duration::from_secs_f64(n as f64 / rate);
                begun + after
            }
        };
        if due.max(now) >= begun + self.time {
            return None;
        }
        if due > now {
            sleep_until(due).await;
        }
        Some((n, due))
    }
}

/// A whole request to post a body with these further header lines, each with its line's end.
pub(crate) fn post(into: &mut Vec<u8>, path: &str, headers: &str, body: &str) {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    into.extend_from_slice(head.as_bytes());
    into.extend_from_slice(body.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;
    use crate::ear::Ear;

    async fn against(pace: Pace, count: u64, time: Duration) -> (Answered, u64, Vec<u64>) {
        let heard = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&heard);
        let ear = Ear::start(1, move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let ear = ear.await.unwrap();
        let plan = Plan {
            address: ear.address,
            connections: 4,
            pace,
            count,
            time,
        };
        let numbers = RefCell::new(vec![]);
        let write = |_, into: &mut Vec<u8>| post(into, "/0", "", "{}");
        let answered = run(&plan, write, |n, _| numbers.borrow_mut().push(n));
        let answered = answered.await.unwrap();
        let mut numbers = numbers.into_inner();
        numbers.sort_unstable();
        (answered, heard.load(Ordering::SeqCst), numbers)
    }

    #[tokio::test]
    async fn each_number_is_sent_once_and_each_200_counted() {
        let minute = Duration::from_mins(1);
        let (answered, heard, numbers) = against(Pace::Unbounded, 1000, minute).await;
        assert_eq!((answered.ok, answered.refused, heard), (1000, 0, 1000));
        assert_eq!(answered.latency.count(), 1000);
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_rate_is_kept_until_the_time_is_over() {
        let half = Duration::from_millis(500);
        let (answered, heard, _) = against(Pace::PerSecond(200.0), u64::MAX, half).await;
        assert_eq!((answered.ok, heard), (100, 100));
        assert!(answered.took >= Duration::from_millis(495));
    }
}

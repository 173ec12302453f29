//! The way to the broker: its hosts, how they prove who they are, and what must exist there.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt, stream::FuturesUnordered};
use lapin::{
    Connection, ConnectionProperties, runtime::default_runtime, tcp::OwnedTLSConfig, uri::AMQPUri,
};
use tokio::time::timeout;

use super::{
    super::{Error, Result},
    ANSWER, Topology, within,
};
use crate::hosts::Hosts;

/// A connection without a sign of life for twice this many seconds is lost.
const HEARTBEAT: u16 = 10;

pub(super) struct Link {
    /// At least one.
    uris: Vec<AMQPUri>,
    /// Whose turn it is, modulo their count. Begins at random, so that processes spread over them.
    turn: AtomicUsize,
    /// The CA in PEM that signed their certificates, beside those that the system trusts.
    ca: Option<String>,
    pub(super) topology: Topology,
}

impl Link {
    pub(super) fn new(url: &str, topology: Topology) -> Result<Self> {
        // For amqps. A provider that the program has already chosen is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let wrong = |why| Error::Refused(format!("the URL of the queue {why}"));
        let hosts = Hosts::parse(url).map_err(wrong)?;
        let mut uris = Vec::with_capacity(hosts.each.len());
        for url in &hosts.each {
            let mut uri: AMQPUri = url
                .as_str()
                .parse()
                .map_err(|error| wrong(format!("is not readable: {error}")))?;
            uri.query.heartbeat.get_or_insert(HEARTBEAT);
            uris.push(uri);
        }
        Ok(Self {
            turn: AtomicUsize::new(rand::random_range(0..uris.len())),
            uris,
            ca: hosts.ca().map_err(wrong)?,
            topology,
        })
    }

    /// Connects to one of the hosts. They are tried in turn, from another one on each time: the next when the last has
    /// failed, or has not answered in its share of the time. It may still do so, since whoever is slow may be no slower than
    /// the others.
    pub(super) async fn connect(&self) -> Result<Connection> {
        let count = self.uris.len();
        let share = ANSWER / u32::try_from(count).unwrap_or(u32::MAX);
        let start = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        let mut rest = (start..count).chain(0..start);
        let mut under_way = FuturesUnordered::new();
        let mut failures = Vec::new();
        loop {
            under_way.extend(rest.next().map(|index| self.connect_to(index)));
            match timeout(share, under_way.next()).await {
                Ok(Some(Ok(connection))) => return Ok(connection),
                Ok(Some(Err(failure))) => failures.push(failure),
                Ok(None) => break,
                Err(_) => {}
            }
        }
        if count == 1
            && let Some((_, error)) = failures.pop()
        {
            return Err(error);
        }
        // In the order of the hosts, so that the same trouble reads the same wherever it began.
        failures.sort_by_key(|(index, _)| *index);
        let each = failures.iter().map(|(index, error)| {
            let authority = &self.uris[*index].authority;
            let why = match error {
                Error::Unavailable(why) => why.to_string(),
                Error::Refused(why) => why.clone(),
            };
            format!("{}:{}: {why}", authority.host, authority.port)
        });
        Err(Error::Unavailable(
            each.collect::<Vec<_>>().join("; ").into(),
        ))
    }

    /// Connects to one host. The error says which it was.
    async fn connect_to(&self, index: usize) -> std::result::Result<Connection, (usize, Error)> {
        let name = format!("optout {}", env!("CARGO_PKG_VERSION"));
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connected = within(ANSWER, async {
            let tls = OwnedTLSConfig {
                identity: None,
                cert_chain: self.ca.clone(),
            };
            let (uri, runtime) = (self.uris[index].clone(), default_runtime()?);
            Connection::connect_uri_with_config(uri, properties, tls, runtime).await
        });
        connected.await.map_err(|error| (index, error))
    }
}

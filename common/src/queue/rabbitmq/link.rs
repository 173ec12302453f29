//! The way to the broker: its hosts, how they prove who they are, and what must exist there.

use lapin::{
    Connection, ConnectionProperties, runtime::default_runtime, tcp::OwnedTLSConfig, uri::AMQPUri,
};

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
            uris,
            ca: hosts.ca().map_err(wrong)?,
            topology,
        })
    }

    /// Connects to one of the hosts. They are tried in turn, from a random one on, and share the time of one, since
    /// callers wait for it.
    pub(super) async fn connect(&self) -> Result<Connection> {
        let count = self.uris.len();
        let start = rand::random_range(0..count);
        let mut failures = Vec::new();
        for index in (start..count).chain(0..start) {
            match self.connect_to(&self.uris[index]).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failures.push((index, error)),
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

    async fn connect_to(&self, uri: &AMQPUri) -> Result<Connection> {
        let name = format!("optout {}", env!("CARGO_PKG_VERSION"));
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let share = ANSWER / u32::try_from(self.uris.len()).unwrap_or(u32::MAX);
        within(share, async {
            let tls = OwnedTLSConfig {
                identity: None,
                cert_chain: self.ca.clone(),
            };
            let runtime = default_runtime()?;
            Connection::connect_uri_with_config(uri.clone(), properties, tls, runtime).await
        })
        .await
    }
}

//! How Redis is reached: one server, whichever server the Sentinels call the master, or a Cluster.
//!
//! Every call fails after [`ANSWER`]. A connection that failed is replaced by the next call, which is what a stage makes,
//! for as long as it takes: so a failover looks like a server that is away for a moment.

use std::{future::Future, time::Duration};

use futures_util::{
    FutureExt,
    future::{BoxFuture, try_join_all},
};
use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, Pipeline, RedisError, TlsCertificates,
    TlsMode,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::{sync::Mutex, time::timeout};
use url::Url;

use super::{Error, Result};
use crate::hosts::Hosts;

/// How long Redis may take to accept a connection, and to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a call may take in all, with a new connection if the old one is lost.
const ANSWER: Duration = Duration::from_secs(3);

/// Where a Sentinel listens whose port is not given.
const SENTINEL: u16 = 26379;

/// What each command of a pipeline answers that is not ignored.
type Answers = Vec<Option<String>>;

/// One server, or several that are one.
pub(super) enum Server {
    One(ConnectionManager),
    Watched(Mutex<Watched>),
    Cluster(Mutex<Sharded>),
}

/// A master that Sentinels know.
pub(super) struct Watched {
    sentinels: SentinelClient,
    /// None before the first call, and after one that failed: the master may be another by then.
    master: Option<MultiplexedConnection>,
}

/// A Cluster. Its connection mends itself, but not from every fall, so one that failed is replaced as well.
pub(super) struct Sharded {
    client: ClusterClient,
    connection: Option<ClusterConnection>,
}

impl Server {
    /// Connects. The first connection must succeed.
    ///
    /// Boxed, as the client's futures are nested so deeply that the compiler gives up on what holds them.
    pub(super) fn connect(url: &str) -> BoxFuture<'_, Result<Self>> {
        Self::connect_to(url).boxed()
    }

    async fn connect_to(url: &str) -> Result<Self> {
        // For rediss. A provider that the program has already chosen is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let hosts = Hosts::parse(url).map_err(|why| wrong(&why))?;
        let certificates = hosts
            .ca()
            .map_err(|why| wrong(&why))?
            .map(|ca| TlsCertificates {
                client_tls: None,
                root_cert: Some(ca.into_bytes()),
            });
        let (scheme, _) = url.split_once("://").unwrap_or_default();
        match scheme.split_once('+') {
            Some((scheme, "sentinel")) => {
                let sentinels = sentinels(scheme, &hosts, certificates)?;
                let mut watched = Watched {
                    sentinels,
                    master: None,
                };
                within(watched.connect()).await?;
                Ok(Self::Watched(Mutex::new(watched)))
            }
            Some((scheme, "cluster")) => cluster(scheme, &hosts, certificates).await,
            _ => one(&hosts, certificates).await,
        }
    }

    /// Asks for each item what `add` puts into a pipeline for it, which are commands on one key.
    ///
    /// On one server that is one pipeline. In a cluster each item's key may be another server's, so each has a pipeline of
    /// its own, all on their way at once; two for the same key may then change places, which takes the claim from neither
    /// of the two envelopes.
    pub(super) async fn ask<T: Sync>(
        &self,
        items: &[T],
        add: impl Fn(&mut Pipeline, &T) + Sync,
    ) -> Result<Answers> {
        if items.is_empty() {
            return Ok(Answers::new());
        }
        let pipeline = |items: &[T]| {
            let mut pipeline = redis::pipe();
            for item in items {
                add(&mut pipeline, item);
            }
            pipeline
        };
        match self {
            Self::One(connection) => within(query(connection.clone(), pipeline(items))).await,
            Self::Watched(watched) => ask_master(watched, pipeline(items)).await,
            Self::Cluster(sharded) => {
                ask_cluster(sharded, items.chunks(1).map(pipeline).collect()).await
            }
        }
    }
}

/// A connection is a handle, and is cloned for each use.
async fn query(
    mut connection: impl ConnectionLike,
    pipeline: Pipeline,
) -> redis::RedisResult<Answers> {
    pipeline.query_async(&mut connection).await
}

async fn ask_master(watched: &Mutex<Watched>, pipeline: Pipeline) -> Result<Answers> {
    let answers = within(async {
        let master = watched.lock().await.connect().await?;
        query(master, pipeline).await
    });
    let answers = answers.await;
    // Dead, or a replica by now. Whoever has the lock is connecting anew already.
    if answers.is_err()
        && let Ok(mut watched) = watched.try_lock()
    {
        watched.master = None;
    }
    answers
}

async fn ask_cluster(sharded: &Mutex<Sharded>, pipelines: Vec<Pipeline>) -> Result<Answers> {
    let answers = within(async {
        let connection = sharded.lock().await.connect().await?;
        let each = pipelines
            .into_iter()
            .map(|pipeline| query(connection.clone(), pipeline));
        try_join_all(each).await
    });
    let answers = answers.await;
    if answers.is_err()
        && let Ok(mut sharded) = sharded.try_lock()
    {
        sharded.connection = None;
    }
    Ok(answers?.into_iter().flatten().collect())
}

impl Sharded {
    async fn connect(&mut self) -> redis::RedisResult<ClusterConnection> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let connection = self.client.get_async_connection().await?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }
}

impl Watched {
    async fn connect(&mut self) -> redis::RedisResult<MultiplexedConnection> {
        if let Some(master) = &self.master {
            return Ok(master.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let master = self
            .sentinels
            .get_async_connection_with_config(&config)
            .await?;
        self.master = Some(master.clone());
        Ok(master)
    }
}

async fn one(hosts: &Hosts, certificates: Option<TlsCertificates>) -> Result<Server> {
    let [url] = hosts.each.as_slice() else {
        return Err(wrong("names several hosts, and takes one"));
    };
    let client = match certificates {
        Some(certificates) => Client::build_with_tls(url.as_str(), certificates),
        None => Client::open(url.as_str()),
    };
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE))
        .set_number_of_retries(1);
    let connection = ConnectionManager::new_with_config(client.map_err(failure)?, config);
    Ok(Server::One(within(connection).await?))
}

/// User and password are the Redis servers'; the Sentinels are asked without.
fn sentinels(
    scheme: &str,
    hosts: &Hosts,
    certificates: Option<TlsCertificates>,
) -> Result<SentinelClient> {
    let (master, database) = hosts.service().ok_or_else(|| wrong("names no master"))?;
    let info = plain(scheme, &hosts.each[0])
        .into_connection_info()
        .map_err(failure)?;
    let mut addresses = Vec::with_capacity(hosts.each.len());
    for url in &hosts.each {
        let mut url = url.clone();
        if url.port().is_none() {
            // Cannot fail: it has a host.
            url.set_port(Some(SENTINEL)).ok();
        }
        let info = plain(scheme, &url)
            .into_connection_info()
            .map_err(failure)?;
        addresses.push(info.addr().clone());
    }
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)
        .map_err(failure)?
        .set_client_to_redis_db(database);
    if scheme == "rediss" {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
    }
    if let Some(certificates) = certificates {
        builder = builder
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates);
    }
    if let Some(user) = info.redis_settings().username() {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = info.redis_settings().password() {
        builder = builder.set_client_to_redis_password(password);
    }
    builder.build().map_err(failure)
}

async fn cluster(
    scheme: &str,
    hosts: &Hosts,
    certificates: Option<TlsCertificates>,
) -> Result<Server> {
    let nodes = hosts.each.iter().map(|url| plain(scheme, url));
    let mut builder = ClusterClient::builder(nodes)
        .connection_timeout(PATIENCE)
        .response_timeout(PATIENCE)
        .overall_response_timeout(Some(ANSWER));
    if let Some(certificates) = certificates {
        builder = builder.certs(certificates);
    }
    let mut sharded = Sharded {
        client: builder.build().map_err(failure)?,
        connection: None,
    };
    within(sharded.connect()).await?;
    Ok(Server::Cluster(Mutex::new(sharded)))
}

/// The URL of one server alone, as the client knows it: `redis://USER:PASSWORD@HOST:PORT`.
fn plain(scheme: &str, url: &Url) -> String {
    let rest = &url[url::Position::BeforeUsername..url::Position::AfterPort];
    format!("{scheme}://{rest}")
}

fn wrong(why: &str) -> Error {
    Error(format!("the URL of the claims {why}").into())
}

fn failure(error: RedisError) -> Error {
    Error(Box::new(error))
}

async fn within<T>(answer: impl Future<Output = redis::RedisResult<T>>) -> Result<T> {
    match timeout(ANSWER, answer).await {
        Ok(answer) => answer.map_err(failure),
        Err(elapsed) => Err(Error(Box::new(elapsed))),
    }
}

//! How each harm is done to the world, and mended as an orchestrator, an operator or the other side would.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::json;
use tests::{FAULT, Servers, until};

use crate::{
    exhaustion::Exhaustion,
    fault::{Blow, Harm, NODES, Prod, Service},
    world::World,
};

/// The target that misbehaves.
const TARGET: &str = "/crm";

/// A harm that was done, and what it takes to mend it.
pub(crate) enum Done {
    /// This process has ended and is to be started again.
    Ended(usize),
    /// This process lives in another time.
    Elsewhen(usize),
    Exhausted(Exhaustion),
    Other(Harm),
}

impl Harm {
    /// Does it.
    pub(crate) async fn inject(self, world: &mut World) -> Done {
        match self {
            Self::Killed(service) => {
                let index = world.one_of(service);
                world.process(index).kill().await;
                count_in_hand(world).await;
                return Done::Ended(index);
            }
            Self::KilledAt(service, point, prod) => {
                return kill_at(world, service, point, prod).await;
            }
            Self::Terminated(service) => {
                let index = world.one_of(service);
                let ended = world.process(index).terminate().await;
                assert!(ended.success(), "SIGTERM under load: {ended}");
                return Done::Ended(index);
            }
            Self::ClockBack(service) => return set_back(world, service).await,
            Self::Exhausted => return Done::Exhausted(Exhaustion::of(&world.stores.ledger).await),
            Self::Server(name, blow) => blow.strike(world.servers(), name).await,
            Self::Node(node, blow) => blow.strike(world.servers(), NODES[node]).await,
            Self::Cut => world.proxy.as_ref().unwrap().cut(),
            Self::Forgotten => redis(world, &["FLUSHALL"]).await,
            Self::Full => {
                redis(world, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
                redis(world, &["CONFIG", "SET", "maxmemory", "1"]).await;
            }
            Self::ReadOnly => read_only(world, "on").await,
            Self::Target(conduct) => world.receiver.conduct(TARGET, Some(conduct)),
            Self::DiskFull => world.disk.as_ref().unwrap().fill(),
        }
        Done::Other(self)
    }
}

impl Done {
    /// Mends it.
    pub(crate) async fn mend(self, world: &mut World) {
        match self {
            Self::Ended(index) => {
                world.process(index).again().await;
                if let Some(path) = world.unanswered.take() {
                    ask_again(world, &path).await;
                }
            }
            Self::Elsewhen(index) => {
                tell_time(world, "+0");
                world.jumps += 1;
                let ended = world.process(index).terminate().await;
                assert!(ended.success(), "SIGTERM after its clock moved: {ended}");
                world.process(index).again().await;
            }
            Self::Exhausted(exhaustion) => exhaustion.end().await,
            Self::Other(harm) => harm.mend(world).await,
        }
    }
}

impl Harm {
    async fn mend(self, world: &mut World) {
        match self {
            Self::Server(name, blow) => blow.mend(world.servers(), name).await,
            Self::Node(node, blow) => blow.mend(world.servers(), NODES[node]).await,
            Self::Cut => world.proxy.as_ref().unwrap().mend(),
            Self::Full => redis(world, &["CONFIG", "SET", "maxmemory", "0"]).await,
            Self::ReadOnly => read_only(world, "off").await,
            Self::Target(_) => world.receiver.conduct(TARGET, None),
            Self::DiskFull => world.disk.as_ref().unwrap().clear(),
            Self::Forgotten
            | Self::Exhausted
            | Self::ClockBack(_)
            | Self::Killed(_)
            | Self::KilledAt(..)
            | Self::Terminated(_) => {}
        }
    }
}

impl Blow {
    async fn strike(self, servers: &Servers, name: &str) {
        match self {
            Self::Killed => servers.signal("KILL", name).await,
            Self::Restarted => servers.stop(name).await,
            Self::Paused => servers.signal("STOP", name).await,
        }
    }

    async fn mend(self, servers: &Servers, name: &str) {
        match self {
            Self::Killed | Self::Restarted => servers.again(name).await,
            Self::Paused => servers.signal("CONT", name).await,
        }
    }
}

/// A target may hear again of what was in hand when a worker died: its leases are left behind.
async fn count_in_hand(world: &mut World) {
    let in_hand = until("the ledger tells what was in hand", async || {
        world.ledger.in_hand().await
    })
    .await;
    world.in_hand += in_hand;
}

async fn kill_at(world: &mut World, service: Service, point: &str, prod: Option<Prod>) -> Done {
    let index = world.one_of(service);
    let ended = world.process(index).terminate().await;
    assert!(ended.success(), "SIGTERM under load: {ended}");
    let point = format!("{point}:{}", if prod.is_some() { 1 } else { 3 });
    // It may die before it was ever ready, since the load does not wait.
    world.process(index).launch(&[(FAULT, &point)]);
    let what = format!("it dies at {point}");
    until(&what, async || {
        if !world.process(index).is_running() {
            return Some(());
        }
        if let Some(prod) = prod {
            prod.ask(world).await;
        }
        None
    })
    .await;
    count_in_hand(world).await;
    Done::Ended(index)
}

impl Prod {
    /// Asks the api for what leads to one of its points. It may die of it, so there may be no answer.
    async fn ask(self, world: &mut World) {
        match self {
            Self::Retry => {
                if let Some(id) = world.ledger.delivered_again().await {
                    let path = format!("/api/v1/deliveries/{id}/retry");
                    world.api().try_ask("POST", &path, &json!({})).await.ok();
                    world.unanswered = Some(path);
                }
            }
            Self::Unquarantine => {
                // On the embedded stores the door is the process that dies.
                world.door().post("garbled", "{").await.ok();
                if let Some(id) = world.ledger.held().await {
                    let path = format!("/api/v1/quarantine/{id}/retry");
                    world.api().try_ask("POST", &path, &json!({})).await.ok();
                    world.unanswered = Some(path);
                }
            }
            Self::Replay => {
                let since = Timestamp::UNIX_EPOCH;
                let until = common::clock::now();
                let wish = json!({"target": "again", "state": "delivered", "since": since.to_string(), "until": until.to_string()});
                let api = world.api();
                api.try_ask("POST", "/api/v1/replays", &wish).await.ok();
            }
        }
    }
}

/// Who asked for something and got no answer asks again. A replay goes on by itself.
async fn ask_again(world: &World, path: &str) {
    until(&format!("{path} is answered"), async || {
        let asked = world.api().try_ask("POST", path, &json!({})).await;
        asked.ok().filter(|answer| answer.status().is_success())
    })
    .await;
}

/// Starts a process anew with a clock that is then set back while it runs.
async fn set_back(world: &mut World, service: Service) -> Done {
    let index = world.one_of(service);
    let ended = world.process(index).terminate().await;
    assert!(ended.success(), "SIGTERM under load: {ended}");
    tell_time(world, "+0");
    let file = world.folder().join("faketime");
    let library = faketime();
    let environment = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap()),
        ("FAKETIME_CACHE_DURATION", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    world.process(index).again_with(&environment).await;
    tell_time(world, "-3600");
    world.jumps += 1;
    Done::Elsewhen(index)
}

/// Debian's libfaketime, which gives one process a clock of its own, in the folder of this machine's kind.
fn faketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap();
    let libraries = folders.map(|folder| folder.unwrap().path().join("faketime/libfaketime.so.1"));
    let mut found = libraries.filter(|library| library.exists());
    found.next().expect("scripts/install installs libfaketime")
}

fn tell_time(world: &World, offset: &str) {
    std::fs::write(world.folder().join("faketime"), offset).unwrap();
}

async fn redis(world: &World, command: &[&str]) {
    let client = redis::Client::open(world.stores.claims.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut asked = redis::cmd(command[0]);
    let answered: redis::RedisResult<()> =
        asked.arg(&command[1..]).query_async(&mut connection).await;
    answered.unwrap();
}

async fn read_only(world: &World, value: &str) {
    let mut connection = crate::exhaustion::connect(&world.stores.ledger)
        .await
        .unwrap();
    for text in [
        format!("ALTER SYSTEM SET default_transaction_read_only = {value}"),
        "SELECT pg_reload_conf()".to_owned(),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(text))
            .execute(&mut connection)
            .await
            .unwrap();
    }
}

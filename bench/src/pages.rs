//! The dashboard's pages with a large ledger behind them, one request after the other, as one person asks for them.

use std::time::{Duration, Instant};

use anyhow::ensure;
use common::ledger::Ledger;
use secrecy::ExposeSecret;
use sqlx::{AnyPool, AssertSqlSafe};
use tests::{API_KEY, http};

use crate::{
    Options,
    report::{Limit, Report},
    size::happened,
    world::{World, stop},
};

const COLUMNS: [&str; 4] = ["p50 ms", "p95 ms", "most ms", "KiB"];

/// The name of the tests' key.
const KEY_NAME: &str = "e2e";

/// The past events are spread over so long, in microseconds.
const YEAR: u64 = 365 * 24 * 3_600_000_000;

/// How often each page is asked for.
const TIMES: usize = 60;

/// What a page may take, at the 95th percentile.
const MOST: f64 = 50.0;

/// Those that read the ledger, among them filters that let nothing through.
const PAGES: [&str; 16] = [
    "/",
    "/contacts?contact=past1@example.com",
    "/suppressions",
    "/suppressions?state=active",
    "/suppressions?state=lifted",
    "/events",
    "/events?source=past",
    "/events?source=api",
    "/events?kind=complained",
    "/deliveries",
    "/deliveries?state=dead",
    "/deliveries?state=delivered&target=past",
    "/quarantine",
    "/replays",
    "/targets",
    "/sources",
];

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("pages", &COLUMNS);
    for kind in options.kinds() {
        let world = World::start(kind).await?;
        happened(&world, options.ledger, YEAR).await?;
        some_are_dead(&world).await?;
        let target =
            "[[targets]]\nname = \"past\"\nkind = \"file\"\nevents = [\"*\"]\npath = \"-\"\n";
        let api = world.process("api", target).await;
        let cookie = session(&world).await?;
        let mut slowest: f64 = 0.0;
        for page in PAGES {
            let (mut took, size) = asked(&cookie, &format!("{}{page}", api.api)).await?;
            took.sort_unstable();
            let at = |part: usize| took[(took.len() - 1) * part / 100].as_secs_f64() * 1000.0;
            slowest = slowest.max(at(95));
            let row = [at(50), at(95), at(100), size];
            let label = format!("{}, {page}", world.name());
            report.row(label, row.map(Some).to_vec());
        }
        let what = format!("{}, the slowest page's p95", world.name());
        report.bound(what, slowest, Limit::AtMost(MOST));
        stop(vec![api]).await?;
    }
    report.publish()
}

/// Some deliveries that were given up, past the product.
async fn some_are_dead(world: &World) -> anyhow::Result<()> {
    let pool = AnyPool::connect(&world.stores.ledger).await?;
    let text = "UPDATE deliveries SET state = 'dead', last_error = 'gone' WHERE id LIKE '00%'";
    sqlx::raw_sql(AssertSqlSafe(text.to_owned()))
        .execute(&pool)
        .await?;
    pool.close().await;
    Ok(())
}

/// The cookie of a session that the tests' key has opened, which the api that is measured takes like any other.
async fn session(world: &World) -> anyhow::Result<String> {
    let ledger = Ledger::connect(&world.stores.ledger, 1).await?;
    let token = ledger.open_session(KEY_NAME, None, &API_KEY.into()).await?;
    Ok(format!("optout_session={}", token.expose_secret()))
}

/// How long each of the requests took, and how large the page is, in KiB. The first is not counted: it may make what the
/// others are given.
async fn asked(cookie: &str, url: &str) -> anyhow::Result<(Vec<Duration>, f64)> {
    let (client, mut took, mut size) = (http(), vec![], 0);
    for _ in 0..=TIMES {
        let begun = Instant::now();
        let request = client.get(url).header("cookie", cookie);
        let answer = request.send().await?;
        ensure!(answer.status() == 200, "{url}: {}", answer.status());
        let page = answer.text().await?;
        took.push(begun.elapsed());
        ensure!(page.contains("Sign out"), "{url} is not shown");
        size = page.len();
    }
    took.remove(0);
    let size = u32::try_from(size)?;
    Ok((took, f64::from(size) / 1024.0))
}

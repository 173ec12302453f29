//! The check before each send, with a million suppressed contacts in the ledger: one contact, and many at once, against
//! a bare handler.

use anyhow::ensure;
use sqlx::{AnyPool, AssertSqlSafe, any::install_default_drivers};
use tests::{API_KEY, Kind, Process};

use crate::{
    Options,
    bare::{Bare, Running},
    load::{self, Answered, Pace, Plan, post},
    report::{Limit, Report},
    usage,
    world::{World, address, stop},
};

const COLUMNS: [&str; 6] = [
    "requests/s",
    "contacts/s",
    "p50 ms",
    "p99 ms",
    "server us",
    "MiB",
];

const CONNECTIONS: usize = 64;

/// How many contacts are suppressed; the questions are about twice as many, so that half are answered "no".
const SUPPRESSED: u64 = 1_000_000;

/// How many contacts a bulk check asks about, over how many connections.
const BULK: [(u64, usize); 2] = [(1_000, 8), (10_000, 2)];

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::new("check", &COLUMNS);
    for kind in options.kinds() {
        let world = World::start(kind).await?;
        let api = world.process("api", "").await;
        suppress(&world).await?;
        let label = |what: &str| format!("{}, {what}", world.name());
        let bare = Running::start(Bare::Handler, "", "").await?;
        let plan = Plan {
            address: bare.address,
            connections: CONNECTIONS,
            pace: Pace::Unbounded,
            count: u64::MAX,
            time: options.time(),
        };
        let (handler, row) = measure(bare.id()?, plan, 1, one).await?;
        report.row(label("bare handler"), row);
        bare.stop().await?;
        let plan = Plan {
            address: address(&api.api)?,
            ..plan
        };
        let (checks, row) = measure(api.id(), plan, 1, one).await?;
        report.row(label("check of one contact"), row);
        let ratio = checks.rate() / handler.rate();
        report.bound(label("check : bare handler"), ratio, Limit::AtLeast(0.4));
        for (contacts, connections) in BULK {
            let plan = Plan {
                connections,
                ..plan
            };
            let ask = |n, into: &mut Vec<u8>| many(n, contacts, into);
            let (_, row) = measure(api.id(), plan, contacts, ask).await?;
            report.row(label(&format!("check of {contacts}")), row);
        }
        answers_are_right(&api).await?;
        stop(vec![api]).await?;
    }
    report.publish()
}

async fn measure(
    server: u32,
    plan: Plan,
    contacts: u64,
    ask: impl Fn(u64, &mut Vec<u8>),
) -> anyhow::Result<(Answered, Vec<Option<f64>>)> {
    let before = usage::processor(server)?;
    let answered = load::run(&plan, ask, |_, _| {}).await?;
    ensure!(
        answered.ok > 0 && answered.refused == 0,
        "not all was answered 200"
    );
    let used = usage::processor(server)?.saturating_sub(before);
    let row = [
        answered.rate(),
        load::rate(answered.ok * contacts, answered.took),
        answered.latency.at(0.5),
        answered.latency.at(0.99),
        1e6 / load::rate(answered.ok, used),
        usage::memory(server)?.resident,
    ];
    Ok((answered, row.map(Some).to_vec()))
}

/// The `n`th contact that is asked about, of those and as many others without order.
fn contact(n: u64) -> String {
    let number = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (2 * SUPPRESSED);
    format!("s{number}@example.com")
}

fn one(n: u64, into: &mut Vec<u8>) {
    let contact = contact(n);
    let request = format!(
        "GET /api/v1/check?email={contact} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {API_KEY}\r\n\r\n"
    );
    into.extend_from_slice(request.as_bytes());
}

fn many(n: u64, contacts: u64, into: &mut Vec<u8>) {
    let asked = (n * contacts..(n + 1) * contacts).map(|n| format!("\"{}\"", contact(n)));
    let body = format!("{{\"contacts\":[{}]}}", asked.collect::<Vec<_>>().join(","));
    let headers = format!("authorization: Bearer {API_KEY}\r\n");
    post(into, "/api/v1/check", &headers, &body);
}

/// Puts the suppressions into the ledger, past the product: it is the check that is measured.
async fn suppress(world: &World) -> anyhow::Result<()> {
    install_default_drivers();
    let pool = AnyPool::connect(&world.stores.ledger).await?;
    let last = SUPPRESSED - 1;
    let (numbers, id) = match world.stores.kind {
        Kind::Scaled => (
            format!("SELECT CAST(n AS TEXT) AS n FROM generate_series(0, {last}) AS n"),
            "CAST(gen_random_uuid() AS TEXT)",
        ),
        Kind::Embedded => (
            format!(
                "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})
                SELECT CAST(n AS TEXT) AS n FROM numbers"
            ),
            "printf('00000000-0000-7000-8000-%012d', n)",
        ),
    };
    let text = format!(
        "INSERT INTO registers (id, channel, contact, scope, source, lane, suppressed, occurred_at, event_id, kind, origin, updated_at)
        SELECT {id}, 'email', 's' || n || '@example.com', 'global', 'shop', 'consent', 1, 1700000000000000,
            '0192a3b4-c5d6-7e8f-9012-3456789abcde', 'unsubscribed', 'recipient', 1700000000000000
        FROM ({numbers}) AS contacts"
    );
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&pool).await?;
    if world.stores.kind == Kind::Scaled {
        // As autovacuum does in its time.
        sqlx::raw_sql("VACUUM ANALYZE registers")
            .execute(&pool)
            .await?;
    }
    pool.close().await;
    Ok(())
}

/// What was measured were answers, and not mistakes.
async fn answers_are_right(api: &Process) -> anyhow::Result<()> {
    for (number, unsubscribed) in [(SUPPRESSED - 1, true), (SUPPRESSED, false)] {
        let path = format!("/api/v1/check?email=s{number}@example.com");
        let answer = api.get(&path).await;
        ensure!(
            answer["unsubscribed"] == unsubscribed,
            "s{number}: {answer}"
        );
    }
    Ok(())
}

//! What only a file can get wrong: several processes, leases, the format.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::FutureExt;
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

use super::{
    super::{
        Error, Queue, SqliteQueue,
        sqlite::{TAKE, Timing},
    },
    *,
};

const BRIEF: Timing = Timing {
    lease: Duration::from_millis(600),
    poll: Duration::from_millis(50),
};

async fn open(store: &Store, timing: Timing) -> Arc<dyn Queue> {
    let queue = SqliteQueue::open_with(&store.url, timing).await.unwrap();
    queue.declare(&[URGENT, BULK, retried()]).await.unwrap();
    Arc::new(queue)
}

async fn raw(store: &Store) -> SqliteConnection {
    SqliteConnection::connect(&store.url).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_the_work_of_one_file() {
    run(Store::sqlite(), |store| shared(store).boxed()).await;
}

async fn shared(store: &Store) {
    let queues = [store.open().await, store.open().await];
    let mut consumers = [
        queues[0].consume(&URGENT, 10).await.unwrap(),
        queues[1].consume(&URGENT, 10).await.unwrap(),
    ];
    nothing(&mut consumers[1]).await;
    queues[0]
        .publish(vec![message(&URGENT, "noticed")])
        .await
        .unwrap();
    let [first, second] = &mut consumers;
    let (mut came, mut total) = (BTreeSet::new(), 0);
    let publishing = async {
        for number in 0..100 {
            queues[number % 2]
                .publish(vec![message(&URGENT, number)])
                .await
                .unwrap();
        }
    };
    let receiving = async {
        while total < 101 {
            let (consumer, messages) = tokio::select! {
                messages = first.receive(4) => (&mut *first, messages.unwrap()),
                messages = second.receive(4) => (&mut *second, messages.unwrap()),
            };
            assert!(messages.iter().all(|message| message.deliveries == 1));
            total += messages.len();
            came.extend(bodies(&messages));
            consumer.ack(&tokens(&messages)).await.unwrap();
        }
    };
    timeout(LONG, async { tokio::join!(publishing, receiving) })
        .await
        .expect("all arrive");
    assert_eq!(came.len(), 101, "none is handed out twice");
}

#[test]
fn what_a_dead_process_had_in_hand_comes_back_when_its_lease_ends() {
    let store = Store::sqlite();
    let dies = tokio::runtime::Runtime::new().unwrap();
    let _in_hand = dies.block_on(async {
        let queue = open(&store, BRIEF).await;
        queue.publish(vec![message(&URGENT, "held")]).await.unwrap();
        let mut consumer = queue.consume(&URGENT, 1).await.unwrap();
        receive_one(&mut consumer).await;
        (consumer, queue)
    });
    let start = Instant::now();
    dies.shutdown_background(); // its tasks stop where they are, as in a process that is killed
    let lives = tokio::runtime::Runtime::new().unwrap();
    lives.block_on(async {
        let queue = open(&store, BRIEF).await;
        let again = receive_one(&mut queue.consume(&URGENT, 1).await.unwrap()).await;
        assert_eq!((again.body, again.deliveries), ("held".into(), 2));
        assert!(
            start.elapsed() > Duration::from_millis(300),
            "not before the lease has ended: {:?}",
            start.elapsed()
        );
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_slept_through_its_lease_is_told_and_goes_on_with_a_new_one() {
    run(Store::sqlite(), |store| slept(store).boxed()).await;
}

async fn slept(store: &Store) {
    let queue = open(store, BRIEF).await;
    queue.publish(vec![message(&URGENT, "a")]).await.unwrap();
    let mut consumer = queue.consume(&URGENT, 1).await.unwrap();
    let held = receive_one(&mut consumer).await;
    // As another process does that sees the lease end.
    let mut other = raw(store).await;
    sqlx::raw_sql("UPDATE message SET session = NULL; DELETE FROM session")
        .execute(&mut other)
        .await
        .unwrap();
    eventually(|| async {
        sqlx::query("SELECT 1 FROM session")
            .fetch_optional(&mut raw(store).await)
            .await
            .unwrap()
            .is_some()
    })
    .await;
    let outcome = consumer.ack(&[held.token]).await;
    assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
    assert!(consumer.receive(1).await.is_err());
    let mut consumer = queue.consume(&URGENT, 1).await.unwrap();
    let again = receive_one(&mut consumer).await;
    consumer.ack(&[again.token]).await.unwrap();
    ready(&queue, &URGENT, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_sqlite_ended_by_itself_is_the_last_that_fails() {
    run(Store::sqlite(), |store| ended(store).boxed()).await;
}

async fn ended(store: &Store) {
    let queue = open(store, BRIEF).await;
    let mut other = raw(store).await;
    let full = "CREATE TRIGGER full BEFORE INSERT ON body BEGIN SELECT RAISE(ROLLBACK, 'as a full disk does'); END";
    sqlx::raw_sql(full).execute(&mut other).await.unwrap();
    let refused = queue.publish(vec![message(&URGENT, "refused")]).await;
    assert!(refused.is_err());
    sqlx::raw_sql("DROP TRIGGER full")
        .execute(&mut other)
        .await
        .unwrap();
    queue
        .publish(vec![message(&URGENT, "taken")])
        .await
        .unwrap();
    let mut consumer = queue.consume(&URGENT, 1).await.unwrap();
    assert_eq!(receive_one(&mut consumer).await.body, "taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_before_the_clock_was_set_back_is_not_late() {
    run(Store::sqlite(), |store| set_back(store).boxed()).await;
}

async fn set_back(store: &Store) {
    let queue = open(store, BRIEF).await;
    queue
        .publish(vec![message(&URGENT, "ready")])
        .await
        .unwrap();
    drop(queue);
    // As the file looks once the clock is an hour behind.
    sqlx::raw_sql(
        "UPDATE message SET published_at = published_at + 3600000000, due_at = due_at + 3600000000",
    )
    .execute(&mut raw(store).await)
    .await
    .unwrap();
    let queue = open(store, BRIEF).await;
    let mut consumer = queue.consume(&URGENT, 1).await.unwrap();
    assert_eq!(receive_one(&mut consumer).await.body, "ready");
}

#[tokio::test]
async fn a_file_of_a_later_release_is_refused() {
    run(Store::sqlite(), |store| later(store).boxed()).await;
}

async fn later(store: &Store) {
    drop(store.open().await);
    sqlx::raw_sql("PRAGMA user_version = 2")
        .execute(&mut raw(store).await)
        .await
        .unwrap();
    let error = SqliteQueue::open(&store.url)
        .await
        .map(drop)
        .expect_err("it would misread the file");
    assert!(error.to_string().contains("format 2"), "{error}");
}

#[tokio::test]
async fn taking_reads_only_what_is_due_in_the_queue() {
    run(Store::sqlite(), |store| plan(store).boxed()).await;
}

async fn plan(store: &Store) {
    let queue = store.open().await;
    queue
        .publish(
            (0..500)
                .flat_map(|number| [delayed(&URGENT, number, 60_000), message(&BULK, number)])
                .collect(),
        )
        .await
        .unwrap();
    let explain = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {TAKE}")));
    let rows = explain
        .bind(1)
        .bind(1)
        .bind(1)
        .bind(1)
        .fetch_all(&mut raw(store).await)
        .await
        .unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
    assert!(
        plan.iter()
            .any(|step| step == "SEARCH message USING INDEX message_ready (queue=? AND due_at<?)"),
        "{plan:?}"
    );
    assert!(
        !plan
            .iter()
            .any(|step| step.starts_with("SCAN") || step.contains("TEMP")),
        "{plan:?}"
    );
}

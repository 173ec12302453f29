//! A database that answers no more on the connections that there are, as one behind a dead router does.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    time::Instant,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};
use url::Url;

use super::*;

/// Passes connections on to `to`. Those that there are fall silent, and stay open, whenever `silent` is sent.
async fn passage(to: SocketAddr, silent: watch::Receiver<()>, lifecycle: &Lifecycle) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap();
    let connections = lifecycle.clone();
    lifecycle.spawn_work(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(to).await.unwrap();
            let mut silent = silent.clone();
            silent.mark_unchanged();
            connections.spawn_work(async move {
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    Ok(()) = silent.changed() => std::future::pending().await,
                }
            });
        }
    });
    here
}

#[tokio::test]
async fn a_connection_on_which_the_ledger_falls_silent_costs_the_checks_that_wait_and_no_later_ones()
 {
    let url = postgres().await;
    let direct = AnyPool::connect(&url).await.unwrap();
    let mut url = Url::parse(&url).unwrap();
    let server = (url.host_str().unwrap(), url.port().unwrap());
    let server = server.to_socket_addrs().unwrap().next().unwrap();
    let (silence, silent) = watch::channel(());
    let lifecycle = Lifecycle::new();
    let here = passage(server, silent, &lifecycle).await;
    url.set_port(Some(here.port())).unwrap();
    url.set_query(Some("sslmode=disable"));
    let ledger = Ledger::open(url.as_str(), 4).unwrap();
    ledger.migrate().await.unwrap();
    let door = Door::new("PostgreSQL", ledger, tempfile::tempdir().unwrap());
    let check = async || {
        let answer = door.get("/api/v1/check?email=jane@example.com").await;
        answer.status.as_u16()
    };
    assert_eq!(check().await, 200);
    // In the middle of a query: one that is idle is tried before it is used.
    let mut lock = direct.begin().await.unwrap();
    let text = "LOCK TABLE registers IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(text).execute(&mut *lock).await.unwrap();
    let fall_silent = async {
        let text =
            "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND relation = 'registers'::regclass";
        let waiting = || sqlx::query_scalar::<_, i64>(text).fetch_one(&direct);
        let begun = Instant::now();
        while waiting().await.unwrap() == 0 {
            assert!(begun.elapsed() < Duration::from_mins(1), "nobody asks");
        }
        silence.send(()).unwrap();
        lock.rollback().await.unwrap();
    };
    let (status, ()) = tokio::join!(check(), fall_silent);
    assert_eq!(status, 503);
    let begun = Instant::now();
    while check().await != 200 {
        assert!(begun.elapsed() < Duration::from_mins(1), "still in vain");
    }
}

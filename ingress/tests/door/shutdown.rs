//! How the door closes.

use std::time::Duration;

use common::lifecycle::LoopState;
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::{
    harness::{OPEN, config, open},
    queue::TestQueue,
};

#[tokio::test]
async fn what_is_in_hand_at_the_stop_is_still_published_and_answered() {
    let door = open(&config(OPEN), TestQueue::holding()).await;
    let mut idle = door.connect().await;
    let request = async {
        let answer = door.post("/webhooks/open", &[], b"in hand").await;
        assert_eq!(answer.status, 200);
    };
    let stop = async {
        door.queue.begun().await;
        door.lifecycle.stop();
        // An idle connection is closed, and nothing new is taken.
        let mut nothing = vec![];
        idle.read_to_end(&mut nothing).await.unwrap();
        assert!(nothing.is_empty());
        assert!(
            !door.lifecycle.finish(Duration::ZERO).await,
            "the request in hand is waited for"
        );
        door.queue.release(1);
    };
    tokio::join!(request, stop);
    assert!(door.lifecycle.finish(Duration::from_secs(5)).await);
    assert_eq!(door.queue.only().body, &b"in hand"[..]);
    assert!(TcpStream::connect(door.address).await.is_err());
    let loops = door.lifecycle.loops();
    assert_eq!(loops.len(), 4);
    assert!(
        loops.values().all(|state| *state == LoopState::Stopped),
        "{loops:?}"
    );
}

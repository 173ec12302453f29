//! RabbitMQ over TLS, and by a URL of several hosts.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{super::RabbitMq, *};

fn secured() -> Store {
    Store::rabbitmq_at(test_url("OPTOUT_TEST_AMQPS_URL"))
}

/// Behaviours of the suite that differ by what the bytes do.
macro_rules! over_tls {
    ($($name:ident),+ $(,)?) => {
        mod on_rabbitmq_over_tls {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::run(super::secured(), |store| super::FutureExt::boxed(super::suite::$name(store))).await;
            })+
        }
    };
}

over_tls! {
    what_was_published_is_there_after_a_restart,
    a_released_message_comes_again_with_a_higher_count,
    many_publishers_at_once_lose_nothing,
    a_large_body_arrives_as_it_was,
}

async fn refusal(url: &str) -> String {
    let refused = RabbitMq::connect(url, "test", &[]).await.err().unwrap();
    refused.to_string()
}

#[tokio::test]
async fn a_rabbitmq_whose_certificate_another_ca_signed_is_refused_and_told_why() {
    let url = test_url("OPTOUT_TEST_AMQPS_URL").replace("ca.pem", "other.pem");
    let why = refusal(&url).await;
    assert!(why.contains("invalid peer certificate"), "{why}");
}

#[tokio::test]
async fn a_ca_that_cannot_be_read_is_named() {
    let why = refusal("amqps://localhost?sslrootcert=/missing.pem").await;
    assert!(why.contains("/missing.pem"), "{why}");
}

/// By a URL whose other hosts are away, wherever the search begins: the chance that ten begin at the right one is small.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_hosts_one_that_answers_is_enough() {
    let url = test_url("OPTOUT_TEST_AMQP_URL")
        .replace("127.0.0.1:", "127.0.0.1:1,127.0.0.1:2,127.0.0.1:");
    run(Store::rabbitmq_at(url), |store| {
        async {
            for _ in 0..10 {
                store.open().await.ping().await.unwrap();
            }
        }
        .boxed()
    })
    .await;
}

/// It answers only when the other two, which never do, have been tried as well: as slow as they, for all that is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_slow_may_still_answer_while_the_others_are_tried() {
    let url = test_url("OPTOUT_TEST_AMQP_URL");
    let (start, rest) = url.split_once('@').unwrap();
    let (broker, path) = rest.split_once('/').unwrap();
    let mut doors = Vec::new();
    for _ in 0..3 {
        doors.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let hosts: Vec<_> = doors
        .iter()
        .map(|door| door.local_addr().unwrap().to_string())
        .collect();
    let [slow, silent, mute] = <[TcpListener; 3]>::try_from(doors).unwrap();
    let broker = broker.to_owned();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (mut client, _) = slow.accept().await.unwrap();
        let _others = (silent.accept().await, mute.accept().await);
        let mut server = TcpStream::connect(broker).await.unwrap();
        copy_bidirectional(&mut client, &mut server).await.ok();
    });
    let url = format!("{start}@{}/{path}", hosts.join(","));
    run(Store::rabbitmq_at(url), |store| {
        async { store.open().await.ping().await.unwrap() }.boxed()
    })
    .await;
}

#[tokio::test]
async fn when_no_host_answers_each_is_named_without_the_password() {
    let why = refusal("amqp://me:secret@127.0.0.1:1,127.0.0.1:2/v").await;
    assert!(
        why.contains("127.0.0.1:1: ") && why.contains("; 127.0.0.1:2: "),
        "{why}"
    );
    assert!(!why.contains("secret"), "{why}");
}

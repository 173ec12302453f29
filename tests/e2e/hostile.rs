//! Connections that mean ill: however many they are and whatever they do, memory stays bounded and real requests are
//! served meanwhile.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tests::{Kind, Process, Stores, http};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// What a real request may take meanwhile.
const IN_TIME: Duration = Duration::from_secs(10);

/// What memory may grow by, whatever comes.
const BOUND: u64 = 256 << 20;

const SOURCE: &str =
    "[[sources]]\nname = \"open\"\nprovider = \"notifiedby\"\nauth = { kind = \"none\" }\n";

/// Not yet a whole request to ingress, and to the api one that needs no key.
const HEADS: [&str; 2] = [
    "POST /webhooks/open HTTP/1.1\r\nhost: x\r\n",
    "POST /api/v1/talkable/check_unsubscribe HTTP/1.1\r\nhost: x\r\n",
];

/// A process under attack.
struct Besieged {
    process: Process,
    address: String,
    client: reqwest::Client,
    head: &'static str,
    /// Its memory before.
    before: u64,
    _stores: Stores,
}

impl Besieged {
    /// The two that strangers reach.
    async fn both(settings: &str) -> [Self; 2] {
        [
            Self::start("ingress", HEADS[0], settings).await,
            Self::start("api", HEADS[1], "").await,
        ]
    }

    async fn start(program: &'static str, head: &'static str, settings: &str) -> Self {
        let stores = Stores::fresh(Kind::Embedded).await;
        let rest = format!("{settings}\n{SOURCE}");
        let process = Process::start(program, &stores, &rest, None).await;
        let url = if program == "api" {
            &process.api
        } else {
            &process.door
        };
        let address = url.trim_start_matches("http://").to_owned();
        let mut besieged = Self {
            process,
            address,
            client: http(),
            head,
            before: 0,
            _stores: stores,
        };
        besieged.serves().await;
        besieged.before = besieged.memory();
        besieged
    }

    /// The most memory that it ever had in use.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() << 10
    }

    /// A real request is answered in time, twenty times.
    async fn serves(&self) {
        for _ in 0..20 {
            let begun = Instant::now();
            let status = self.ask().await;
            assert_eq!(status, 200);
            assert!(begun.elapsed() < IN_TIME, "{:?}", begun.elapsed());
        }
    }

    async fn ask(&self) -> u16 {
        let request = if self.head == HEADS[0] {
            let body = crate::unsubscribed("user@example.com");
            self.client
                .post(format!("{}/webhooks/open", self.process.door))
                .body(body)
        } else {
            let url = format!("{}/api/v1/check?email=user@example.com", self.process.api);
            self.client.get(url).bearer_auth(tests::API_KEY)
        };
        // Each on a connection of its own, behind all the others.
        let request = request.header("connection", "close");
        request.send().await.unwrap().status().as_u16()
    }

    /// So many connections that have sent this after their heads.
    async fn crowd(&self, size: usize, after: &[u8]) -> Vec<TcpStream> {
        let said = [self.head.as_bytes(), after].concat();
        let connections = stream::iter(0..size).map(|_| async {
            let mut connection = TcpStream::connect(&self.address).await.unwrap();
            // It may have been hung up on already.
            connection.write_all(&said).await.ok();
            connection
        });
        connections.buffer_unordered(100).collect().await
    }

    fn is_bounded(&self) {
        let now = self.memory();
        let grown = now.saturating_sub(self.before);
        assert!(grown < BOUND, "it grew by {} MiB", grown >> 20);
    }
}

/// How many connections the limit of open files leaves, which is raised as far as it goes: the processes inherit it.
fn room(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let hard = line.unwrap().split_whitespace().nth(4).unwrap();
    let id = std::process::id().to_string();
    let raised = Command::new("prlimit")
        .args(["--pid", &id, &format!("--nofile={hard}:{hard}")])
        .status();
    assert!(raised.unwrap().success());
    let hard = hard.parse().unwrap_or(usize::MAX);
    wanted.min(hard.saturating_sub(hard / 4).saturating_sub(500))
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_connections_keep_no_webhook_waiting() {
    let size = room(10_000);
    let ingress = Besieged::start("ingress", HEADS[0], "[telemetry]\nlog = \"warn\"").await;
    let connections = stream::iter(0..size).map(|_| TcpStream::connect(&ingress.address));
    let idle: Vec<_> = connections.buffer_unordered(100).collect().await;
    assert!(idle.iter().all(Result::is_ok));
    ingress.serves().await;
    ingress.is_bounded();
    // They are hung up on after the time that headers may take.
    let mut idle = idle;
    let last = idle.last_mut().unwrap().as_mut().unwrap();
    assert_eq!(last.read(&mut [0; 64]).await.unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_bodies_that_drip_are_hung_up_on_and_keep_nobody_waiting() {
    for besieged in Besieged::both("").await {
        let mut slow = besieged.crowd(400, b"x-slow: ").await;
        slow.extend(besieged.crowd(400, b"content-length: 50000\r\n\r\n").await);
        let mut drips = JoinSet::new();
        for mut connection in slow {
            drips.spawn(async move {
                let mut tick = tokio::time::interval(Duration::from_millis(500));
                loop {
                    tick.tick().await;
                    if connection.write_all(b"a").await.is_err() {
                        return;
                    }
                }
            });
        }
        besieged.serves().await;
        besieged.is_bounded();
        while drips.join_next().await.is_some() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_headers_and_of_nonsense_are_cut_off() {
    let many = "x-flood: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(4_000);
    let long = format!("x-flood: {}", "a".repeat(1 << 20));
    let pipelined = "\r\ncontent-length: 1\r\n\r\n1GET \0\u{1} HTTP/9.9\r\n\r\n".repeat(5_000);
    let requests =
        "content-length: 0\r\n\r\n".to_owned() + &"GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(5_000);
    for besieged in Besieged::both("").await {
        for flood in [&many, &long, &pipelined, &requests] {
            let mut flooding = besieged.crowd(100, flood.as_bytes()).await;
            besieged.serves().await;
            besieged.is_bounded();
            let mut answer = vec![0; 64];
            let read = flooding[0].read(&mut answer).await.unwrap_or(0);
            let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
            assert!(!answer.contains(" 50"), "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_without_end_are_refused_and_all_together_take_no_more_than_their_room() {
    let mut endless = b"transfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..30 {
        endless.extend(b"8000\r\n");
        endless.extend("x".repeat(0x8000).bytes());
        endless.extend(b"\r\n");
    }
    for mut besieged in Besieged::both("").await {
        let room = ("OPTOUT__INGRESS__MAX_IN_FLIGHT_BYTES", "128MiB");
        besieged.process.terminate().await;
        besieged.process.again_with(&[room]).await;
        // 0.94 MiB each, which alone would be taken; together it is three times the room.
        let waiting = besieged.crowd(400, &endless).await;
        besieged.is_bounded();
        assert!(matches!(besieged.ask().await, 200 | 503));
        // They are refused, or given up when their time is over. Then there is room again.
        for mut connection in waiting {
            drop(connection.read_to_end(&mut vec![]).await);
        }
        besieged.is_bounded();
        besieged.serves().await;
    }
}

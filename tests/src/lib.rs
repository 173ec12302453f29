//! What the end-to-end tests are written with: real processes over real stores, a receiver that records what it is told,
//! and waiting for conditions.

mod process;
mod receiver;
mod servers;
mod stores;

use std::time::{Duration, Instant};

pub use process::{API_KEY, FAULT, Process, binary, port, signal};
pub use receiver::{Conduct, Heard, Receiver, Told};
pub use servers::Servers;
pub use stores::{Kind, Stores, told};

/// Nothing that a test waits for takes this long unless it never comes, not even while the machine has much else to do.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// Waits until `found` gives something, and gives that. Fails with `what` after [`PATIENCE`].
pub async fn until<T>(what: &str, found: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, found).await
}

/// The same with another patience.
pub async fn until_within<T>(
    patience: Duration,
    what: &str,
    mut found: impl AsyncFnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = found().await {
            return value;
        }
        assert!(begun.elapsed() < patience, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A client for the services under test.
#[expect(
    clippy::disallowed_methods,
    reason = "the outbound client refuses loopback addresses, where the tests are"
)]
pub fn http() -> reqwest::Client {
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .build()
        .expect("a client")
}

//! A TCP proxy that stands before the broker: it passes everything on, cuts all connections as a broker that was killed
//! does, or falls silent as one that was stopped.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Connections stand, new ones are taken, and nothing passes.
    Silent,
    /// Every connection is closed.
    Cut,
}

/// It ends with the test's runtime.
pub(crate) struct Proxy {
    address: SocketAddr,
    target: String,
    way: Arc<watch::Sender<Way>>,
}

impl Proxy {
    /// Listens on a port of its own before the server of `url`.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's server, which ends with the test"
    )]
    pub(crate) async fn before(url: &str) -> Self {
        let (_, rest) = url.split_once('@').unwrap();
        let target = rest.split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let way = Arc::new(watch::Sender::new(Way::Open));
        tokio::spawn(serve(listener, target.clone(), Arc::clone(&way)));
        Self {
            address,
            target,
            way,
        }
    }

    /// The way through the proxy to what `url` names.
    pub(crate) fn url(&self, url: &str) -> String {
        url.replace(&self.target, &self.address.to_string())
    }

    pub(crate) fn become_(&self, way: Way) {
        self.way.send_replace(way);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's connections, which end with the test"
)]
async fn serve(listener: TcpListener, target: String, way: Arc<watch::Sender<Way>>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let (target, mut way) = (target.clone(), way.subscribe());
        tokio::spawn(async move {
            // A server that is silent is connected to by its kernel.
            if *way.borrow() == Way::Cut {
                return;
            }
            let Ok(server) = TcpStream::connect(target).await else {
                return;
            };
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            tokio::select! {
                () = pass(from_client, to_server, way.clone()) => {}
                () = pass(from_server, to_client, way.clone()) => {}
                _ = way.wait_for(|way| *way == Way::Cut) => {}
            }
        });
    }
}

/// Passes bytes on, while the way is open, until one side ends.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if way.wait_for(|way| *way == Way::Open).await.is_err()
            || to.write_all(&bytes[..count]).await.is_err()
        {
            return;
        }
    }
}

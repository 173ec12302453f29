//! A TCP proxy that a test puts before a store, to cut its connections. Compiled only for tests: the feature `faults`.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Stops when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// Listens on a port of its own, and passes everything on to `target`.
    pub async fn before(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let open = Arc::new(watch::Sender::new(true));
        let mut task = JoinSet::new();
        task.spawn(serve(listener, target, open.clone()));
        Self {
            address,
            open,
            _task: task,
        }
    }

    /// Cuts every connection, and refuses new ones until [`Self::mend`].
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets new connections through again.
    pub fn mend(&self) {
        self.open.send_replace(true);
    }
}

async fn serve(listener: TcpListener, target: String, open: Arc<watch::Sender<bool>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((mut client, _)) = listener.accept().await else {
            continue;
        };
        // Those that have ended are forgotten.
        while connections.try_join_next().is_some() {}
        if !*open.borrow() {
            continue;
        }
        let (target, mut open) = (target.clone(), open.subscribe());
        connections.spawn(async move {
            let Ok(mut server) = TcpStream::connect(target).await else {
                return;
            };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                _ = open.wait_for(|open| !open) => {}
            }
        });
    }
}

//! What stands where the targets' systems are: it tells what it hears, and answers 200 at once or, at a path that hangs,
//! never.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::wire::Wire;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// It listens at the paths `/0`, `/1` and so on, until it is dropped.
pub(crate) struct Ear {
    pub(crate) address: SocketAddr,
    hangs: Arc<[AtomicBool]>,
    _serving: JoinSet<()>,
}

impl Ear {
    /// With so many paths. `hear` is told each request's path and body before it is answered.
    pub(crate) async fn start(
        paths: usize,
        hear: impl Fn(usize, &[u8]) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let hangs: Arc<[_]> = (0..paths).map(|_| AtomicBool::new(false)).collect();
        let (shared, hear) = (Arc::clone(&hangs), Arc::new(hear));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (hangs, hear) = (Arc::clone(&shared), Arc::clone(&hear));
                connections.spawn(async move {
                    // A client that goes away in the middle has given up on a path that hangs.
                    serve(stream, &hangs, &*hear).await.ok();
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            address,
            hangs,
            _serving: serving,
        })
    }

    pub(crate) fn url(&self, path: usize) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// From now on requests to this path are not answered, or are answered again.
    pub(crate) fn hang(&self, path: usize, hangs: bool) {
        self.hangs[path].store(hangs, Ordering::SeqCst);
    }
}

async fn serve(
    stream: TcpStream,
    hangs: &[AtomicBool],
    hear: &impl Fn(usize, &[u8]),
) -> io::Result<()> {
    let mut wire = Wire::new(stream)?;
    while let Some(request) = wire.read().await? {
        let path: Option<usize> = request.path().trim_start_matches('/').parse().ok();
        let path = path.filter(|path| *path < hangs.len());
        let path = path.ok_or_else(|| io::Error::other("a path that nobody was told of"))?;
        if hangs[path].load(Ordering::SeqCst) {
            return wire.ended().await;
        }
        hear(path, request.body);
        wire.write(OK).await?;
    }
    Ok(())
}

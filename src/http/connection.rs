//! Accepts connections and runs warp's service on each.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use warp::Filter as _;
use warp::reply::Response;

use super::request::Head;
use super::{App, HttpConfig, ROUTES, body, dispatch, ends, guard, router, upload};
use crate::clock::{Clock as _, System, monotonic};
use crate::engine::Handle;

/// Bytes a connection buffers of a request's head; a larger one is 431. A body passes through it
/// in pieces no larger.
const CONNECTION_BUFFER_BYTES: usize = 16 << 10;

/// Serves the API on `listener` until `shutdown` is ready, then lets open requests finish for up
/// to [`HttpConfig::shutdown_grace`].
///
/// It answers as soon as it is called: while the log is still being replayed, requests for
/// anything but health get 503.
///
/// # Errors
///
/// When the listener has no local address.
pub async fn serve(
    listener: TcpListener,
    engine: Handle,
    chunks: crate::chunks::Store,
    config: HttpConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let app = Arc::new(App {
        chunks,
        router: router::Router::new(ROUTES),
        guard: guard::Guard::new(&config),
        budget: body::Budget::new(config.buffered_bytes_max),
        uploads: Arc::new(Semaphore::new(upload::places(config.upload_bytes_max))),
        heavy: Arc::new(Semaphore::new(1)),
        ends: ends::Ends::follow(&engine, &stopping),
        held: AtomicUsize::new(0),
        started_at: System.now(),
        started: monotonic(),
        stopping,
        config,
        engine,
    });
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(app.config.connections_max));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accept = async {
            // The semaphore is never closed.
            let place = places.clone().acquire_owned().await.ok();
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accept => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let served = graceful.watch(connection(app.clone(), stream, peer, address));
                tokio::spawn(async move {
                    if let Err(error) = served.await {
                        tracing::debug!(%peer, %error, "connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => accept_failed(&error).await,
        }
    }
    drop(listener);
    stop.send_replace(true);
    if tokio::time::timeout(app.config.shutdown_grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were still open when the service stopped");
    }
    Ok(())
}

type Connection = http1::Connection<TokioIo<TcpStream>, ConnectionService>;

/// Serves one connection.
fn connection(
    app: Arc<App>,
    stream: TcpStream,
    peer: SocketAddr,
    listening: SocketAddr,
) -> Connection {
    // An unspecified address is listened on for all that the machine has.
    let local = stream.local_addr().unwrap_or(listening);
    // Answers are small and written whole; waiting to fill a packet only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.config.header_timeout)
        .max_buf_size(CONNECTION_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), ConnectionService { app, peer, local })
}

/// Puts what precedes a request's body where the one warp filter finds it.
struct ConnectionService {
    app: Arc<App>,
    peer: SocketAddr,
    local: SocketAddr,
}

type ServiceFuture = std::pin::Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl hyper::service::Service<hyper::Request<Incoming>> for ConnectionService {
    type Response = Response;
    type Error = Infallible;
    type Future = ServiceFuture;

    fn call(&self, mut request: hyper::Request<Incoming>) -> Self::Future {
        let head = Arc::new(Head {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: std::mem::take(request.headers_mut()),
            peer: self.peer,
            local: self.local,
        });
        request.extensions_mut().insert(head);
        let app = self.app.clone();
        let filter = warp::ext::get::<Arc<Head>>()
            .and(warp::body::stream())
            .then(move |head, body| dispatch::dispatch(app.clone(), head, body));
        Box::pin(TowerToHyperService::new(warp::service(filter)).call(request))
    }
}

/// A connection that broke before it was accepted is nothing; having no file descriptors left
/// passes when other connections end.
async fn accept_failed(error: &io::Error) {
    use io::ErrorKind as K;
    let harmless =
        matches!(error.kind(), K::ConnectionRefused | K::ConnectionAborted | K::ConnectionReset);
    if !harmless {
        tracing::error!(%error, "cannot accept a connection");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

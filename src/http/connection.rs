//! Accepts connections and runs warp's service on each.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tower_service::Service as _;
use warp::Filter as _;
use warp::http::header::CONNECTION;
use warp::http::{HeaderValue, Uri};

use super::answers::{self, Outgoing};
use super::conversation::Conversation;
use super::error::Error;
use super::headers::Headers;
use super::links::{Full, Link, Links, Wait};
use super::request::{Head, Target};
use super::socket;
use super::waiting::{self, Waiting};
use super::{
    App, HttpConfig, ROUTES, archives, body, dispatch, guard, recordings, respond, router, upload,
};
use crate::clock::{Clock as _, System, monotonic};
use crate::engine::Handle;

/// How long a connection for which there is no place waits before it looks again.
const PLACE_WAIT: Duration = Duration::from_millis(5);

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
    let app = Arc::new(app(engine, chunks, config, stopping));
    let waker = waiting::wake(app.waiting.clone(), app.engine.clone(), app.stopping.clone());
    tokio::spawn(waker);
    // Each connection holds one; when all are dropped, nobody is served any more.
    let (open, mut over) = mpsc::channel::<Infallible>(1);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accept = async {
            let accepted = listener.accept().await;
            match accepted {
                Ok((stream, peer)) => {
                    let link = place(&app, peer).await;
                    Ok((stream, peer, link))
                }
                Err(error) => Err(error),
            }
        };
        let accepted = tokio::select! {
            accepted = accept => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, peer, Some(link))) => {
                let conversation = converse(&app, &stream, peer, address, link);
                let open = open.clone();
                tokio::spawn(async move {
                    let link = conversation.link.clone();
                    tokio::select! {
                        ended = conversation.run(stream) => if let Err(error) = ended {
                            tracing::debug!(%peer, error = respond::sentence(&error), "connection ended");
                        },
                        () = link.cut() => tracing::debug!(%peer, "connection gave way"),
                    }
                    drop(open);
                });
            }
            Ok((stream, peer, None)) => {
                tracing::debug!(%peer, "connection refused, this address has too many");
                // What doesn't fit into the socket at once isn't worth waiting for.
                drop(stream.try_write(&socket::answer(&app, &Error::TooManyConnections)));
            }
            Err(error) => accept_failed(&app, &error).await,
        }
    }
    drop(listener);
    stop.send_replace(true);
    drop(open);
    if tokio::time::timeout(app.config.shutdown_grace, over.recv()).await.is_err() {
        tracing::warn!("some requests were still open when the service stopped");
    }
    Ok(())
}

/// What all requests will share.
fn app(
    engine: Handle,
    chunks: crate::chunks::Store,
    config: HttpConfig,
    stopping: tokio::sync::watch::Receiver<bool>,
) -> App {
    let peer_max = config.peer_connections_max.unwrap_or(config.connections_max / 2).max(1);
    let links = Links::new(config.connections_max, peer_max, config.head_bytes_max);
    App {
        engine,
        chunks,
        router: router::Router::new(ROUTES),
        guard: guard::Guard::new(&config),
        waiting: Waiting::new(config.polls_max.unwrap_or(config.connections_max)),
        answers: answers::Answers::new(config.answer_bytes_max),
        budget: body::Budget::new(config.buffered_bytes_max, links.clone()),
        links,
        uploads: upload::Places::new(config.upload_bytes_max),
        turns: Arc::new(Semaphore::new(config.requests_max)),
        heavy: Arc::new(Semaphore::new(1)),
        counted: recordings::Counted::default(),
        counts: Arc::new(Semaphore::new(1)),
        carrying: archives::Carrying::default(),
        verifying: Arc::new(Semaphore::new(1)),
        compacting: Arc::new(Semaphore::new(1)),
        held: AtomicUsize::new(0),
        started_at: System.now(),
        started: monotonic(),
        stopping,
        config,
    }
}

/// A place for a connection, as soon as there is one; `None` when its address has too many.
async fn place(app: &App, peer: SocketAddr) -> Option<Link> {
    loop {
        match app.links.enter(peer.ip()) {
            Ok(link) => return Some(link),
            Err(Full::Peer) => return None,
            Err(Full::All) => {
                drop(tokio::time::timeout(PLACE_WAIT, app.links.freed()).await);
            }
        }
    }
}

/// What a new connection belongs to.
fn converse(
    app: &Arc<App>,
    stream: &TcpStream,
    peer: SocketAddr,
    listening: SocketAddr,
    link: Link,
) -> Conversation {
    // Answers are small and written whole; waiting to fill a packet only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    // An unspecified address is listened on for all that the machine has.
    let local = stream.local_addr().unwrap_or(listening);
    Conversation { app: app.clone(), link: Arc::new(link), peer, local }
}

/// Hands requests to the one warp filter.
pub(super) struct ConnectionService {
    app: Arc<App>,
    peer: SocketAddr,
    local: SocketAddr,
    link: Arc<Link>,
    /// The next request is a long poll whose wait is over.
    waited: AtomicBool,
}

impl ConnectionService {
    pub(super) fn new(conversation: &Conversation, waited: bool) -> Self {
        let Conversation { app, link, peer, local } = conversation;
        let (app, link, waited) = (app.clone(), link.clone(), AtomicBool::new(waited));
        Self { app, peer: *peer, local: *local, link, waited }
    }
}

type Answer = hyper::Response<Outgoing>;
type ServiceFuture = std::pin::Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

impl hyper::service::Service<hyper::Request<Incoming>> for ConnectionService {
    type Response = Answer;
    type Error = Infallible;
    type Future = ServiceFuture;

    fn call(&self, mut request: hyper::Request<Incoming>) -> Self::Future {
        self.link.answers();
        if request.uri().query().is_some_and(|query| query.contains("wait=")) {
            // Whoever polls polls again, and waits better without what serves a request.
            self.link.rests();
        }
        let head = Arc::new(Head {
            method: request.method().clone(),
            target: target(request.uri()),
            headers: Headers::kept(
                request.headers().iter().map(|(name, value)| (name, value.as_bytes())),
            ),
            peer: self.peer,
            local: self.local,
            link: self.link.clone(),
            waited: self.waited.swap(false, Ordering::Relaxed),
        });
        request.headers_mut().clear();
        *request.uri_mut() = Uri::default();
        let (app, link) = (self.app.clone(), self.link.clone());
        // Boxed here: on its way through the filter it would be copied several times.
        let filter = warp::body::stream()
            .then(move |body| Box::pin(dispatch::dispatch(app.clone(), head.clone(), body)));
        // It is always ready.
        let answer = warp::service(filter).call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            if link.ends() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answers::outgoing(answer, link))
        })
    }
}

/// A copy of path and query, for the same reason as that of headers.
pub(super) fn target(uri: &Uri) -> Target {
    uri.path_and_query().map_or("/", |text| text.as_str()).into()
}

/// A connection that broke before it was accepted is nothing; having no file descriptors left
/// passes when other connections end.
async fn accept_failed(app: &App, error: &io::Error) {
    use io::ErrorKind as K;
    let harmless =
        matches!(error.kind(), K::ConnectionRefused | K::ConnectionAborted | K::ConnectionReset);
    if !harmless {
        tracing::error!(%error, "cannot accept a connection");
        app.links.give_way(Wait::Request);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

//! Answers on their way out: memory set aside for those that clients are slow to take.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use warp::reply::Response;

use super::App;
use super::error::Error;
use super::links::{Link, Wait};

/// One unit of the memory, in bytes.
const UNIT_BYTES: usize = 1_024;
/// Answers below this are not counted: there is one a connection.
const SMALL_BYTES_MAX: u64 = 16 << 10;
/// What an answer that is made while it is sent holds at a time, in bytes.
const STREAM_BYTES: u64 = 192 << 10;
/// How long an answer waits for memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// Memory for answers.
pub(super) struct Answers {
    units: Arc<Semaphore>,
    max: usize,
}

/// An answer's part of the memory, given back with the last copy.
#[derive(Clone)]
pub(super) struct Share(#[expect(dead_code, reason = "held")] Arc<OwnedSemaphorePermit>);

impl Answers {
    pub(super) fn new(bytes: usize) -> Self {
        let max = bytes.div_ceil(UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(max)), max }
    }

    /// Sets memory aside. When there is none, clients that have stopped taking theirs are cut off.
    async fn share(&self, app: &App, bytes: u64) -> Result<Share, Error> {
        let units = usize::try_from(bytes).unwrap_or(usize::MAX).div_ceil(UNIT_BYTES);
        // An answer larger than all of it has it for itself.
        let units = u32::try_from(units.min(self.max)).unwrap_or(u32::MAX);
        let take = async {
            loop {
                let wanted = self.units.clone().acquire_many_owned(units);
                // The semaphore is never closed.
                match tokio::time::timeout(Duration::from_millis(100), wanted).await {
                    Ok(permit) => return permit.ok(),
                    Err(_) => drop(app.links.give_way(Wait::Transfer)),
                }
            }
        };
        let permit = match self.units.clone().try_acquire_many_owned(units) {
            Ok(permit) => Some(permit),
            Err(_) => tokio::time::timeout(PATIENCE, take).await.ok().flatten(),
        };
        permit.map(|permit| Share(Arc::new(permit))).ok_or(Error::Busy)
    }

    /// For an answer that is made while it is sent, before any of it is made.
    pub(super) async fn stream(&self, app: &App) -> Result<Share, Error> {
        self.share(app, STREAM_BYTES).await
    }

    /// For an answer that is at hand.
    pub(super) async fn whole(&self, app: &App, response: &mut Response) -> Result<(), Error> {
        match response.body().size_hint().exact() {
            Some(bytes) if bytes > SMALL_BYTES_MAX => {
                let share = self.share(app, bytes).await?;
                response.extensions_mut().insert(share);
            }
            Some(_) | None => {}
        }
        Ok(())
    }
}

/// The body type of warp's responses, which has no name of its own.
trait HasBody {
    type Body;
}

impl<B> HasBody for hyper::Response<B> {
    type Body = B;
}

type WarpBody = <Response as HasBody>::Body;

/// The body of an answer; tells the connection when all of it was handed over.
pub(super) struct Outgoing {
    body: WarpBody,
    link: Arc<Link>,
    _share: Option<Share>,
}

/// Binds an answer to the connection it goes to.
pub(super) fn outgoing(mut response: Response, link: Arc<Link>) -> hyper::Response<Outgoing> {
    let share = response.extensions_mut().remove::<Share>();
    response.map(|body| Outgoing { body, link, _share: share })
}

impl Body for Outgoing {
    type Data = bytes::Bytes;
    type Error = warp::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.link.answered();
    }
}

//! Backups on their way out: what a folder of a client lacks, as one stream.

use warp::reply::Response;

use super::body::Body;
use super::error::Error;
use super::negotiate::Media;
use super::outgoing::{self, Outlet};
use super::request::Request;
use crate::domain::Lsn;
use crate::upkeep::backup;
use crate::views::Published;

/// POST `/compute/backup?after=LSN`. The body is what the client has: the first eight bytes of the
/// name of each chunk.
pub(super) async fn take(mut request: Request) -> Result<Response, Error> {
    let media = request.choose(&[Media::Octets])?;
    let after = request.query().parse("after", "an LSN")?.unwrap_or(Lsn::ZERO);
    request.body_media(&[Media::Octets])?;
    let app = request.app.clone();
    let body = std::mem::replace(&mut request.body, Body::none());
    let known = body.buffer(app.config.limits.object_bytes, &app.budget).await?;
    let wanted = backup::Request::new(after, &known.bytes).ok_or_else(|| Error::Malformed {
        what: "a list of chunks",
        reason: "it has eight bytes for each".to_owned(),
    })?;
    drop(known);
    // Before the stream begins, so that a service that has no log yet says so.
    let log = app.log()?.clone();
    let service = app.clone();
    let send = move |out: &mut Outlet| {
        let now = || service.engine.read(Published::clone);
        backup::send(&*log, &service.chunks, &wanted, now, out)
    };
    outgoing::stream(&app, media, "backup", send).await
}

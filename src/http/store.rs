//! The chunk store as the edge uses it: objects by reference, what is missing, content on its way
//! out.

use std::io::Read as _;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::App;
use super::error::Error;
use crate::chunks::{self, Reader, Store};
use crate::domain::{Blob, ChunkId, ObjectRef};
use crate::wire::cb::Object;

/// Content goes out in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// Makes an object something a record can refer to: inside it when small, else a durable chunk.
pub(super) async fn keep(app: &App, object: Object) -> Result<ObjectRef, Error> {
    if let Some(inline) = inline(&object) {
        return Ok(inline);
    }
    let mut kept = keep_all(app, vec![object]).await?;
    kept.pop().ok_or_else(|| Error::Internal("an object was lost on its way to the store".into()))
}

/// An object small enough for a record, with bytes of its own: a part of what the connection
/// received would keep all of that in memory.
pub(super) fn inline(object: &Object) -> Option<ObjectRef> {
    match object.inline()? {
        ObjectRef::Inline(blob) => Some(ObjectRef::Inline(Blob(Bytes::copy_from_slice(&blob.0)))),
        other @ ObjectRef::Chunk(_) => Some(other),
    }
}

/// The same for many, with one sync.
pub(super) async fn keep_all(app: &App, objects: Vec<Object>) -> Result<Vec<ObjectRef>, Error> {
    let store = app.chunks.clone();
    blocking(move || {
        let mut batch = None;
        let mut kept = Vec::with_capacity(objects.len());
        for object in objects {
            kept.push(if let Some(inline) = inline(&object) {
                inline
            } else {
                let batch = batch.get_or_insert_with(|| store.batch());
                ObjectRef::Chunk(batch.put_unnamed(object.bytes())?)
            });
        }
        if let Some(batch) = batch {
            batch.commit()?;
        }
        Ok(kept)
    })
    .await
}

/// Which of `ids` are missing. The others stay as long as a hold that was taken before, and for
/// the promised while from now.
pub(super) async fn need(app: &App, ids: &[ChunkId]) -> Result<Vec<ChunkId>, Error> {
    let mut stale = Vec::new();
    let need = app.chunks.look_all(ids, &mut stale);
    touch(app, stale).await?;
    Ok(need)
}

/// Makes it durable that `stale` chunks are wanted.
pub(super) async fn touch(app: &App, stale: Vec<ChunkId>) -> Result<(), Error> {
    if stale.is_empty() {
        return Ok(());
    }
    let store = app.chunks.clone();
    blocking(move || Ok(store.touch(&stale)?)).await
}

/// An object's bytes, from wherever they are.
pub(super) async fn load(app: &App, object: &ObjectRef) -> Result<Bytes, Error> {
    match object {
        ObjectRef::Inline(blob) => Ok(blob.0.clone()),
        ObjectRef::Chunk(id) => {
            let (store, id) = (app.chunks.clone(), *id);
            blocking(move || read(&store, id)).await
        }
    }
}

fn read(store: &Store, id: ChunkId) -> Result<Bytes, Error> {
    let mut reader = open(store, id)?;
    let mut bytes = Vec::with_capacity(usize::try_from(reader.len()).unwrap_or(0));
    reader.read_to_end(&mut bytes).map_err(chunks::Error::of_read)?;
    Ok(bytes.into())
}

/// Opens a chunk that must be held.
pub(super) fn open(store: &Store, id: ChunkId) -> Result<Reader, Error> {
    Ok(store.read(&id)?)
}

/// Runs what may wait for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::Internal("work on the chunk store failed".into()))?
}

/// Something to send: bytes at hand, or content of the chunk store.
pub(super) enum Source {
    Bytes(Bytes),
    Content(Box<dyn std::io::Read + Send>),
}

/// Sends sources one after another. The store is read only as fast as the client takes, and no
/// thread waits for it. Content that can't be read makes the connection break off, which is the
/// only way left to tell once the status is out.
pub(super) fn outgoing(sources: Vec<Source>) -> mpsc::Receiver<Result<Bytes, std::io::Error>> {
    let (client, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        for source in sources {
            let mut content = match source {
                Source::Bytes(bytes) => {
                    if client.send(Ok(bytes)).await.is_err() {
                        return;
                    }
                    continue;
                }
                Source::Content(content) => content,
            };
            loop {
                let read = tokio::task::spawn_blocking(move || {
                    let piece = piece(&mut content);
                    (content, piece)
                });
                // Reading does not panic; if it did, the stream ends short and the client sees it.
                let Ok((same, piece)) = read.await else { return };
                content = same;
                let done = match &piece {
                    Ok(bytes) if bytes.is_empty() => break,
                    Ok(_) => false,
                    Err(error) => {
                        tracing::error!(%error, "cannot read content that is being sent");
                        true
                    }
                };
                if client.send(piece).await.is_err() || done {
                    return;
                }
            }
        }
    });
    pieces
}

fn piece(content: &mut impl std::io::Read) -> Result<Bytes, std::io::Error> {
    let mut piece = vec![0; PIECE_BYTES];
    let length = content.read(&mut piece)?;
    piece.truncate(length);
    Ok(piece.into())
}

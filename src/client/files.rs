//! Files as bodies, and answers as files.

use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Error, Pieces};

/// The length of a file, and its content as a body that is read in pieces. `sent` hears the length
/// of each.
pub(super) async fn file_pieces(
    path: &Path,
    sent: impl Fn(u64) + Send + Sync + 'static,
) -> Result<(u64, reqwest::Body), Error> {
    let unreadable = |source| Error::File { path: path.display().to_string(), source };
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let length = file.metadata().await.map_err(unreadable)?.len();
    let sent = Arc::new(sent);
    let pieces = futures_util::stream::try_unfold(file, move |mut file| {
        let sent = Arc::clone(&sent);
        async move {
            let mut piece = vec![0; 256 << 10];
            let read = file.read(&mut piece).await?;
            piece.truncate(read);
            sent(read as u64);
            Ok::<_, std::io::Error>((read > 0).then_some((bytes::Bytes::from(piece), file)))
        }
    });
    Ok((length, reqwest::Body::wrap_stream(pieces)))
}

/// How to write an answer into a file.
#[derive(Clone, Copy, Debug)]
pub struct Saving {
    /// Replace a file that is there.
    pub replace: bool,
    /// Come back only when a power cut can't take it away.
    pub durable: bool,
}

/// Writes an answer into a file that appears whole or not at all. `got` hears the length of each
/// piece.
pub async fn save(
    pieces: &mut Pieces,
    target: &Path,
    saving: Saving,
    mut got: impl FnMut(u64),
) -> Result<(), Error> {
    let failed = |source| Error::Write { path: target.display().to_string(), source };
    let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty());
    // Readable by whom the person's other files are, unlike a temporary file.
    let part = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .tempfile_in(dir.unwrap_or(Path::new(".")))
        .map_err(failed)?;
    let mut file = tokio::fs::File::from_std(part.reopen().map_err(failed)?);
    while let Some(piece) = pieces.next().await? {
        file.write_all(&piece).await.map_err(failed)?;
        got(piece.len() as u64);
    }
    file.flush().await.map_err(failed)?;
    if saving.durable {
        file.sync_data().await.map_err(failed)?;
    }
    let persisted =
        if saving.replace { part.persist(target) } else { part.persist_noclobber(target) };
    persisted.map_err(|wrong| failed(wrong.error))?;
    Ok(())
}

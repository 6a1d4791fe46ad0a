//! The route of backups.

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE};

use super::{Client, Error, Pieces};
use crate::domain::Lsn;

impl Client {
    /// What a backup lacks that reaches to the record `after` and has the chunks that `known` stands
    /// for: the first eight bytes of the name of each.
    pub async fn backup(&self, after: Lsn, known: Vec<u8>) -> Result<Pieces, Error> {
        let request = self
            .request(Method::POST, "/compute/backup")
            .query(&[("after", after.0)])
            .header(ACCEPT, "application/octet-stream")
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(known);
        self.pieces(request).await
    }
}

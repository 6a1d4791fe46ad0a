//! No tree and no entry changes: the number alone says that the newest entries may be in the journal only.

/// From schema 6 to 7.
pub(super) fn up(db: &::sled::Db) -> ::sled::Result<()> {
    db.open_tree("events").map(drop)
}

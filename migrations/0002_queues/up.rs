//! No tree and no value changes: the number alone says that the log may tell of queues.

/// From schema 1 to 2.
pub(super) fn up(db: &::sled::Db) -> ::sled::Result<()> {
    db.open_tree("events").map(drop)
}

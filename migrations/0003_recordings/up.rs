//! No tree and no value changes: the number alone says that the log may tell of recordings and
//! replays.

/// From schema 2 to 3.
pub(super) fn up(db: &::sled::Db) -> ::sled::Result<()> {
    db.open_tree("events").map(drop)
}

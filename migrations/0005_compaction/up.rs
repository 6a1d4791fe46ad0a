//! Two new trees, empty: a log that was never compacted has neither a base state nor records from
//! before one.

/// From schema 4 to 5.
pub(super) fn up(db: &::sled::Db) -> ::sled::Result<()> {
    db.open_tree("base")?;
    db.open_tree("kept").map(drop)
}

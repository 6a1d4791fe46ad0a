//! The first layout: records in `events`, facts about the log in `meta`.

/// From nothing to schema 1.
pub(super) fn up(db: &::sled::Db) -> ::sled::Result<()> {
    db.open_tree("events")?;
    db.open_tree("meta")?;
    Ok(())
}

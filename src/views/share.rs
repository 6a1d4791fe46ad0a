//! How two folds of the same records hold what has not changed between them once.

use super::Views;
use super::state::{Execution, Job};
use super::table::Table;
use crate::domain::Lsn;

/// The large tables of one fold at one LSN, for another to take over.
///
/// Two folds of the same records are equal where they are at the same LSN, so taking over changes
/// nothing but where the bytes are.
#[derive(Debug)]
pub struct Tables {
    lsn: Lsn,
    jobs: Table<Lsn, Job>,
    executions: Table<Lsn, Execution>,
}

impl Views {
    /// What another fold may take over.
    pub fn tables(&self) -> Tables {
        Tables { lsn: self.lsn, jobs: self.jobs.clone(), executions: self.executions.clone() }
    }

    /// How many pointers [`Views::tables`] copies.
    pub const fn tables_cost(&self) -> usize {
        self.jobs.segment_count() + self.executions.segment_count()
    }

    /// How many segments of the tables somebody else has, too.
    #[cfg(test)]
    pub(crate) fn segments_shared(&self) -> usize {
        self.jobs.segments_shared() + self.executions.segments_shared()
    }

    /// Takes over what another fold of the same records has, when that is at the same LSN; else
    /// nothing happens. Returns what is of no use any more, so that the caller can free it when no
    /// reader waits.
    pub fn adopt(&mut self, mut tables: Tables) -> Tables {
        if tables.lsn == self.lsn {
            std::mem::swap(&mut self.jobs, &mut tables.jobs);
            std::mem::swap(&mut self.executions, &mut tables.executions);
        }
        tables
    }
}

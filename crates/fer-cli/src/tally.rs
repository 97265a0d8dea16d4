//! Counts what a table holds, for the last line and the exit code.

use fer_table::Row;
use fer_vision::RecordStatus;

use crate::commands::Outcome;

/// How many failures are named.
const NAMED: usize = 20;

/// Counts over the rows of a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Photos and frames that were analysed.
    pub(crate) pictures: u64,
    /// Rows with a face.
    pub(crate) faces: u64,
    /// Pictures in which no face was found.
    pub(crate) faceless: u64,
    /// Files that failed, or videos that are damaged.
    pub(crate) failed: u64,
    /// Most faces in one picture.
    pub(crate) most_faces: usize,
    /// The first failures: name and reason.
    failures: Vec<(String, String)>,
}

impl Tally {
    /// Adds the rows of one picture.
    pub(crate) fn add(&mut self, picture: &[Row]) {
        let Some(first) = picture.first() else { return };
        match first.record.status {
            RecordStatus::Error => {
                self.failed += 1;
                if self.failures.len() < NAMED {
                    let name = first.record.source.clone().unwrap_or_default();
                    self.failures.push((name, first.record.message.clone().unwrap_or_default()));
                }
            }
            RecordStatus::NoFace => {
                self.pictures += 1;
                self.faceless += 1;
            }
            RecordStatus::Ok => {
                self.pictures += 1;
                self.faces += picture.len() as u64;
                self.most_faces = self.most_faces.max(picture.len());
            }
        }
    }

    /// A line for each of the first failures.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.failures.iter().map(|(name, reason)| format!("  {name}: {reason}")).collect();
        let more = self.failed - self.failures.len() as u64;
        if more > 0 {
            lines.push(format!("  and {more} more; their rows have the status `error`"));
        }
        lines
    }

    /// How a command ended that made these rows.
    pub(crate) fn outcome(&self) -> Outcome {
        match (self.failed, self.pictures) {
            (0, _) => Outcome::Well,
            (_, 0) => Outcome::NothingDone,
            _ => Outcome::SomeFailed,
        }
    }
}

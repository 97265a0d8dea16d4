//! FER+ (Barsoum et al. 2016): votes of ten taggers on the faces of FER-2013.

use std::path::Path;

use fer_emotion::Emotion;

use crate::error::DatasetError;
use crate::table::Table;
use crate::usage::Usage;

/// The split of a row, and the fraction of votes for each emotion; `None` if no vote counts.
pub(crate) type Votes = (Usage, Option<[f32; Emotion::COUNT]>);

/// Reads FER+ as it is distributed: `Usage`, then the votes of ten taggers by emotion. Votes for contempt, unknown and "no
/// face" do not count.
pub(crate) fn read_votes(path: &Path) -> Result<Vec<Votes>, DatasetError> {
    let names = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"];
    let mut table = Table::open(path)?;
    let columns = names.map(|name| table.column(name));
    let columns = columns.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::new();
    while table.next()? {
        let mut counts = [0.0_f32; Emotion::COUNT];
        for ((count, name), &column) in counts.iter_mut().zip(names).zip(&columns) {
            let text = table.field(name, column)?;
            let votes: u8 =
                text.parse().map_err(|_| table.wrong(name, format!("'{text}' is not a number of votes")))?;
            *count = f32::from(votes);
        }
        let sum: f32 = counts.iter().sum();
        rows.push((table.usage()?, (sum > 0.0).then(|| counts.map(|count| count / sum))));
    }
    Ok(rows)
}

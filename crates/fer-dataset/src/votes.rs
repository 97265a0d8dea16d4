//! FER+ (Barsoum et al. 2016): votes of ten taggers on the faces of FER-2013.

use std::path::Path;

use fer_emotion::Emotion;

use crate::error::DatasetError;
use crate::table::Table;
use crate::usage::Usage;

/// The columns of the seven emotions, in the order of [`Emotion::ALL`].
const EMOTIONS: [&str; Emotion::COUNT] =
    ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"];

/// The columns of votes for something else.
const OTHERS: [&str; 3] = ["contempt", "unknown", "NF"];

/// The split of a row, and [`crate::Sample::votes`].
pub(crate) type Votes = (Usage, Option<[f32; Emotion::COUNT]>);

/// Reads FER+ as it is distributed: `Usage`, then the votes of ten taggers by emotion.
///
/// As in the paper, a single vote for something counts as an outlier and is left out.
pub(crate) fn read_votes(path: &Path) -> Result<Vec<Votes>, DatasetError> {
    let mut table = Table::open(path)?;
    let names: Vec<&'static str> = EMOTIONS.into_iter().chain(OTHERS).collect();
    let columns = names.iter().map(|name| table.column(name)).collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::new();
    while table.next()? {
        let mut counts = Vec::with_capacity(names.len());
        for (&name, &column) in names.iter().zip(&columns) {
            let text = table.field(name, column)?;
            let votes: u8 =
                text.parse().map_err(|_| table.wrong(name, format!("'{text}' is not a number of votes")))?;
            counts.push(if votes > 1 { f32::from(votes) } else { 0.0 });
        }
        rows.push((table.usage()?, fractions(&counts)));
    }
    Ok(rows)
}

/// The emotions' fractions of all votes, unless something else has at least half of them.
fn fractions(counts: &[f32]) -> Option<[f32; Emotion::COUNT]> {
    let (emotions, _) = counts.split_first_chunk::<{ Emotion::COUNT }>()?;
    let (all, own) = (counts.iter().sum::<f32>(), emotions.iter().sum::<f32>());
    (own > 0.5 * all).then(|| emotions.map(|count| count / all))
}

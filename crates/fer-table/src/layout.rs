//! The columns that a table is written with: this program's, or those of another package, so that scripts for its tables go on
//! working. Only this program's columns can be read back.

use fer_model::Emotion;

use crate::Row;
use crate::cell::{Column, Kind, Value};

/// The columns of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// [`Row::columns`], one row for each face.
    Fer,
    /// The columns of py-feat's `Fex` that this program can fill, one row for each face.
    PyFeat,
    /// The columns of `Video.to_pandas` of the Python package `fer`: one row for each picture, with `box0`, `angry0` and so on
    /// for its first face, `box1` for its second.
    FerPackage {
        /// Number of faces that have columns. Further faces of a picture are left out.
        faces: usize,
    },
}

/// py-feat's names of the emotions, in the order of [`Emotion::ALL`].
const PY_FEAT: [(&str, Emotion); Emotion::COUNT] = [
    ("anger", Emotion::Angry),
    ("disgust", Emotion::Disgust),
    ("fear", Emotion::Fear),
    ("happiness", Emotion::Happy),
    ("sadness", Emotion::Sad),
    ("surprise", Emotion::Surprise),
    ("neutral", Emotion::Neutral),
];

impl Layout {
    /// The columns, in order.
    pub fn columns(self) -> Vec<Column> {
        let all = |names: &[&'static str], kind| -> Vec<Column> {
            names.iter().map(|name| Column::new(*name, kind)).collect()
        };
        match self {
            Self::Fer => Row::columns(),
            Self::PyFeat => {
                let mut columns = all(
                    &["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"],
                    Kind::Float,
                );
                columns.extend(PY_FEAT.map(|(name, _)| Column::new(name, Kind::Float)));
                columns.extend(all(&["input"], Kind::Text));
                columns.extend(all(&["frame"], Kind::Int64));
                columns.extend(all(&["approx_time", "status", "message"], Kind::Text));
                columns
            }
            Self::FerPackage { faces } => {
                let mut columns = Vec::new();
                for face in 0..faces {
                    columns.push(Column::new(format!("box{face}"), Kind::Text));
                    let names = Emotion::ALL.map(|emotion| format!("{}{face}", emotion.name()));
                    columns.extend(names.map(|name| Column::new(name, Kind::Float)));
                }
                columns.extend(all(&["source"], Kind::Text));
                columns.extend(all(&["frame", "timestamp_ms"], Kind::Int64));
                columns.extend(all(&["status", "message"], Kind::Text));
                columns
            }
        }
    }

    /// The cells of all rows of one picture, in the order of [`Layout::columns`].
    pub(crate) fn cells(self, picture: &[Row]) -> Vec<Vec<Value>> {
        match self {
            Self::Fer => picture.iter().map(Row::values).collect(),
            Self::PyFeat => picture.iter().map(py_feat).collect(),
            Self::FerPackage { faces } => {
                picture.first().map(|_| fer_package(picture, faces)).into_iter().collect()
            }
        }
    }
}

fn float(number: Option<f32>) -> Value {
    number.map_or(Value::Null, Value::Float)
}

fn integer(number: Option<u64>) -> Value {
    number.and_then(|number| i64::try_from(number).ok()).map_or(Value::Null, Value::Int)
}

fn text(text: Option<&String>) -> Value {
    text.map_or(Value::Null, |text| Value::Text(text.clone()))
}

/// The last two cells of every layout: `status` and `message`.
fn outcome(row: &Row) -> [Value; 2] {
    use crate::cell::Cell as _;
    [row.record.status.to_value(), text(row.record.message.as_ref())]
}

fn py_feat(row: &Row) -> Vec<Value> {
    let record = &row.record;
    let mut cells: Vec<Value> =
        [record.x, record.y, record.width, record.height, record.confidence].map(float).into();
    let emotions = row.emotions();
    cells.extend(PY_FEAT.map(|(_, emotion)| float(emotions.map(|values| values[emotion.index()]))));
    cells.push(text(record.source.as_ref()));
    // py-feat counts frames from 0, and a photo is frame 0.
    cells.push(integer(Some(record.frame.map_or(0, |frame| frame.saturating_sub(1)))));
    let seconds = record.timestamp_ms.map(|time| time / 1000);
    cells.push(seconds.map_or(Value::Null, |s| Value::Text(format!("{:02}:{:02}", s / 60, s % 60))));
    cells.extend(outcome(row));
    cells
}

fn fer_package(picture: &[Row], faces: usize) -> Vec<Value> {
    let mut cells = Vec::new();
    for face in 0..faces {
        let row = picture.get(face).filter(|row| row.emotions().is_some());
        let record = row.map(|row| &row.record);
        let sides = record.and_then(|r| Some([r.x?, r.y?, r.width?, r.height?]));
        let sides = sides.map(|[x, y, width, height]| format!("[{x:.0}, {y:.0}, {width:.0}, {height:.0}]"));
        cells.push(sides.map_or(Value::Null, Value::Text));
        let emotions = row.and_then(Row::emotions);
        cells.extend(Emotion::ALL.map(|emotion| float(emotions.map(|values| values[emotion.index()]))));
    }
    let first = &picture[0];
    cells.push(text(first.record.source.as_ref()));
    cells.extend([integer(first.record.frame), integer(first.record.timestamp_ms)]);
    cells.extend(outcome(first));
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::tests::rows;

    fn table(layout: Layout, picture: &[Row]) -> Vec<Vec<(String, Value)>> {
        let names = layout.columns();
        let named = |cells: Vec<Value>| {
            assert_eq!(cells.len(), names.len());
            names.iter().map(|column| column.name.to_string()).zip(cells).collect()
        };
        layout.cells(picture).into_iter().map(named).collect()
    }

    fn cell(row: &[(String, Value)], name: &str) -> Value {
        row.iter().find(|(column, _)| column == name).unwrap().1.clone()
    }

    #[test]
    fn py_feat_counts_from_zero_and_calls_happy_happiness() {
        let mut row = rows().remove(0);
        row.record.timestamp_ms = Some(83_900);
        let table = table(Layout::PyFeat, &[row.clone()]);
        assert_eq!(cell(&table[0], "happiness"), float(row.record.happy));
        assert_eq!(cell(&table[0], "FaceRectWidth"), float(row.record.width));
        assert_eq!(cell(&table[0], "frame"), integer(row.record.frame.map(|frame| frame - 1)));
        assert_eq!(cell(&table[0], "approx_time"), Value::Text("01:23".to_owned()));
    }

    #[test]
    fn the_fer_package_has_one_row_for_each_picture() {
        let [face, none, failed] = rows().try_into().unwrap();
        let layout = Layout::FerPackage { faces: 2 };
        let two = table(layout, &[face.clone(), face.clone()]);
        assert_eq!(two.len(), 1);
        assert_eq!(cell(&two[0], "fear1"), float(face.record.fear));
        assert!(matches!(cell(&two[0], "box1"), Value::Text(text) if text.starts_with('[')));
        let empty = table(layout, &[none]);
        assert_eq!([cell(&empty[0], "box0"), cell(&empty[0], "angry0")], [Value::Null, Value::Null]);
        assert_eq!(cell(&table(layout, &[failed])[0], "message"), Value::Text("it is damaged".to_owned()));
    }
}

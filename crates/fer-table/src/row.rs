//! A row: a [`FaceRecord`] and the probabilities of its frame before smoothing.

use fer_model::{Emotion, Probabilities};
use fer_vision::{Analysis, FaceRecord, Origin, RecordStatus, TrackedFace};

use crate::cell::{Cell, Column, Kind, Value};

/// A row of a table of faces.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The columns that answers of `fer-serve` have too.
    pub record: FaceRecord,
    /// What the network said about this frame, in the order of [`Emotion::ALL`]. The record's probabilities are smoothed over
    /// the frames of a video. `None` for a photo, whose probabilities are not smoothed, and without a face.
    pub raw: Option<[f32; Emotion::COUNT]>,
}

/// Names of the columns with the raw probabilities, in the order of [`Emotion::ALL`].
const RAW: [&str; Emotion::COUNT] =
    ["raw_angry", "raw_disgust", "raw_fear", "raw_happy", "raw_sad", "raw_surprise", "raw_neutral"];

/// Names the fields of [`FaceRecord`] in the order of the columns, with their types.
macro_rules! record_columns {
    ($($name:ident: $type:ty),* $(,)?) => {
        const RECORD: &[(&str, Kind)] = &[$((stringify!($name), <$type as Cell>::KIND)),*];

        fn record_values(record: &FaceRecord) -> Vec<Value> {
            vec![$(record.$name.to_value()),*]
        }

        fn record_from(cells: &mut impl Iterator<Item = Value>) -> Result<FaceRecord, (&'static str, String)> {
            Ok(FaceRecord {
                $($name: <$type as Cell>::from_value(cells.next().unwrap_or(Value::Null))
                    .map_err(|problem| (stringify!($name), problem))?),*
            })
        }
    };
}

record_columns! {
    source: Option<String>,
    frame: Option<u64>,
    timestamp_ms: Option<u64>,
    image_width: Option<u32>,
    image_height: Option<u32>,
    face: Option<u32>,
    x: Option<f32>,
    y: Option<f32>,
    width: Option<f32>,
    height: Option<f32>,
    confidence: Option<f32>,
    left_eye_x: Option<f32>,
    left_eye_y: Option<f32>,
    right_eye_x: Option<f32>,
    right_eye_y: Option<f32>,
    nose_x: Option<f32>,
    nose_y: Option<f32>,
    mouth_left_x: Option<f32>,
    mouth_left_y: Option<f32>,
    mouth_right_x: Option<f32>,
    mouth_right_y: Option<f32>,
    angry: Option<f32>,
    disgust: Option<f32>,
    fear: Option<f32>,
    happy: Option<f32>,
    sad: Option<f32>,
    surprise: Option<f32>,
    neutral: Option<f32>,
    dominant: Option<Emotion>,
    uncertain: Option<bool>,
    track_id: Option<u64>,
    status: RecordStatus,
    message: Option<String>,
}

impl Row {
    /// The columns of a table, in order: those of [`FaceRecord::COLUMNS`], then the raw probabilities.
    pub fn columns() -> Vec<Column> {
        let record = RECORD.iter().map(|&(name, kind)| Column::new(name, kind));
        record.chain(RAW.map(|name| Column::new(name, Kind::Float))).collect()
    }

    /// The rows of one photo: one for each face, or a single row without a face.
    pub fn of_photo(origin: &Origin, analysis: &Analysis) -> Vec<Self> {
        FaceRecord::of(origin, analysis).into_iter().map(Self::from).collect()
    }

    /// The rows of one frame of a video. `tracks` is what [`Tracker::update`](fer_vision::Tracker::update) returned for the
    /// faces of the same analysis.
    pub fn of_frame(origin: &Origin, analysis: &Analysis, tracks: &[TrackedFace]) -> Vec<Self> {
        let raw = analysis.faces.iter().map(|face| Some(values_of(&face.emotions)));
        let records = FaceRecord::of_frame(origin, analysis, tracks).into_iter();
        records.zip(raw.chain([None])).map(|(record, raw)| Self { record, raw }).collect()
    }

    /// The row of a picture that could not be analysed.
    pub fn failed(origin: &Origin, message: impl Into<String>) -> Self {
        FaceRecord::failed(origin, message).into()
    }

    /// The record's probabilities in the order of [`Emotion::ALL`]; `None` without a face.
    pub fn emotions(&self) -> Option<[f32; Emotion::COUNT]> {
        let FaceRecord { angry, disgust, fear, happy, sad, surprise, neutral, .. } = &self.record;
        Some([(*angry)?, (*disgust)?, (*fear)?, (*happy)?, (*sad)?, (*surprise)?, (*neutral)?])
    }

    /// The cells, in the order of [`Row::columns`].
    pub fn values(&self) -> Vec<Value> {
        let mut values = record_values(&self.record);
        values.extend((0..Emotion::COUNT).map(|i| self.raw.map_or(Value::Null, |raw| Value::Float(raw[i]))));
        values
    }

    /// The row of cells in the order of [`Row::columns`]. Cells that are missing at the end are null.
    ///
    /// # Errors
    /// The name of the column whose cell does not fit, and what is wrong with it.
    pub fn from_values(values: impl IntoIterator<Item = Value>) -> Result<Self, (&'static str, String)> {
        let mut cells = values.into_iter();
        let record = record_from(&mut cells)?;
        let mut raw = [0.0; Emotion::COUNT];
        let mut complete = true;
        for (value, name) in raw.iter_mut().zip(RAW) {
            let cell = Option::<f32>::from_value(cells.next().unwrap_or(Value::Null));
            match cell.map_err(|problem| (name, problem))? {
                Some(number) => *value = number,
                None => complete = false,
            }
        }
        Ok(Self { record, raw: complete.then_some(raw) })
    }

    /// The cells as a JSON array, on one line. [`Row::from_json`] gives exactly the same row again.
    pub fn to_json(&self) -> String {
        let mut json = String::from("[");
        for (index, value) in self.values().iter().enumerate() {
            json += if index == 0 { "" } else { "," };
            json += &value.to_json();
        }
        json + "]"
    }

    /// The row that [`Row::to_json`] wrote.
    ///
    /// # Errors
    /// What is wrong with the array.
    pub fn from_json(json: &serde_json::Value) -> Result<Self, String> {
        let cells = json.as_array().ok_or("a row is not an array")?;
        let columns = Self::columns();
        if cells.len() != columns.len() {
            return Err(format!("a row has {} cells instead of {}", cells.len(), columns.len()));
        }
        let values = cells.iter().zip(&columns).map(|(cell, column)| Value::from_json(cell, column.kind));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        Self::from_values(values).map_err(|(column, problem)| format!("column `{column}`: {problem}"))
    }
}

impl From<FaceRecord> for Row {
    fn from(record: FaceRecord) -> Self {
        Self { record, raw: None }
    }
}

fn values_of(emotions: &Probabilities) -> [f32; Emotion::COUNT] {
    Emotion::ALL.map(|emotion| emotions.get(emotion))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A row of a face in a frame, with different values in all columns, and rows without a face.
    pub(crate) fn rows() -> Vec<Row> {
        let origin =
            Origin { source: Some("a, \"b\"\n.mp4".to_owned()), frame: Some(7), timestamp_ms: Some(1 << 40) };
        let failed = Row::failed(&Origin::photo(Some("ü.jpg".to_owned())), "it is damaged");
        let mut none = Row::failed(&origin, "");
        none.record.status = RecordStatus::NoFace;
        (none.record.message, none.record.image_width) = (None, Some(640));
        let mut number = 0;
        let cells = Row::columns().into_iter().map(|column| {
            number += 1;
            match (column.name.as_ref(), column.kind) {
                ("source", _) => Value::Text("clip.mp4".to_owned()),
                ("dominant", _) => Value::Text("fear".to_owned()),
                ("status", _) => Value::Text("ok".to_owned()),
                (_, Kind::Text) => Value::Null,
                (_, Kind::Int32 | Kind::Int64) => Value::Int(number),
                (_, Kind::Float) => Value::Float(1.0 / number as f32),
                (_, Kind::Bool) => Value::Bool(true),
            }
        });
        vec![Row::from_values(cells).unwrap(), none, failed]
    }

    #[test]
    fn columns_are_those_of_the_record_and_the_raw_probabilities() {
        let names: Vec<_> = Row::columns().into_iter().map(|column| column.name).collect();
        assert_eq!(names[..FaceRecord::COLUMNS.len()], FaceRecord::COLUMNS);
        let raw = Emotion::ALL.map(|emotion| format!("raw_{}", emotion.name()));
        assert_eq!(names[FaceRecord::COLUMNS.len()..], raw);
    }

    #[test]
    fn cells_give_the_same_row_again() {
        for row in rows() {
            assert_eq!(Row::from_values(row.values()).unwrap(), row);
        }
        for row in rows() {
            let json = serde_json::from_str(&row.to_json()).unwrap();
            assert_eq!(Row::from_json(&json).unwrap(), row);
        }
        let mut wrong = rows()[0].values();
        wrong[1] = Value::Int(-1);
        assert_eq!(Row::from_values(wrong).unwrap_err().0, "frame");
        assert_eq!(Row::from_values([]).unwrap_err().0, "status");
    }
}

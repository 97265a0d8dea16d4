//! Values of a table's cells, and how the fields of a record become cells and back.

use std::borrow::Cow;

use fer_model::Emotion;
use fer_vision::RecordStatus;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 32-bit integers.
    Int32,
    /// 64-bit integers.
    Int64,
    /// 32-bit floating-point numbers.
    Float,
    /// UTF-8 text.
    Text,
    /// True or false.
    Bool,
}

/// A column: its name and the type of its cells. Every cell may be null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name, unique in its table.
    pub name: Cow<'static, str>,
    /// Type of the cells.
    pub kind: Kind,
}

impl Column {
    /// A column.
    pub fn new(name: impl Into<Cow<'static, str>>, kind: Kind) -> Self {
        Self { name: name.into(), kind }
    }
}

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f32),
    /// A text.
    Text(String),
    /// True or false.
    Bool(bool),
}

impl Value {
    /// Reads the text of a CSV cell as a value of a column. An empty cell is null.
    pub(crate) fn parse(text: &str, kind: Kind) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::Null);
        }
        let parsed = match kind {
            Kind::Int32 | Kind::Int64 => text.parse().ok().map(Self::Int),
            Kind::Float => text.parse().ok().map(Self::Float),
            Kind::Text => Some(Self::Text(text.to_owned())),
            Kind::Bool => text.to_ascii_lowercase().parse().ok().map(Self::Bool),
        };
        parsed.ok_or_else(|| format!("{text:?} is not {}", kind.article()))
    }

    /// Reads a JSON value as a value of a column.
    pub(crate) fn from_json(json: &serde_json::Value, kind: Kind) -> Result<Self, String> {
        let value = match (json, kind) {
            (serde_json::Value::Null, _) => Some(Self::Null),
            (json, Kind::Int32 | Kind::Int64) => json.as_i64().map(Self::Int),
            (json, Kind::Float) => json.as_f64().map(|number| Self::Float(number as f32)),
            (json, Kind::Text) => json.as_str().map(|text| Self::Text(text.to_owned())),
            (json, Kind::Bool) => json.as_bool().map(Self::Bool),
        };
        value.ok_or_else(|| format!("{json} is not {}", kind.article()))
    }

    /// The cell as JSON. Numbers have as few digits as give the same number again; NaN and infinities become null.
    pub(crate) fn to_json(&self) -> Cow<'_, str> {
        match self {
            Self::Null => "null".into(),
            Self::Float(number) if !number.is_finite() => "null".into(),
            Self::Text(text) => serde_json::Value::from(text.as_str()).to_string().into(),
            Self::Int(_) | Self::Float(_) | Self::Bool(_) => self.to_text(),
        }
    }

    /// The text of a CSV cell, which is empty for null.
    pub(crate) fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Null => "".into(),
            Self::Int(number) => number.to_string().into(),
            Self::Float(number) => number.to_string().into(),
            Self::Text(text) => text.into(),
            Self::Bool(true) => "true".into(),
            Self::Bool(false) => "false".into(),
        }
    }
}

impl Kind {
    fn article(self) -> &'static str {
        match self {
            Self::Int32 | Self::Int64 => "a whole number",
            Self::Float => "a number",
            Self::Text => "a text",
            Self::Bool => "true or false",
        }
    }
}

/// A field of a record that is a cell of a table.
pub(crate) trait Cell: Sized {
    /// Type of the column.
    const KIND: Kind;

    fn to_value(&self) -> Value;

    /// The field, or what is wrong with the cell.
    fn from_value(value: Value) -> Result<Self, String>;
}

macro_rules! integer_cell {
    ($type:ty, $kind:expr) => {
        impl Cell for Option<$type> {
            const KIND: Kind = $kind;

            fn to_value(&self) -> Value {
                self.and_then(|number| i64::try_from(number).ok()).map_or(Value::Null, Value::Int)
            }

            fn from_value(value: Value) -> Result<Self, String> {
                match value {
                    Value::Null => Ok(None),
                    Value::Int(number) => <$type>::try_from(number)
                        .map(Some)
                        .map_err(|_| format!("{number} is not between 0 and {}", <$type>::MAX)),
                    other => Err(format!("{other:?} is not {}", $kind.article())),
                }
            }
        }
    };
}

// Signed columns, because many programs that read Parquet have no unsigned numbers.
integer_cell!(u32, Kind::Int32);
integer_cell!(u64, Kind::Int64);

macro_rules! plain_cell {
    ($type:ty, $kind:expr, $variant:ident) => {
        impl Cell for Option<$type> {
            const KIND: Kind = $kind;

            fn to_value(&self) -> Value {
                self.clone().map_or(Value::Null, Value::$variant)
            }

            fn from_value(value: Value) -> Result<Self, String> {
                match value {
                    Value::Null => Ok(None),
                    Value::$variant(value) => Ok(Some(value)),
                    other => Err(format!("{other:?} is not {}", $kind.article())),
                }
            }
        }
    };
}

plain_cell!(f32, Kind::Float, Float);
plain_cell!(bool, Kind::Bool, Bool);
plain_cell!(String, Kind::Text, Text);

impl Cell for Option<Emotion> {
    const KIND: Kind = Kind::Text;

    fn to_value(&self) -> Value {
        self.map_or(Value::Null, |emotion| Value::Text(emotion.name().to_owned()))
    }

    fn from_value(value: Value) -> Result<Self, String> {
        let Some(name) = Option::<String>::from_value(value)? else { return Ok(None) };
        let emotion = Emotion::ALL.into_iter().find(|emotion| emotion.name() == name);
        emotion.map(Some).ok_or_else(|| format!("{name:?} is not an emotion"))
    }
}

impl Cell for RecordStatus {
    const KIND: Kind = Kind::Text;

    fn to_value(&self) -> Value {
        let name = match self {
            Self::Ok => "ok",
            Self::NoFace => "no_face",
            Self::Error => "error",
        };
        Value::Text(name.to_owned())
    }

    fn from_value(value: Value) -> Result<Self, String> {
        match Option::<String>::from_value(value)?.as_deref() {
            Some("ok") => Ok(Self::Ok),
            Some("no_face") => Ok(Self::NoFace),
            Some("error") => Ok(Self::Error),
            other => Err(format!("{other:?} is not ok, no_face or error")),
        }
    }
}

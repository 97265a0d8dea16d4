//! The query parameter `format`: nested answers, or flat records for tables.

use actix_web::web::Query;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::error::ApiError;

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AnswerFormat {
    /// One object for each photo, with its faces inside.
    #[default]
    Analysis,
    /// Flat `FaceRecord` rows: one for each face, and one for a photo without a face or that could not be read.
    Records,
}

/// The query of a route that offers both forms.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct FormatQuery {
    /// `analysis` (the default) for nested answers, `records` for flat rows.
    #[serde(default)]
    #[param(inline)]
    format: AnswerFormat,
}

impl AnswerFormat {
    /// Reads the parameter from a query string; other parameters are ignored.
    pub(crate) fn of(query: &str) -> Result<Self, ApiError> {
        let query = Query::<FormatQuery>::from_query(query);
        query.map(|query| query.format).map_err(|error| {
            ApiError::BadRequest(format!(
                "the query parameter 'format' must be 'analysis' or 'records' ({error})"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_one_of_two() {
        assert_eq!(AnswerFormat::of("").unwrap(), AnswerFormat::Analysis);
        assert_eq!(AnswerFormat::of("a=b&format=records").unwrap(), AnswerFormat::Records);
        assert_eq!(AnswerFormat::of("format=analysis").unwrap(), AnswerFormat::Analysis);
        assert!(AnswerFormat::of("format=csv").unwrap_err().to_string().contains("'records'"));
    }
}

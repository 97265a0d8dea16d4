//! OpenAPI schemas of types that cannot derive them.
//!
//! Fields name a schema here with `#[schema(value_type = …)]`. `fer-model` does not depend on OpenAPI; the schemas of its types
//! are made of [`Emotion::ALL`], so that they follow it.

use std::borrow::Cow;

use fer_model::Emotion;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// The schema of an [`Emotion`].
pub enum EmotionSchema {}

impl PartialSchema for EmotionSchema {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(Emotion::ALL.map(Emotion::name)))
            .description(Some("Label of a facial expression"))
            .into()
    }
}

impl ToSchema for EmotionSchema {
    fn name() -> Cow<'static, str> {
        "Emotion".into()
    }
}

/// The schema of [`Probabilities`](fer_model::Probabilities).
pub enum EmotionsSchema {}

impl PartialSchema for EmotionsSchema {
    fn schema() -> RefOr<Schema> {
        let probability = || ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0)).maximum(Some(1));
        let description = "A probability for each emotion; together they are 1.";
        let object = ObjectBuilder::new().schema_type(Type::Object).description(Some(description));
        let names = Emotion::ALL.into_iter().map(Emotion::name);
        names.fold(object, |object, name| object.property(name, probability()).required(name)).into()
    }
}

impl ToSchema for EmotionsSchema {
    fn name() -> Cow<'static, str> {
        "Emotions".into()
    }
}

/// The schema of a point: an array of exactly two numbers. A derived schema would not say how many.
pub(crate) enum PointSchema {}

impl PartialSchema for PointSchema {
    fn schema() -> RefOr<Schema> {
        let coordinate = ObjectBuilder::new().schema_type(Type::Number);
        ArrayBuilder::new().items(coordinate).min_items(Some(2)).max_items(Some(2)).into()
    }
}

impl ToSchema for PointSchema {
    fn name() -> Cow<'static, str> {
        "Point".into()
    }
}

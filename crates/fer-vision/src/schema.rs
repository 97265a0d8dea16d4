//! OpenAPI schemas of types of `fer-model`, which does not depend on OpenAPI.
//!
//! Fields name a schema here with `#[schema(value_type = …)]`. The schemas are made of [`Emotion::ALL`], so that they follow it.

use std::borrow::Cow;

use fer_model::Emotion;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
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

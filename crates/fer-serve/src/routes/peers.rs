//! Routes in the shapes of DeepFace's REST server and of the `fer` package. Their clients work unchanged; only the URL differs.

use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use fer_image::BoundingBox;
use fer_model::{Emotion, Probabilities};
use fer_pool::Lane;
use fer_vision::{Analyzer, EmotionSchema, EmotionsSchema, FaceAnalysis, Timing};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::body;
use super::native::{analysis, received, uncached};
use super::schemas::{Bytes, DeepFaceForm, DeepFaceRequest, PhotoErrors, PhotoForm};
use crate::error::ApiError;
use crate::inference::run;
use crate::state::Service;

/// An error whose JSON also has the key `exception`, which DeepFace's clients read.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct PeerError(#[from] ApiError);

impl ResponseError for PeerError {
    fn status_code(&self) -> actix_web::http::StatusCode {
        self.0.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let mut json = self.0.json();
        json["exception"] = Value::String(self.0.to_string());
        self.0.response(&json)
    }
}

/// Answers like DeepFace's REST server for the action `emotion`.
///
/// The photo is `img` in JSON, as base64 or as a data URI, or the file `img` of a form. Scores are from 0 to 100. `left_eye` is the
/// person's left eye, which is on the right of the photo.
#[utoipa::path(
    post,
    path = "/analyze",
    operation_id = "deepface",
    tag = "compatibility",
    request_body(content((DeepFaceForm = "multipart/form-data"), (DeepFaceRequest = "application/json"))),
    responses((status = 200, description = "The faces", body = DeepFaceAnswer), PhotoErrors)
)]
pub(super) async fn deepface(
    service: web::Data<Service>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, PeerError> {
    service.workers.check_room(Lane::Photo).map_err(ApiError::from)?;
    let photo = if body::is(&request, "multipart/form-data") {
        DeepFacePhoto::of_form(body::form(&request, payload, &service.body).await?)?
    } else {
        DeepFacePhoto::of_json(body::whole(&request, payload, &service.encoded_body).await?)?
    };
    let DeepFacePhoto { image, enforce_detection } = photo;
    let (results, timing) = run(&service, move |analyzer, cancellation| {
        deepface_results(analyzer, &image, enforce_detection, &|| !cancellation.is_cancelled())
    })
    .await?;
    service.metrics.picture(&timing);
    Ok(uncached().json(DeepFaceAnswer { results }))
}

/// The parts of a DeepFace request that this server uses. It has its own detector and alignment, and ignores those settings.
struct DeepFacePhoto {
    image: web::Bytes,
    enforce_detection: bool,
}

impl DeepFacePhoto {
    fn of_json(text: body::Body) -> Result<Self, ApiError> {
        if text.as_ref().is_empty() {
            return Err(ApiError::EmptyBody);
        }
        let json: Map<String, Value> = serde_json::from_slice(text.as_ref()).map_err(|e| body::bad(&e))?;
        let image = match json.get("img").or_else(|| json.get("img_path")) {
            Some(Value::String(text)) => body::base64_image(text)?,
            Some(_) => return Err(ApiError::BadRequest("img is not a string with base64".to_owned())),
            None => return Err(ApiError::MissingField("img")),
        };
        only_emotion(json.get("actions"))?;
        let image = text.replaced_by(image).into_shared();
        Ok(Self { image, enforce_detection: enforced(json.get("enforce_detection"))? })
    }

    fn of_form(fields: Vec<body::Field>) -> Result<Self, ApiError> {
        let (mut image, mut enforce_detection) = (None, true);
        for body::Field { name, body, .. } in fields {
            let text = || Value::String(String::from_utf8_lossy(body.as_ref()).into_owned());
            match name.as_str() {
                "img" => image = Some(body.into_shared()),
                "actions" => only_emotion(Some(&text()))?,
                "enforce_detection" => enforce_detection = enforced(Some(&text()))?,
                _ => {}
            }
        }
        let image = image.ok_or(ApiError::MissingField("img"))?;
        Ok(Self { image, enforce_detection })
    }
}

/// Checks that only the action `emotion` is requested. Actions are a list, or text such as `emotion` or `["emotion"]`. A request
/// without actions means `emotion`, although DeepFace's default is all four of its actions.
fn only_emotion(actions: Option<&Value>) -> Result<(), ApiError> {
    let named: Vec<String> = match actions {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(list)) => list.iter().map(|item| item.as_str().unwrap_or("?").to_owned()).collect(),
        Some(Value::String(text)) => text
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect(),
        Some(other) => vec![other.to_string()],
    };
    match named.iter().find(|action| *action != "emotion") {
        None => Ok(()),
        Some(other) => {
            let message = format!("action '{other}' is not offered; this server offers only 'emotion'");
            Err(ApiError::BadRequest(message))
        }
    }
}

/// Reads a truth value that may be text, as in forms.
fn enforced(value: Option<&Value>) -> Result<bool, ApiError> {
    match value {
        None | Some(Value::Null) => Ok(true),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::String(text)) if ["true", "1", "yes"].contains(&text.to_ascii_lowercase().as_str()) => {
            Ok(true)
        }
        Some(Value::String(text)) if ["false", "0", "no"].contains(&text.to_ascii_lowercase().as_str()) => {
            Ok(false)
        }
        Some(other) => {
            Err(ApiError::BadRequest(format!("enforce_detection is {other}; expected true or false")))
        }
    }
}

fn deepface_results(
    analyzer: &mut Analyzer,
    image: &[u8],
    enforce: bool,
    needed: &dyn Fn() -> bool,
) -> Result<(Vec<DeepFaceResult>, Timing), ApiError> {
    let (pixels, analysis) = analyzer.analyze_while(image, needed)?;
    if !analysis.faces.is_empty() {
        return Ok((analysis.faces.iter().map(DeepFaceResult::of).collect(), analysis.timing_ms));
    }
    if enforce {
        return Err(ApiError::NoFace);
    }
    // DeepFace classifies the whole picture too, with a confidence of 0.
    let emotions = analyzer.classify_whole(&pixels)?.ok_or(ApiError::Internal)?;
    let (w, h) = (pixels.width().into(), pixels.height().into());
    let region = Region { x: 0, y: 0, w, h, left_eye: None, right_eye: None };
    Ok((vec![DeepFaceResult::new(emotions, region, 0.0)], analysis.timing_ms))
}

/// The faces of a photo, as DeepFace gives them.
#[derive(Serialize, ToSchema)]
struct DeepFaceAnswer {
    results: Vec<DeepFaceResult>,
}

/// One face, as DeepFace gives it.
#[derive(Serialize, ToSchema)]
struct DeepFaceResult {
    /// A score for each emotion, from 0 to 100.
    emotion: Scores,
    /// The emotion with the highest score.
    #[schema(value_type = EmotionSchema)]
    dominant_emotion: Emotion,
    /// Where the face is.
    region: Region,
    /// The detector's probability that this is a face, from 0 to 1. It is 0 if the whole picture was classified.
    face_confidence: f32,
}

/// A bounding box and the eyes, in whole pixels of the upright photo.
#[derive(Serialize, ToSchema)]
struct Region {
    x: i64,
    y: i64,
    w: i64,
    h: i64,
    /// The person's left eye. Null if the whole picture was classified.
    #[schema(required = true)]
    left_eye: Option<[i64; 2]>,
    /// The person's right eye. Null if the whole picture was classified.
    #[schema(required = true)]
    right_eye: Option<[i64; 2]>,
}

/// Probabilities as scores from 0 to 100.
struct Scores(Probabilities);

impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(emotion, share)| (emotion.name(), 100.0 * share)))
    }
}

impl PartialSchema for Scores {
    fn schema() -> RefOr<Schema> {
        let score = || ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0)).maximum(Some(100));
        let object = ObjectBuilder::new().schema_type(Type::Object);
        let scores = Emotion::ALL.into_iter().map(Emotion::name);
        scores.fold(object, |object, name| object.property(name, score()).required(name)).into()
    }
}

impl ToSchema for Scores {}

impl DeepFaceResult {
    fn new(emotions: Probabilities, region: Region, face_confidence: f32) -> Self {
        Self { emotion: Scores(emotions), dominant_emotion: emotions.dominant(), region, face_confidence }
    }

    fn of(found: &FaceAnalysis) -> Self {
        let [x, y, w, h] = whole_pixels(found.face.bounding_box);
        let point = |[x, y]: [f32; 2]| Some([x.round() as i64, y.round() as i64]);
        // Our landmarks are left and right as seen in the photo, DeepFace's are the person's own.
        let (left_eye, right_eye) =
            (point(found.face.landmarks.right_eye), point(found.face.landmarks.left_eye));
        let region = Region { x, y, w, h, left_eye, right_eye };
        Self::new(found.emotions, region, found.face.confidence)
    }
}

/// Answers like `detect_emotions` of the `fer` package.
///
/// The answer is a list with one entry for each face. Probabilities are rounded to two decimals.
#[utoipa::path(
    post,
    path = "/detect_emotions",
    operation_id = "fer",
    tag = "compatibility",
    request_body(content(
        (PhotoForm = "multipart/form-data"),
        (Bytes = "image/jpeg"),
        (Bytes = "image/png"),
        (Bytes = "image/webp"),
        (Bytes = "application/octet-stream"),
    )),
    responses((status = 200, description = "The faces", body = Vec<FerFace>), PhotoErrors)
)]
pub(super) async fn fer(
    service: web::Data<Service>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, PeerError> {
    let photo = received(&service, &request, payload, "image").await?;
    let analysis = analysis(&service, photo.bytes).await?;
    let faces: Vec<FerFace> = analysis.faces.iter().map(FerFace::of).collect();
    Ok(uncached().json(faces))
}

/// One face, as the `fer` package gives it.
#[derive(Serialize, ToSchema)]
struct FerFace {
    /// Left edge, top edge, width and height of the bounding box, in whole pixels of the upright photo.
    r#box: [i64; 4],
    /// The probability of each emotion, rounded to two decimals.
    #[schema(value_type = EmotionsSchema)]
    emotions: Rounded,
}

/// Probabilities with two decimals.
struct Rounded(Probabilities);

impl Serialize for Rounded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let two_decimals = |share: f32| (f64::from(share) * 100.0).round() / 100.0;
        serializer.collect_map(self.0.iter().map(|(emotion, share)| (emotion.name(), two_decimals(share))))
    }
}

impl FerFace {
    fn of(found: &FaceAnalysis) -> Self {
        Self { r#box: whole_pixels(found.face.bounding_box), emotions: Rounded(found.emotions) }
    }
}

/// Left edge, top edge, width and height, rounded to whole pixels.
fn whole_pixels(bounding_box: BoundingBox) -> [i64; 4] {
    let BoundingBox { x, y, width, height } = bounding_box;
    [x, y, width, height].map(|side| side.round() as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn actions_and_truth_values_come_in_many_shapes() {
        for fine in
            [json!(null), json!(["emotion"]), json!("emotion"), json!("['emotion']"), json!("[\"emotion\"]")]
        {
            assert!(only_emotion(Some(&fine)).is_ok(), "{fine}");
        }
        for other in [json!(["emotion", "age"]), json!("gender"), json!(7)] {
            let message = only_emotion(Some(&other)).unwrap_err().to_string();
            assert!(message.contains("is not offered"), "{message}");
        }
        assert!(enforced(None).unwrap() && enforced(Some(&json!("True"))).unwrap());
        assert!(!enforced(Some(&json!("false"))).unwrap() && !enforced(Some(&json!(false))).unwrap());
        assert!(enforced(Some(&json!(3))).is_err() && enforced(Some(&json!("perhaps"))).is_err());
    }
}

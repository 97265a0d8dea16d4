//! Answers in the shapes of DeepFace's REST server and of the `fer` package, so that their clients need no change but the
//! address.

use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use fer_image::BoundingBox;
use fer_model::Probabilities;
use fer_pool::Lane;
use fer_vision::{Analyzer, FaceAnalysis, Timing};
use serde_json::{Map, Value, json};

use super::body;
use super::native::{analysis, received, uncached};
use crate::error::ApiError;
use crate::inference::run;
use crate::state::Service;

/// An error with the peer's key `exception` beside ours.
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

/// `POST /analyze` of DeepFace for the action `emotion`: JSON with `img` as base64 or data URI, or a form with the file
/// `img`. Scores are 0 to 100, `left_eye` is the person's own left.
pub(super) async fn deepface(
    service: web::Data<Service>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, PeerError> {
    service.workers.check_room(Lane::Photo).map_err(ApiError::from)?;
    let asked = if body::is(&request, "multipart/form-data") {
        Asked::of_form(body::form(&request, payload, &service.body).await?)?
    } else {
        Asked::of_json(body::whole(&request, payload, &service.encoded_body).await?)?
    };
    let Asked { image, enforce_detection } = asked;
    let (results, timing) = run(&service, move |analyzer, cancellation| {
        deepface_results(analyzer, &image, enforce_detection, &|| !cancellation.is_cancelled())
    })
    .await?;
    service.metrics.picture(&timing);
    Ok(uncached().json(json!({ "results": results })))
}

/// What a DeepFace client asks for; the detector, alignment and the like are ours.
struct Asked {
    image: web::Bytes,
    enforce_detection: bool,
}

impl Asked {
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
        for body::Field { name, body } in fields {
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

/// Actions as a list or as text such as `emotion` or `["emotion"]`; DeepFace's default would be all four.
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
            let message = format!("action '{other}' is not offered; this server knows emotion alone");
            Err(ApiError::BadRequest(message))
        }
    }
}

/// A truth value that may come as text: "false" is not true.
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
) -> Result<(Vec<Value>, Timing), ApiError> {
    let (pixels, analysis) = analyzer.analyze_while(image, needed)?;
    if !analysis.faces.is_empty() {
        return Ok((analysis.faces.iter().map(deepface_face).collect(), analysis.timing_ms));
    }
    if enforce {
        return Err(ApiError::NoFace);
    }
    // As DeepFace does: the whole picture, with a confidence of none.
    let emotions = analyzer.classify_whole(&pixels)?.ok_or(ApiError::Internal)?;
    let whole = json!({
        "x": 0, "y": 0, "w": pixels.width(), "h": pixels.height(), "left_eye": null, "right_eye": null,
    });
    Ok((vec![deepface_result(&emotions, &whole, 0.0)], analysis.timing_ms))
}

fn deepface_face(found: &FaceAnalysis) -> Value {
    let [x, y, w, h] = whole_pixels(found.face.bounding_box);
    let point = |[x, y]: [f32; 2]| json!([x.round() as i64, y.round() as i64]);
    let region = json!({
        "x": x, "y": y, "w": w, "h": h,
        // Ours are as seen in the picture, theirs the person's own.
        "left_eye": point(found.face.landmarks.right_eye),
        "right_eye": point(found.face.landmarks.left_eye),
    });
    deepface_result(&found.emotions, &region, found.face.confidence)
}

fn deepface_result(emotions: &Probabilities, region: &Value, confidence: f32) -> Value {
    let scores: Map<String, Value> =
        emotions.iter().map(|(emotion, share)| (emotion.name().to_owned(), json!(100.0 * share))).collect();
    json!({
        "emotion": scores,
        "dominant_emotion": emotions.dominant().name(),
        "region": region,
        "face_confidence": confidence,
    })
}

/// `detect_emotions` of the `fer` package: a list, an entry for each face, probabilities with two places.
pub(super) async fn fer(
    service: web::Data<Service>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, PeerError> {
    let photo = received(&service, &request, payload, "image").await?;
    let analysis = analysis(&service, photo).await?;
    let faces: Vec<Value> = analysis.faces.iter().map(fer_face).collect();
    Ok(uncached().json(faces))
}

fn fer_face(found: &FaceAnalysis) -> Value {
    let two_places = |share: f32| (f64::from(share) * 100.0).round() / 100.0;
    let emotions: Map<String, Value> = found
        .emotions
        .iter()
        .map(|(emotion, share)| (emotion.name().to_owned(), json!(two_places(share))))
        .collect();
    json!({ "box": whole_pixels(found.face.bounding_box), "emotions": emotions })
}

/// `x, y, width, height`
fn whole_pixels(bounding_box: BoundingBox) -> [i64; 4] {
    let BoundingBox { x, y, width, height } = bounding_box;
    [x, y, width, height].map(|side| side.round() as i64)
}

#[cfg(test)]
mod tests {
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

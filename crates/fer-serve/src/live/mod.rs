//! `GET /v1/live`: a WebSocket that takes frames as binary messages (JPEG, WebP or PNG) and answers each that was analysed
//! with one JSON message.
//!
//! A connection has one frame in work and at most one waiting: when the client is faster, the newest frame wins and those
//! that were passed over are counted. Tracks and smoothing are the connection's own.

pub(crate) mod connections;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::{Uri, header};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{AggregatedMessage, CloseCode, CloseReason, Session};
use fer_pool::Lane;
use fer_vision::{Analysis, Thumbnail, Tracker};
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::inference::run_in;
use crate::state::Service;

use self::connections::Slot;

/// In which a connection without a key must send it: its place is one that others want.
const KEY_TIME: Duration = Duration::from_secs(5);

/// While the lane is full, a frame asks again so often, unless a newer one takes its place.
const ASK_AGAIN: Duration = Duration::from_millis(10);

pub(crate) async fn live(
    service: web::Data<Service>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let service = service.into_inner();
    check_origin(&request, &service.cors_origins)?;
    let client = service.access.client(&request);
    // The guard lets a connection without a key through; then its first message is the key.
    let admitted = service.access.admits(request.headers()) == Some(true);
    let slot = service.live.open(client, service.limits.connections)?;
    let (response, session, messages) =
        actix_ws::handle(&request, payload).map_err(|e| ApiError::BadRequest(e.to_string()))?;
    let most = service.body.bytes;
    let messages = messages.max_frame_size(most).aggregate_continuations().max_continuation_size(most);
    let connection = Connection::new(session, service, slot, admitted);
    actix_web::rt::spawn(connection.serve(messages));
    Ok(response)
}

/// A page of another site must not use a visitor's camera and this server; clients that are no browsers send no origin.
fn check_origin(request: &HttpRequest, others: &[String]) -> Result<(), ApiError> {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else { return Ok(()) };
    let own = origin.parse::<Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string));
    if own.is_some() && own.as_deref() == text(header::HOST) || others.iter().any(|other| other == origin) {
        return Ok(());
    }
    Err(ApiError::ForbiddenOrigin(origin.to_owned()))
}

/// A frame with its number, counted from 1 as it came in, and its time.
struct Frame {
    number: u64,
    came: Instant,
    bytes: web::Bytes,
}

struct Connection {
    session: Session,
    service: Arc<Service>,
    /// Freed when the connection ends.
    _slot: Slot,
    started: Instant,
    frames: u64,
    dropped: u64,
    /// The newest, while another is in work.
    waiting: Option<Frame>,
    tracker: Tracker,
    /// Whether a key was given, or none is wanted.
    admitted: bool,
}

/// What a frame came to.
type Outcome = (Frame, Result<(Analysis, Thumbnail), ApiError>);

impl Connection {
    fn new(session: Session, service: Arc<Service>, slot: Slot, admitted: bool) -> Self {
        let (started, tracker) = (Instant::now(), Tracker::default());
        Self {
            session,
            service,
            _slot: slot,
            started,
            frames: 0,
            dropped: 0,
            waiting: None,
            tracker,
            admitted,
        }
    }

    /// Until one side ends it; says why where it is this one.
    async fn serve(mut self, mut messages: actix_ws::AggregatedMessageStream) {
        let mut stopping = self.service.stopping.subscribe();
        let mut work: Option<std::pin::Pin<Box<dyn Future<Output = Outcome>>>> = None;
        let reason = loop {
            let idle = self.service.limits.live_idle;
            let idle = if self.admitted { idle } else { idle.min(KEY_TIME) };
            let event = {
                let mut answered = match &mut work {
                    Some(work) => Either::Left(work.as_mut()),
                    None => Either::Right(std::future::pending::<Outcome>()),
                };
                let quiet = std::pin::pin!(actix_web::rt::time::sleep(idle));
                let told = std::pin::pin!(stopping.wait_for(|stopping| *stopping));
                let ends = select(quiet, told);
                match select(select(messages.next(), &mut answered), ends).await {
                    Either::Left((Either::Left((message, _)), _)) => Event::Message(message),
                    Either::Left((Either::Right((outcome, _)), _)) => Event::Outcome(Box::new(outcome)),
                    Either::Right((Either::Left(_), _)) => Event::Idle,
                    Either::Right((Either::Right(_), _)) => Event::Stopping,
                }
            };
            match event {
                Event::Message(Some(Ok(AggregatedMessage::Text(text)))) if !self.admitted => {
                    self.admitted = self.is_key(&text);
                    if !self.admitted {
                        break Some((CloseCode::Policy, ApiError::NoKey.to_string()));
                    }
                }
                Event::Message(Some(Ok(AggregatedMessage::Binary(_)))) if !self.admitted => {
                    break Some((CloseCode::Policy, ApiError::NoKey.to_string()));
                }
                Event::Message(Some(Ok(AggregatedMessage::Binary(bytes)))) => {
                    self.frames += 1;
                    let frame = Frame { number: self.frames, came: Instant::now(), bytes };
                    if work.is_none() {
                        work = Some(self.analyze(frame));
                    } else if self.waiting.replace(frame).is_some() {
                        self.dropped += 1;
                        self.service.metrics.dropped_frames.inc();
                    }
                }
                Event::Message(Some(Ok(AggregatedMessage::Ping(bytes)))) => {
                    if self.session.pong(&bytes).await.is_err() {
                        return;
                    }
                }
                Event::Message(Some(Ok(AggregatedMessage::Pong(_) | AggregatedMessage::Text(_)))) => {}
                Event::Message(Some(Ok(AggregatedMessage::Close(_))) | None) => break None,
                Event::Message(Some(Err(error))) => break Some((CloseCode::Protocol, error.to_string())),
                Event::Outcome(outcome) => {
                    let answer = self.answer(*outcome).to_string();
                    // A client that takes no answers does not keep its place either.
                    let taken = actix_web::rt::time::timeout(idle, self.session.text(answer)).await;
                    if !matches!(taken, Ok(Ok(()))) {
                        return;
                    }
                    work = self.waiting.take().map(|frame| self.analyze(frame));
                }
                Event::Idle if !self.admitted => {
                    break Some((CloseCode::Policy, ApiError::NoKey.to_string()));
                }
                // Busy with a frame is not idle.
                Event::Idle if work.is_some() => {}
                Event::Idle => break Some((CloseCode::Normal, "no frame came for too long".to_owned())),
                Event::Stopping => break Some((CloseCode::Restart, "the server is stopping".to_owned())),
            }
        };
        let reason = reason.map(|(code, text)| CloseReason { code, description: Some(text) });
        // The other side may be gone already.
        let _ = self.session.close(reason).await;
    }

    /// `{"api_key": "…"}`
    fn is_key(&self, message: &str) -> bool {
        let json: Option<Value> = serde_json::from_str(message).ok();
        let key = json.as_ref().and_then(|json| json["api_key"].as_str());
        key.is_some_and(|key| self.service.access.opens(key))
    }

    fn analyze(&self, frame: Frame) -> std::pin::Pin<Box<dyn Future<Output = Outcome>>> {
        let service = Arc::clone(&self.service);
        Box::pin(async move {
            loop {
                let bytes = frame.bytes.clone();
                let work = move |analyzer: &mut fer_vision::Analyzer| {
                    let pixels = fer_image::decode(&bytes, analyzer.limits())?;
                    Ok((analyzer.analyze_pixels(&pixels)?, Thumbnail::of(&pixels)))
                };
                match run_in(&service, Lane::Live, work).await {
                    Err(ApiError::Busy(_)) => actix_web::rt::time::sleep(ASK_AGAIN).await,
                    result => return (frame, result),
                }
            }
        })
    }

    fn answer(&mut self, (frame, result): Outcome) -> Value {
        let time = frame.came.duration_since(self.started);
        let mut json = json!({
            "frame": frame.number,
            "timestamp_ms": time.as_millis() as u64,
            "dropped": self.dropped,
        });
        let (analysis, thumbnail) = match result {
            Ok(found) => found,
            Err(error) => {
                json["error"] = error.json()["error"].take();
                return json;
            }
        };
        self.service.metrics.picture(&analysis.timing_ms);
        let tracked = self.tracker.update(time, &thumbnail, &analysis.faces);
        let mut whole = serde_json::to_value(&analysis).unwrap_or(Value::Null);
        let faces = whole["faces"].as_array_mut().map(Vec::as_mut_slice).unwrap_or_default();
        for (face, tracked) in faces.iter_mut().zip(tracked) {
            face["track_id"] = json!(tracked.track_id);
            face["raw_emotions"] = face["emotions"].take();
            face["emotions"] = json!(tracked.emotions);
            face["dominant_emotion"] = json!(tracked.emotions.dominant());
            face["uncertain"] = json!(tracked.emotions.is_uncertain());
        }
        for key in ["image", "faces", "mood", "timing_ms"] {
            json[key] = whole[key].take();
        }
        json["delay_ms"] = json!(frame.came.elapsed().as_millis() as u64);
        json
    }
}

enum Event {
    Message(Option<Result<AggregatedMessage, actix_ws::ProtocolError>>),
    Outcome(Box<Outcome>),
    Idle,
    Stopping,
}

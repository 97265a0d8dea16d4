//! `GET /v1/live`: a WebSocket that takes frames as binary messages (JPEG, WebP or PNG) and answers each frame that was analysed
//! with one JSON message.
//!
//! A connection has one frame in work and at most one waiting. When the client is faster, the newest frame replaces the waiting one,
//! and the replaced frames are counted. Each connection has its own tracks and smoothing.

mod answer;
pub(crate) mod connections;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::{Uri, header};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{AggregatedMessage, CloseCode, CloseReason, Session};
use fer_pool::{Cancellation, Lane, Reservation};
use fer_vision::{Analysis, Mood, Thumbnail, Tracker};
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use serde_json::Value;

use crate::error::ApiError;
use crate::inference::run_in;
use crate::routes::format::{AnswerFormat, FormatQuery};
use crate::routes::schemas::LiveErrors;
use crate::state::Service;

pub(crate) use self::answer::LiveFrame;
use self::answer::Position;
use self::connections::Slot;

/// Time within which a connection must send its key. Until then it occupies a place that others could use.
const KEY_TIME: Duration = Duration::from_secs(5);

/// Interval at which a frame asks for room in a full queue, unless a newer frame replaces it.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// A WebSocket that takes frames and answers with faces.
///
/// Send frames (JPEG, PNG or WebP) as binary messages. The server answers each frame that it analyses with one text message, a
/// `LiveFrame`. If frames come faster than they are analysed, the newest frame is analysed and older ones are dropped. If the server
/// requires an API key and the client cannot send a header, the first message must be `{"api_key": "…"}`.
#[utoipa::path(
    get,
    path = "/v1/live",
    operation_id = "live",
    tag = "video",
    params(FormatQuery),
    responses((status = 101, description = "The connection is a WebSocket; its messages are `LiveFrame` objects"), LiveErrors)
)]
pub(crate) async fn live(
    service: web::Data<Service>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let service = service.into_inner();
    check_origin(&request, &service.cors_origins)?;
    let records = AnswerFormat::of(request.query_string())? == AnswerFormat::Records;
    let client = service.access.client(&request);
    // The guard lets a connection without a key through; then its first message is the key.
    let admitted = service.access.admits(request.headers()) == Some(true);
    let slot = service.live.open(client, service.limits.connections)?;
    let (response, session, messages) =
        actix_ws::handle(&request, payload).map_err(|e| ApiError::BadRequest(e.to_string()))?;
    let most = service.body.bytes;
    let messages = messages.max_frame_size(most).aggregate_continuations().max_continuation_size(most);
    let connection = Connection::new(session, service, slot, admitted, records);
    actix_web::rt::spawn(connection.serve(messages));
    Ok(response)
}

/// Refuses pages of other sites, which must not use a visitor's camera with this server. Clients other than browsers send no origin.
fn check_origin(request: &HttpRequest, others: &[String]) -> Result<(), ApiError> {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else { return Ok(()) };
    let own = origin.parse::<Uri>().ok().and_then(|uri| uri.authority().map(ToString::to_string));
    if own.is_some() && own.as_deref() == text(header::HOST) || others.iter().any(|other| other == origin) {
        return Ok(());
    }
    Err(ApiError::ForbiddenOrigin(origin.to_owned()))
}

/// A frame, numbered from 1 in the order in which the frames came.
struct Frame {
    number: u64,
    came: Instant,
    bytes: web::Bytes,
}

/// The bytes of a frame, counted against the budget of the server.
struct HeldBytes {
    bytes: web::Bytes,
    _reservation: Reservation,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

struct Connection {
    session: Session,
    service: Arc<Service>,
    /// Freed when the connection ends.
    _slot: Slot,
    started: Instant,
    /// When the key was accepted, the last frame came, or its answer was ready, whichever is latest.
    active: Instant,
    frames: u64,
    dropped: u64,
    /// The newest frame, while another is in work.
    waiting: Option<Frame>,
    tracker: Tracker,
    /// Whether a valid key was given or none is required.
    admitted: bool,
    /// Whether each answer has the flat records of its frame too.
    records: bool,
}

/// A frame and the result of its analysis.
type Outcome = (Frame, Result<(Analysis, Thumbnail), ApiError>);

/// The analysis of a frame.
type Work = std::pin::Pin<Box<dyn Future<Output = Outcome>>>;

/// Why a connection ends: a reason for the client, or nothing to say because the client has ended it or is gone.
type End = Option<(CloseCode, String)>;

impl Connection {
    fn new(session: Session, service: Arc<Service>, slot: Slot, admitted: bool, records: bool) -> Self {
        let (started, tracker) = (Instant::now(), Tracker::default());
        Self {
            session,
            service,
            _slot: slot,
            started,
            active: started,
            frames: 0,
            dropped: 0,
            waiting: None,
            tracker,
            admitted,
            records,
        }
    }

    /// Serves until one side ends the connection. Tells the client why if this side does.
    async fn serve(mut self, mut messages: actix_ws::AggregatedMessageStream) {
        let mut work: Option<Work> = None;
        let end = loop {
            let step = match self.next(&mut messages, &mut work).await {
                Event::Message(message) => self.take(message, &mut work).await,
                Event::Outcome(outcome) => {
                    self.active = Instant::now();
                    let answer = self.answer(*outcome).to_json();
                    let sent = self.send(answer).await;
                    work = self.waiting.take().map(|frame| self.analyze(frame));
                    sent
                }
                Event::TooLate if self.admitted => {
                    Err(Some((CloseCode::Normal, "no frame came for too long".to_owned())))
                }
                Event::TooLate => Err(Some((CloseCode::Policy, ApiError::NoKey.to_string()))),
                Event::Stopping => Err(Some((CloseCode::Restart, "the server is stopping".to_owned()))),
            };
            if let Err(end) = step {
                break end;
            }
        };
        let reason = end.map(|(code, text)| CloseReason { code, description: Some(text) });
        // The other side may be gone already, or may not read.
        let _ = actix_web::rt::time::timeout(KEY_TIME, self.session.close(reason)).await;
    }

    /// What happens next. The deadline comes first, so that a client that sends without a pause cannot put it off.
    async fn next(&self, messages: &mut actix_ws::AggregatedMessageStream, work: &mut Option<Work>) -> Event {
        let left = self.deadline().saturating_duration_since(Instant::now());
        let (late, answered) = match work {
            // Waiting for an answer is not idle.
            Some(work) => (Either::Left(std::future::pending()), Either::Left(work.as_mut())),
            None if left.is_zero() => return Event::TooLate,
            None => {
                let late = Box::pin(actix_web::rt::time::sleep(left));
                (Either::Right(late), Either::Right(std::future::pending::<Outcome>()))
            }
        };
        let mut stopping = self.service.stopping.subscribe();
        let told = std::pin::pin!(stopping.wait_for(|stopping| *stopping));
        match select(select(late, told), select(answered, messages.next())).await {
            Either::Left((Either::Left(_), _)) => Event::TooLate,
            Either::Left((Either::Right(_), _)) => Event::Stopping,
            Either::Right((Either::Left((outcome, _)), _)) => Event::Outcome(Box::new(outcome)),
            Either::Right((Either::Right((message, _)), _)) => Event::Message(message),
        }
    }

    /// When the connection ends unless the key or a frame comes before. No other message puts it off.
    fn deadline(&self) -> Instant {
        let idle = self.service.limits.live_idle;
        if self.admitted { self.active + idle } else { self.started + idle.min(KEY_TIME) }
    }

    async fn take(&mut self, message: Option<Message>, work: &mut Option<Work>) -> Result<(), End> {
        match message {
            Some(Ok(AggregatedMessage::Text(text))) if !self.admitted && self.is_key(&text) => {
                (self.admitted, self.active) = (true, Instant::now());
                Ok(())
            }
            Some(Ok(AggregatedMessage::Text(_) | AggregatedMessage::Binary(_))) if !self.admitted => {
                Err(Some((CloseCode::Policy, ApiError::NoKey.to_string())))
            }
            Some(Ok(AggregatedMessage::Binary(bytes))) => self.take_frame(bytes, work).await,
            Some(Ok(AggregatedMessage::Ping(bytes))) => {
                let mut session = self.session.clone();
                self.in_time(session.pong(&bytes)).await
            }
            Some(Ok(AggregatedMessage::Pong(_) | AggregatedMessage::Text(_))) => Ok(()),
            Some(Ok(AggregatedMessage::Close(_))) | None => Err(None),
            Some(Err(error)) => Err(Some((CloseCode::Protocol, error.to_string()))),
        }
    }

    /// Analyses a frame now or when the one in work is done. A frame for which the server has no memory is answered with an error.
    async fn take_frame(&mut self, bytes: web::Bytes, work: &mut Option<Work>) -> Result<(), End> {
        self.frames += 1;
        self.active = Instant::now();
        let reserved = self.service.workers.budget().reserve(bytes.len());
        let mut frame = Frame { number: self.frames, came: self.active, bytes: web::Bytes::new() };
        match reserved {
            Err(over) => {
                let answer = self.answer((frame, Err(over.into()))).to_json();
                return self.send(answer).await;
            }
            Ok(reservation) => {
                frame.bytes = web::Bytes::from_owner(HeldBytes { bytes, _reservation: reservation });
            }
        }
        if work.is_none() {
            *work = Some(self.analyze(frame));
        } else if self.waiting.replace(frame).is_some() {
            self.dropped += 1;
            self.service.metrics.dropped_frames.inc();
        }
        Ok(())
    }

    async fn send(&self, answer: String) -> Result<(), End> {
        let mut session = self.session.clone();
        self.in_time(session.text(answer)).await
    }

    /// Ends the connection of a client that does not read what is sent to it.
    async fn in_time(&self, sending: impl Future<Output = Result<(), actix_ws::Closed>>) -> Result<(), End> {
        let limit = if self.admitted { self.service.limits.live_idle } else { KEY_TIME };
        match actix_web::rt::time::timeout(limit, sending).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(None),
        }
    }

    /// `{"api_key": "…"}`
    fn is_key(&self, message: &str) -> bool {
        let json: Option<Value> = serde_json::from_str(message).ok();
        let key = json.as_ref().and_then(|json| json["api_key"].as_str());
        key.is_some_and(|key| self.service.access.opens(key))
    }

    fn analyze(&self, frame: Frame) -> Work {
        let service = Arc::clone(&self.service);
        Box::pin(async move {
            loop {
                let bytes = frame.bytes.clone();
                let work = move |analyzer: &mut fer_vision::Analyzer, cancellation: &Cancellation| {
                    let needed = || !cancellation.is_cancelled();
                    let (pixels, analysis) = analyzer.analyze_while(&bytes, &needed)?;
                    Ok((analysis, Thumbnail::of(&pixels)))
                };
                match run_in(&service, Lane::Live, work).await {
                    Err(ApiError::Busy(_)) => actix_web::rt::time::sleep(ASK_AGAIN).await,
                    result => return (frame, result),
                }
            }
        })
    }

    fn answer(&mut self, (frame, result): Outcome) -> LiveFrame {
        let time = frame.came.duration_since(self.started);
        let timestamp_ms = time.as_millis() as u64;
        let position =
            Position { frame: frame.number, timestamp_ms, dropped: self.dropped, records: self.records };
        let (mut analysis, thumbnail) = match result {
            Ok(found) => found,
            Err(error) => return LiveFrame::failed(position, &error),
        };
        self.service.metrics.picture(&analysis.timing_ms);
        let tracks = self.tracker.update(time, &thumbnail, &analysis.faces);
        // The mood is smoothed like the faces beside it.
        let smoothed: Vec<_> = tracks.iter().map(|face| face.emotions).collect();
        analysis.mood = Mood::of(&smoothed);
        let delay_ms = frame.came.elapsed().as_millis() as u64;
        LiveFrame::analysed(position, analysis, &tracks, delay_ms)
    }
}

type Message = Result<AggregatedMessage, actix_ws::ProtocolError>;

enum Event {
    /// `None` when the client has closed its side.
    Message(Option<Message>),
    Outcome(Box<Outcome>),
    /// No key or no frame came before the deadline.
    TooLate,
    Stopping,
}

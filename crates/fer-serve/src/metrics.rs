//! Counters and histograms for Prometheus. They contain no picture, face or result.

use fer_vision::Timing;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Stages of an analysis, in the order in which they run.
const STAGES: [&str; 3] = ["decode", "detect", "classify"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stage {
    stage: &'static str,
}

pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    stages: Family<Stage, Histogram>,
    /// Live frames that were dropped for newer ones.
    pub(crate) dropped_frames: Counter,
    waiting: Gauge,
    panics: Gauge<i64>,
    skipped: Gauge,
    inflight: Gauge,
    live: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("fer");
        let requests = Family::default();
        registry.register("http_requests", "Requests by route and status", requests.clone());
        let stages = Family::<Stage, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.001, 2.0, 14))
        });
        let help = "Time of a photo in a stage of the analysis, without waiting";
        registry.register_with_unit("stage", help, Unit::Seconds, stages.clone());
        // Present from the start, with a count of zero.
        for stage in STAGES {
            drop(stages.get_or_create(&Stage { stage }));
        }
        let dropped_frames = Counter::default();
        registry.register(
            "dropped_frames",
            "Live frames that were dropped for newer ones",
            dropped_frames.clone(),
        );
        let (waiting, panics, live) = (Gauge::default(), Gauge::default(), Gauge::default());
        let (skipped, inflight) = (Gauge::default(), Gauge::default());
        registry.register(
            "skipped_jobs",
            "Photos whose clients left before a worker took them",
            skipped.clone(),
        );
        registry.register(
            "inflight_bytes",
            "Bytes of request bodies and live frames in memory",
            inflight.clone(),
        );
        registry.register("queue_waiting", "Photos that wait for a worker", waiting.clone());
        registry.register("worker_panics", "Workers that panicked and got a new state", panics.clone());
        registry.register("live_connections", "Open live connections", live.clone());
        Self { registry, requests, stages, dropped_frames, waiting, panics, skipped, inflight, live }
    }
}

impl Metrics {
    /// Adds the times of one photo.
    pub(crate) fn picture(&self, timing: &Timing) {
        for (stage, milliseconds) in STAGES.into_iter().zip([timing.decode, timing.detect, timing.classify]) {
            self.stages.get_or_create(&Stage { stage }).observe(milliseconds / 1000.0);
        }
    }

    /// Counts an answered request.
    pub(crate) fn request(&self, route: String, status: u16) {
        self.requests.get_or_create(&Request { route, status }).inc();
    }

    /// Everything in the OpenMetrics text format, with the current values of the gauges.
    ///
    /// # Errors
    /// A value that cannot be formatted.
    pub(crate) fn text(&self, now: &Gauges) -> Result<String, std::fmt::Error> {
        let value = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.waiting.set(value(now.waiting as u64));
        self.panics.set(value(now.panics));
        self.skipped.set(value(now.skipped));
        self.inflight.set(value(now.inflight as u64));
        self.live.set(value(now.live as u64));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Values that are read when metrics are asked for.
pub(crate) struct Gauges {
    /// Photos that wait for a worker.
    pub(crate) waiting: usize,
    /// Workers that panicked and were replaced.
    pub(crate) panics: u64,
    /// Photos whose clients left before a worker took them.
    pub(crate) skipped: u64,
    /// Bytes of request bodies and live frames.
    pub(crate) inflight: usize,
    /// Open live connections.
    pub(crate) live: usize,
}

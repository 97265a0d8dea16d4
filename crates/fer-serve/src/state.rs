//! What all requests share. It imports no handler, so that every handler can import it.

use std::sync::Arc;
use std::time::Duration;

use fer_engine::Engine;
use fer_model::Bundle;
use fer_pool::{ByteBudget, Workers};
use fer_vision::Analyzer;
use tokio::sync::watch;

use crate::guard::access::Access;
use crate::live::connections::{ConnectionLimits, Connections};
use crate::metrics::Metrics;
use crate::music::Library;

/// What all requests share.
pub(crate) struct Service {
    pub(crate) workers: Workers<Analyzer>,
    pub(crate) bundle: Bundle,
    pub(crate) engine: Engine,
    pub(crate) body: BodyLimits,
    /// Limits on a photo that is encoded as base64 in JSON.
    pub(crate) encoded_body: BodyLimits,
    /// Limits on all images of a batch together.
    pub(crate) batch: BodyLimits,
    pub(crate) access: Access,
    pub(crate) metrics: Metrics,
    /// Other origins whose pages may use the API.
    pub(crate) cors_origins: Vec<String>,
    /// Fewest faces that a group report needs; `None` if reports are not offered.
    pub(crate) group_min_faces: Option<u32>,
    pub(crate) music: Library,
    pub(crate) limits: LiveLimits,
    pub(crate) live: Arc<Connections>,
    /// True as soon as the server is told to stop.
    pub(crate) stopping: watch::Sender<bool>,
}

/// Limits on live connections.
#[derive(Clone, Copy)]
pub(crate) struct LiveLimits {
    pub(crate) connections: ConnectionLimits,
    /// Time without a frame after which a connection is closed.
    pub(crate) live_idle: Duration,
}

impl Service {
    /// Marks the server as stopping: it finishes its requests and reports that it is not ready for more.
    pub(crate) fn drain(&self) {
        self.stopping.send_replace(true);
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.stopping.borrow()
    }

    /// The model and the engine, for the line that is printed at the start.
    pub(crate) fn describe(&self) -> String {
        format!("model {}, engine {}", self.bundle.name(), self.engine.describe())
    }
}

/// Limits on a request's body. The time is for the whole body: a client that sends a byte now and then holds a connection no
/// longer than that.
#[derive(Clone)]
pub(crate) struct BodyLimits {
    /// Largest body, in bytes.
    pub(crate) bytes: usize,
    pub(crate) seconds: u64,
    /// The bytes that all requests may hold together.
    pub(crate) budget: ByteBudget,
}

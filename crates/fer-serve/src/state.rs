//! What all requests share. It imports no handler, so that every handler can import it.

use std::sync::Arc;
use std::time::Duration;

use fer_engine::Engine;
use fer_model::Bundle;
use fer_pool::Workers;
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
    /// Of all images of a batch together.
    pub(crate) batch: BodyLimits,
    pub(crate) access: Access,
    pub(crate) metrics: Metrics,
    /// Pages of these origins may use the API; those of our own may anyway.
    pub(crate) cors_origins: Vec<String>,
    /// Fewest faces of a group report, where such are offered.
    pub(crate) group_min_faces: Option<u32>,
    pub(crate) music: Library,
    pub(crate) limits: LiveLimits,
    pub(crate) live: Arc<Connections>,
    /// True from the moment in which the server is told to stop.
    pub(crate) stopping: watch::Sender<bool>,
}

/// On live connections.
#[derive(Clone, Copy)]
pub(crate) struct LiveLimits {
    pub(crate) connections: ConnectionLimits,
    /// Without a frame.
    pub(crate) live_idle: Duration,
}

impl Service {
    /// From now on the server finishes what it has, and is not ready for more.
    pub(crate) fn drain(&self) {
        self.stopping.send_replace(true);
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.stopping.borrow()
    }

    /// For the start-up line.
    pub(crate) fn describe(&self) -> String {
        format!("model {}, engine {}", self.bundle.name(), self.engine.describe())
    }
}

/// Limits on a request's body. The time is for the whole body: a client that sends a byte now and then holds a connection no
/// longer than that.
#[derive(Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) bytes: usize,
    pub(crate) seconds: u64,
}

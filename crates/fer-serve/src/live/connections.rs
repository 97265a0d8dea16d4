//! How many live connections there are, and of which clients.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::ApiError;

/// Limits on the number of live connections.
#[derive(Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// Connections of all clients together.
    pub(crate) total: usize,
    /// Connections of one client, identified by its address.
    pub(crate) per_client: usize,
}

/// The open live connections, counted by client address.
#[derive(Default)]
pub(crate) struct Connections(Mutex<HashMap<IpAddr, usize>>);

impl Connections {
    /// Open connections of all clients.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// Counts one more connection of `client` until the returned [`Slot`] is dropped.
    ///
    /// # Errors
    /// [`ApiError::TooManyConnections`] when a limit is reached.
    pub(crate) fn open(self: &Arc<Self>, client: IpAddr, limits: ConnectionLimits) -> Result<Slot, ApiError> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= limits.total {
            return Err(ApiError::TooManyConnections("all live connections are in use".to_owned()));
        }
        let own = open.entry(client).or_default();
        if *own >= limits.per_client {
            return Err(ApiError::TooManyConnections(format!(
                "this client already has {own} live connections"
            )));
        }
        *own += 1;
        Ok(Slot { connections: Arc::clone(self), client })
    }
}

/// One counted connection. Dropping it frees the slot.
pub(crate) struct Slot {
    connections: Arc<Connections>,
    client: IpAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.connections.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.client);
            }
        }
    }
}

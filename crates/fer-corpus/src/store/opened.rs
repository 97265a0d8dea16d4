//! Stores that are open. Each bucket or host is opened once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::ObjectStore;

use super::StoreError;
use super::address::Address;

/// The stores by the roots of their addresses.
#[derive(Default)]
pub(crate) struct Opened(Mutex<HashMap<String, Arc<dyn ObjectStore>>>);

impl Opened {
    /// The store of an address.
    ///
    /// # Errors
    /// If the environment lacks a setting that the store needs.
    pub(super) fn open(&self, address: &Address) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&address.root) {
            return Ok(Arc::clone(store));
        }
        let store = address.open()?;
        stores.insert(address.root.clone(), Arc::clone(&store));
        Ok(store)
    }

    /// The store and the key of an address.
    ///
    /// # Errors
    /// If the address is not valid, or the environment lacks a setting that the store needs.
    pub(crate) fn object(
        &self,
        address: &str,
    ) -> Result<(Arc<dyn ObjectStore>, object_store::path::Path), StoreError> {
        let address = Address::parse(address)?;
        Ok((self.open(&address)?, address.key))
    }
}

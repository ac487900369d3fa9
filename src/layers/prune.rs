//! Removes the layers that nobody wants any more.

use super::durable::{is_layer, mark_of};
use super::{Layers, LayersError, folder, key, place};
use hythe_model::Digest;
use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::Duration;

/// A layer that was asked for within this time stays: who asked may not have written down yet what for.
const LATELY: Duration = Duration::from_hours(1);

impl Layers {
    /// Removes all layers but these, and but those that were asked for lately. The number of those removed.
    pub async fn prune(&self, keep: impl IntoIterator<Item = &Digest>) -> Result<usize, LayersError> {
        let inner = &self.inner;
        let mut kept: HashSet<String> = keep.into_iter().map(key).collect();
        {
            let mut asked = inner.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.retain(|_, when| when.elapsed() < LATELY);
            kept.extend(asked.keys().cloned());
        }
        let names = inner.helper.list_dir(&folder()?).await.map_err(LayersError::all)?;
        let mut removed = 0;
        for name in names.iter().filter(|name| is_layer(name) && !kept.contains(*name)) {
            removed += usize::from(self.take_away(name).await?);
        }
        Ok(removed)
    }

    /// Removes one layer unless somebody has asked for it meanwhile.
    async fn take_away(&self, key: &str) -> Result<bool, LayersError> {
        let inner = &self.inner;
        let gone = self.beside(key)?;
        {
            let _alone = inner.removing.write().await;
            if inner.asked.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key) {
                return Ok(false);
            }
            // The mark goes first: a layer without one is only unpacked anew.
            inner.helper.remove(&mark_of(key)?).await.map_err(LayersError::all)?;
            inner.helper.rename(&place(key)?, &gone).await.map_err(LayersError::all)?;
        }
        inner.helper.remove(&gone).await.map_err(LayersError::all)?;
        Ok(true)
    }
}

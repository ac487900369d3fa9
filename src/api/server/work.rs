//! Work that requests have begun: done to its end whoever goes on listening, and a server that stops waits for it.

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// What requests have begun at this server. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Work(TaskTracker);

impl Work {
    /// Begins some: it is done whether or not anybody waits for it.
    pub fn begin<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.0.spawn(work)
    }

    /// Waits until all of it is done. To be asked once no request can come any more.
    pub async fn over(&self) {
        self.0.close();
        self.0.wait().await;
    }

    /// How much of it is not done.
    pub fn left(&self) -> usize {
        self.0.len()
    }
}

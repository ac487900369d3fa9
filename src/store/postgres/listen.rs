//! One connection that is told of changes by the server.

use super::pool::Maker;
use crate::Changes;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Time between two attempts to listen again.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens until it is dropped, and again where the connection is lost.
pub(super) struct Listener {
    told: Arc<watch::Sender<u64>>,
    task: JoinHandle<()>,
}

impl Listener {
    pub(super) fn start(maker: Maker) -> Self {
        let told = Arc::new(watch::Sender::new(0));
        let task = tokio::spawn(listen(maker, Arc::clone(&told)));
        Self { told, task }
    }

    pub(super) fn changes(&self) -> Changes {
        Changes::new(self.told.subscribe())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(maker: Maker, told: Arc<watch::Sender<u64>>) {
    loop {
        // Nobody waits, nobody listens.
        if told.receiver_count() > 0
            && let Ok(connection) = maker.connect().await
        {
            hear(connection, &told).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn hear(mut connection: AsyncPgConnection, told: &watch::Sender<u64>) {
    if connection.batch_execute("LISTEN hythe").await.is_err() {
        return;
    }
    // What came before this was not heard.
    told.send_modify(|count| *count += 1);
    let mut notes = std::pin::pin!(connection.notifications_stream());
    while let Some(Ok(_)) = notes.next().await {
        told.send_modify(|count| *count += 1);
    }
}

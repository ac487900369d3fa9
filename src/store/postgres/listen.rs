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

/// The channel that tells of lines in logs; all else is told by the other.
const LOGS: &str = "hythe_logs";

/// Counts of what was told.
#[derive(Default)]
struct Told {
    rows: watch::Sender<u64>,
    logs: watch::Sender<u64>,
}

impl Told {
    fn is_heard(&self) -> bool {
        self.rows.receiver_count() + self.logs.receiver_count() > 0
    }
}

/// Listens until it is dropped, and again where the connection is lost.
pub(super) struct Listener {
    told: Arc<Told>,
    task: JoinHandle<()>,
}

impl Listener {
    pub(super) fn start(maker: Maker) -> Self {
        let told = Arc::<Told>::default();
        let task = tokio::spawn(listen(maker, Arc::clone(&told)));
        Self { told, task }
    }

    pub(super) fn changes(&self) -> Changes {
        Changes::new(self.told.rows.subscribe())
    }

    pub(super) fn log_changes(&self) -> Changes {
        Changes::new(self.told.logs.subscribe())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(maker: Maker, told: Arc<Told>) {
    loop {
        // Nobody waits, nobody listens.
        if told.is_heard()
            && let Ok(connection) = maker.connect().await
        {
            hear(connection, &told).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn hear(mut connection: AsyncPgConnection, told: &Told) {
    if connection.batch_execute("LISTEN hythe; LISTEN hythe_logs").await.is_err() {
        return;
    }
    let tell = |sender: &watch::Sender<u64>| sender.send_modify(|count| *count += 1);
    // What came before this was not heard.
    tell(&told.rows);
    tell(&told.logs);
    let mut notes = std::pin::pin!(connection.notifications_stream());
    while let Some(Ok(note)) = notes.next().await {
        tell(if note.channel == LOGS { &told.logs } else { &told.rows });
    }
}

//! The command that runs before a release takes traffic, in a sandbox of its own.

use super::tools::Tools;
use crate::command::{Heard, one_off};
use crate::one_off::OneOffOutput;
use crate::runtime::{Notes, RunnableRelease};
use crate::status::ExitReason;
use hythe_model::Fault;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

impl Tools {
    /// Runs the release's command, where it has one, and tells what it prints. Dropping this ends it.
    pub(super) async fn release_command(
        &self,
        release: &RunnableRelease,
        notes: &Notes<'_>,
    ) -> Result<(), Fault> {
        let Some(command) = &release.release_command else { return Ok(()) };
        let begun = Instant::now();
        let mut heard = Heard::new(command, notes);
        let mut session = self.machine.run_once(one_off(release, command), CancellationToken::new()).await?;
        // There is nothing to read.
        session.input = None;
        let hearing = async {
            while let Some(output) = session.output.recv().await {
                match output {
                    OneOffOutput::Bytes { bytes, error } => heard.bytes(&bytes, error),
                    OneOffOutput::Exit(exit) => return exit,
                }
            }
            ExitReason { ended_because: Some("its sandbox was lost".to_owned()), ..ExitReason::default() }
        };
        let exit = timeout(command.timeout.duration(), hearing).await.ok();
        heard.judge(release, command, exit.as_ref(), begun.elapsed())
    }
}

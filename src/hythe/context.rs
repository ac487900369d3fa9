//! What every verb is given: the global flags and, when it asks, the server.

use crate::client::Client;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::target;
use hythe_model::ToolName;

/// The global flags of one run.
pub(crate) struct Context {
    /// Print the API's own objects.
    pub json: bool,
    /// The tool named by flag.
    pub tool: Option<ToolName>,
}

impl Context {
    /// The server, as the settings say. Nothing is sent yet.
    #[expect(clippy::unused_self, reason = "the door through which verbs reach the server")]
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Client::new(Settings::load()?)
    }

    /// The tool meant: the flag's, else that of `HYTHE_TOOL`, else the one that the git remote `hythe` of the current
    /// folder names.
    pub(crate) fn tool(&self) -> Result<ToolName, Failure> {
        if let Some(tool) = &self.tool {
            return Ok(tool.clone());
        }
        target::of_environment().unwrap_or_else(target::of_current_folder)
    }
}

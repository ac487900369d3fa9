//! Logs of instances that ended with the machine or with the sandbox helper, when no server looked.

use crate::runtime::Witness;
use crate::status::ExitReason;
use hythe_model::InstanceId;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where an instance's output goes, below the folder of all logs.
pub(crate) fn folder(logs: &Path, instance: &InstanceId) -> PathBuf {
    let InstanceId { tool, release, process, place, attempt } = instance;
    logs.join(tool.as_str()).join(format!("{release}.{process}.{place}.{attempt}"))
}

/// The instance of a folder that [`folder`] named.
fn instance(tool: &str, folder: &str) -> Option<InstanceId> {
    // A process type may have dots of its own; the numbers around it have none.
    let (release, rest) = folder.split_once('.')?;
    let (rest, attempt) = rest.rsplit_once('.')?;
    let (process, place) = rest.rsplit_once('.')?;
    Some(InstanceId {
        tool: tool.parse().ok()?,
        release: release.parse().ok()?,
        process: process.parse().ok()?,
        place: place.parse().ok()?,
        attempt: attempt.parse().ok()?,
    })
}

/// Hands over the logs of all instances but those that are known.
pub(crate) async fn hand_over(logs: &Path, known: &HashSet<&InstanceId>, witness: &dyn Witness) {
    for (instance, folder) in all(logs).into_iter().filter(|(instance, _)| !known.contains(instance)) {
        let last_lines = super::lines::last_lines(&folder);
        let ended_because = Some("the machine or the sandbox helper stopped".to_owned());
        let exit = ExitReason { ended_because, last_lines, ..ExitReason::default() };
        witness.started(&instance, &folder);
        if witness.ended(&instance, &exit, None).await
            && let Err(error) = fs::remove_dir_all(&folder)
        {
            tracing::warn!(%instance, %error, "cannot remove an instance's log");
        }
    }
}

fn all(logs: &Path) -> Vec<(InstanceId, PathBuf)> {
    let mut all = Vec::new();
    for (tool, folder) in folders(logs) {
        all.extend(folders(&folder).filter_map(|(name, folder)| Some((instance(&tool, &name)?, folder))));
    }
    all
}

fn folders(below: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = fs::read_dir(below).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::testing;
    use async_trait::async_trait;
    use jiff::Timestamp;
    use std::sync::Mutex;

    #[test]
    fn a_folder_names_its_instance() {
        let mut id = testing::instance(&testing::release("weather", 14, ""), "web.sub.2", 3);
        id.attempt = 7;
        let path = folder(Path::new("/logs"), &id);
        assert_eq!(path, Path::new("/logs/weather/v14.web.sub.2.3.7"));
        assert_eq!(instance("weather", "v14.web.sub.2.3.7"), Some(id));
        assert_eq!(instance("weather", "v14.web.1"), None);
        assert_eq!(instance("weather", "lost+found"), None);
    }

    #[derive(Default)]
    struct Taking(Mutex<Vec<String>>);

    #[async_trait]
    impl Witness for Taking {
        fn started(&self, _: &InstanceId, _: &Path) {}

        async fn ended(&self, instance: &InstanceId, exit: &ExitReason, _: Option<Timestamp>) -> bool {
            self.0.lock().unwrap().push(format!("{instance} {:?} {}", exit.last_lines, exit.text()));
            true
        }
    }

    #[tokio::test]
    async fn logs_that_nobody_took_are_handed_over() {
        let logs = tempfile::tempdir().unwrap();
        let release = testing::release("weather", 1, "");
        let (known, gone) = (testing::instance(&release, "web", 1), testing::instance(&release, "web", 2));
        for id in [&known, &gone] {
            fs::create_dir_all(folder(logs.path(), id)).unwrap();
            fs::write(folder(logs.path(), id).join("0000000001.log"), "1 o last\n").unwrap();
        }
        let witness = Taking::default();
        hand_over(logs.path(), &HashSet::from([&known]), &witness).await;
        let taken = witness.0.into_inner().unwrap();
        assert_eq!(taken, ["weather.v1.web.2 [\"last\"] the machine or the sandbox helper stopped"]);
        assert!(folder(logs.path(), &known).exists() && !folder(logs.path(), &gone).exists());
    }
}

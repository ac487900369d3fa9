//! The configuration of a repository, whole, as this platform writes it.
//!
//! It is rendered from nothing and compared before each use, so that no line of another origin stays in force.

use crate::SourceLimits;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The configuration of every repository.
///
/// `procReceiveRefs = refs` sends every ref of a push to our hook: git itself moves none. Packs stay packs
/// (`unpackLimit`), so that a push is one file to sync. The three `fsck` exceptions are faults of old, harmless
/// histories that other forges accept too.
pub(crate) fn render(hooks: &Path, limits: &SourceLimits) -> String {
    let hooks = quote(&hooks.to_string_lossy());
    format!(
        "[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
\thooksPath = {hooks}
\tattributesFile = /dev/null
\tfsync = all
\tpackedGitWindowSize = 32m
\tpackedGitLimit = 256m
\tlogAllRefUpdates = false
[receive]
\tadvertisePushOptions = true
\tadvertiseAtomic = true
\tprocReceiveRefs = refs
\tmaxInputSize = {pack}
\tdenyDeletes = true
\tdenyNonFastForwards = true
\tunpackLimit = 1
\tautogc = false
\tupdateServerInfo = false
\thideRefs = refs/hythe
[receive \"fsck\"]
\tbadTimezone = ignore
\tmissingSpaceBeforeDate = ignore
\tzeroPaddedFilemode = ignore
[transfer]
\tfsckObjects = true
\tunpackLimit = 1
[gc]
\tauto = 0
[pack]
\tthreads = 2
",
        pack = limits.pack_bytes,
    )
}

/// A value of git's configuration format, quoted.
fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// The script that git finds as a hook; it becomes our own program at once.
pub(crate) fn hook_script(command: &crate::HookCommand, hook: &str) -> String {
    let shell = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let mut words = vec![shell(&command.program.to_string_lossy())];
    words.extend(command.args.iter().map(|arg| shell(arg)));
    format!("#!/bin/sh\nexec {} {hook}\n", words.join(" "))
}

/// Makes `path` hold `content` with `mode`, by rename, unless it does already.
pub(crate) fn converge(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    let same = fs::read(path).is_ok_and(|present| present == content.as_bytes());
    if same && fs::metadata(path)?.permissions().mode() & 0o7777 == mode {
        return Ok(());
    }
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut fresh = tempfile::Builder::new().prefix(".new-").tempfile_in(dir)?;
    fresh.write_all(content.as_bytes())?;
    fresh.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    fresh.as_file().sync_all()?;
    fresh.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HookCommand;

    #[test]
    fn hooks_survive_odd_paths() {
        let command = HookCommand { program: "/opt/it's here/hythed".into(), args: vec!["hook".into()] };
        let script = hook_script(&command, "pre-receive");
        assert_eq!(script, "#!/bin/sh\nexec '/opt/it'\\''s here/hythed' 'hook' pre-receive\n");
    }

    #[test]
    fn converging_writes_only_what_differs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        converge(&path, "one", 0o644).unwrap();
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        converge(&path, "one", 0o644).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        fs::write(&path, "[core]\n\thooksPath = /tmp/evil\n").unwrap();
        converge(&path, "one", 0o644).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

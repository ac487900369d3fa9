//! What tools read of the operator's, told of both runtimes.

use crate::support::{Client, Clustered, Server, kubectl, kubectl_apply};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A folder of the operator's.
struct Dumps {
    name: &'static str,
    path: PathBuf,
}

impl Dumps {
    fn new(place: &str, name: &'static str) -> Self {
        let path = PathBuf::from(format!("/var/tmp/hythe-test-{name}-{place}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        fs::write(path.join("day"), format!("all {name} of Monday")).expect("a file");
        // Another file system below, that everybody may write to.
        let below = path.join("below");
        fs::create_dir(&below).expect("a folder");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "mode=1777", "none"]).arg(&below).status();
        assert!(mounted.expect("mount").success(), "this story mounts a file system: run the tests as root");
        Self { name, path }
    }
}

impl Drop for Dumps {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path.join("below")).status();
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[test]
fn a_tool_reads_what_the_operator_lets_it_on_one_machine() {
    let folders = [Dumps::new("local", "dumps"), Dumps::new("local", "maps")];
    let mounts = folders.each_ref().map(|folder| format!("folder = \"{}\"", folder.path.display()));
    tell(&Server::start("mounts", &config(&mounts)), &folders[0]);
}

#[test]
fn a_tool_reads_what_the_operator_lets_it_in_a_cluster() {
    let folders = [Dumps::new("cluster", "dumps"), Dumps::new("cluster", "maps")];
    let classes = folders.each_ref().map(|folder| format!("{}-{}", folder.name, std::process::id()));
    for (class, folder) in classes.iter().zip(&folders) {
        kubectl_apply(&format!(
            r#"{{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {{"name": "{class}"}}, "spec": {{
            "capacity": {{"storage": "1Gi"}}, "accessModes": ["ReadOnlyMany"], "storageClassName": "{class}",
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {{"path": "{}"}}}}}}"#,
            folder.path.display()
        ));
    }
    let mounts = classes.each_ref().map(|class| format!("storage_class = \"{class}\""));
    tell(&Clustered::start("kube-mounts", &config(&mounts)), &folders[0]);
    for class in &classes {
        kubectl(&["delete", "persistentvolume", class, "--wait=false"]).ok();
    }
}

fn config([dumps, maps]: &[String; 2]) -> String {
    format!(
        "[[mounts]]\nname = \"dumps\"\ntools = [\"handbook\"]\n{dumps}\n[[mounts]]\nname = \"maps\"\ntools = [\"handbook\"]\n{maps}\n"
    )
}

fn tell(server: &Server, dumps: &Dumps) {
    let robin = Client::new(server, "robin");
    let publish = |tool: &str, mounts: &str, folder: &str| {
        robin.write(tool, "Procfile", &format!("web: python3 -m http.server $PORT --directory {folder}\n"));
        robin.write(tool, "project.toml", &format!("[hythe]\nmounts = [{mounts}]\n"));
        robin.commit(tool, "Read");
        robin.push(tool)
    };
    robin.tool_from("quotes", "python-procfile");
    publish("quotes", "\"dumps\"", "/mnt/dumps")
        .failed()
        .says("releases/mount")
        .says("quotes may not read the mount `dumps`");
    // One that runs already reads something, which does not start, then does, then reads something else, and then the first again.
    robin.tool_from("handbook", "python-procfile");
    publish("handbook", "", ".").ok().says("v1 is live");
    publish("handbook", "\"dumps\"", "/mnt/dumps --no-such-flag").failed();
    assert_eq!(robin.get("handbook", "/day").status, 404);
    publish("handbook", "\"dumps\"", "/mnt/dumps").ok().says("v3 is live");
    assert_eq!(robin.get("handbook", "/day").body, "all dumps of Monday");
    publish("handbook", "\"maps\"", "/mnt/maps").ok();
    assert_eq!(robin.get("handbook", "/day").body, "all maps of Monday");
    robin.hythe(&["rollback", "v3", "-t", "handbook"]).ok();
    assert_eq!(robin.get("handbook", "/day").body, "all dumps of Monday");
    // It is the operator's, and as it is.
    let write = "cd /mnt/dumps; cat day; for file in day other below/other; do echo mine > $file && exit 0; done; exit 1";
    let ran = robin.hythe(&["run", "-t", "handbook", "--", "sh", "-c", write]);
    assert_eq!((ran.code, ran.out.as_str()), (1, "all dumps of Monday"), "{ran:?}");
    assert_eq!(ran.err.matches("Read-only file system").count(), 3, "{ran:?}");
    assert_eq!(fs::read_dir(&dumps.path).expect("a folder").count(), 2);
    assert_eq!(fs::read_to_string(dumps.path.join("day")).expect("a file"), "all dumps of Monday");
}

//! What tools read of the operator's, told of both runtimes.

use crate::support::{Client, Clustered, Server, kubectl, kubectl_apply};
use std::fs;
use std::path::PathBuf;

/// A folder of the operator's.
struct Dumps(PathBuf);

impl Dumps {
    fn new(name: &str) -> Self {
        let folder = PathBuf::from(format!("/var/tmp/hythe-test-dumps-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("day"), "all of Monday").expect("a file");
        Self(folder)
    }
}

impl Drop for Dumps {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_tool_reads_what_the_operator_lets_it_on_one_machine() {
    let dumps = Dumps::new("local");
    let mount = format!("folder = \"{}\"", dumps.0.display());
    tell(&Server::start("mounts", &config(&mount)), &dumps);
}

#[test]
fn a_tool_reads_what_the_operator_lets_it_in_a_cluster() {
    let dumps = Dumps::new("cluster");
    let class = format!("dumps-{}", std::process::id());
    let volume = format!(
        r#"{{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {{"name": "{class}"}}, "spec": {{
        "capacity": {{"storage": "1Gi"}}, "accessModes": ["ReadOnlyMany"], "storageClassName": "{class}",
        "persistentVolumeReclaimPolicy": "Retain", "hostPath": {{"path": "{}"}}}}}}"#,
        dumps.0.display()
    );
    kubectl_apply(&volume);
    tell(&Clustered::start("kube-mounts", &config(&format!("storage_class = \"{class}\""))), &dumps);
    kubectl(&["delete", "persistentvolume", &class, "--wait=false"]).ok();
}

fn config(mount: &str) -> String {
    format!("[[mounts]]\nname = \"dumps\"\ntools = [\"handbook\"]\n{mount}\n")
}

fn tell(server: &Server, dumps: &Dumps) {
    let robin = Client::new(server, "robin");
    let reads = |tool: &str| {
        robin.tool_from(tool, "python-procfile");
        robin.write(tool, "Procfile", "web: python3 -m http.server $PORT --directory /mnt/dumps\n");
        robin.write(tool, "project.toml", "[hythe]\nmounts = [\"dumps\"]\n");
        robin.commit(tool, "Read the dumps");
        robin.push(tool)
    };
    reads("quotes").failed().says("releases/mount").says("quotes may not read the mount `dumps`");
    reads("handbook").ok();
    assert_eq!(robin.get("handbook", "/day").body, "all of Monday");
    // It is the operator's, and as it is.
    let write = "cat /mnt/dumps/day; echo mine > /mnt/dumps/day || echo mine > /mnt/dumps/other";
    let ran = robin.hythe(&["run", "-t", "handbook", "--", "sh", "-c", write]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.out, "all of Monday");
    assert!(ran.err.contains("Read-only file system"), "{ran:?}");
    assert_eq!(fs::read_dir(&dumps.0).expect("a folder").count(), 1);
    assert_eq!(fs::read_to_string(dumps.0.join("day")).expect("a file"), "all of Monday");
}

//! Stock tools against the API: `skopeo` and `crane`.

use super::*;
use hythe_oci::{
    Compression, History, ImageBuilder, LayerDescriptor, LayerSpec, Part, Platform, write_layer,
};
use std::path::PathBuf;
use tokio::process::Command;

/// Puts an image of two layers into the store as the platform's own export does, and returns its digest.
pub(crate) fn export(store: &ContentStore, repository: &Repository) -> Digest {
    let platform = Platform { architecture: "amd64".into(), os: "linux".into(), variant: None };
    let mut image = ImageBuilder::new(platform).entrypoint(["/bin/app"]).label("made.by", "a test");
    let noise = Hasher::digest(b"noise").to_string().repeat(60_000);
    for (name, content) in [("app", "#!/bin/sh\n".to_owned()), ("data", noise)] {
        let file = Part::File {
            target: format!("/bin/{name}"),
            content: content.into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        let upload = store.begin().unwrap();
        let compression = Compression::Gzip { level: 1 };
        let info = write_layer(&LayerSpec::new(vec![file]), compression, &mut upload.file(), 2).unwrap();
        upload.commit(repository, &info.digest, info.size).unwrap();
        image = image.layer(LayerDescriptor::of(&info, compression), History::default());
    }
    let built = image.build().unwrap();
    assert_eq!(store.put_blob(repository, &built.config).unwrap(), built.config_digest);
    let tag = "v1".parse().unwrap();
    let digest = store.put_manifest(repository, &tag, media_type::MANIFEST, &built.manifest).unwrap();
    assert_eq!(digest, built.digest);
    digest
}

pub(crate) async fn run(program: &PathBuf, arguments: &[String]) -> String {
    let output = Command::new(program).args(arguments).output().await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?}: {error}", program.display());
    String::from_utf8(output.stdout).unwrap()
}

/// Finds a stock tool.
pub(crate) fn tool(name: &str) -> PathBuf {
    let own = std::env::var_os("HYTHE_TOOLS").map(|tools| PathBuf::from(tools).join("bin"));
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).chain(own).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: run the tests by `make test`"))
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_pulls_and_pushes() {
    let skopeo = tool("skopeo");
    let site = site().await;
    let digest = export(&site.store, &"tools/a".parse().unwrap());
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let layout = format!("dir:{}", site.dir.path().join("pulled").display());
    let source = format!("docker://{}/tools/a", site.address);
    let inspect = words(&format!("inspect --tls-verify=false --creds ann:secret {source}:v1"));
    let seen: Value = serde_json::from_str(&run(&skopeo, &inspect).await).unwrap();
    assert_eq!(
        (seen["Digest"].as_str(), seen["Labels"]["made.by"].as_str()),
        (Some(digest.as_str()), Some("a test"))
    );
    let insecure = "--insecure-policy copy --preserve-digests";
    let pull = format!("{insecure} --src-tls-verify=false --src-creds ann:secret {source}:v1 {layout}");
    run(&skopeo, &words(&pull)).await;
    let to = format!("docker://{}/tools/b", site.address);
    let push = format!("{insecure} --dest-tls-verify=false --dest-creds ann:secret {layout} {to}:copied");
    run(&skopeo, &words(&push)).await;
    let repository: Repository = "tools/b".parse().unwrap();
    let tag = "copied".parse().unwrap();
    assert_eq!(site.store.resolve(&repository, &tag).unwrap(), Some(digest));
    let list = words(&format!("list-tags --tls-verify=false --creds ann:secret {to}"));
    assert!(run(&skopeo, &list).await.contains("copied"));
    // Straight from repository to repository: blobs are mounted, not carried.
    let all = "--src-tls-verify=false --src-creds ann:secret --dest-tls-verify=false --dest-creds ann:secret";
    run(&skopeo, &words(&format!("{insecure} {all} {source}:v1 docker://{}/tools/c:v1", site.address))).await;
    run(&skopeo, &words(&format!("delete --tls-verify=false --creds ann:secret {to}:copied"))).await;
    assert_eq!(site.store.resolve(&repository, &"copied".parse().unwrap()).unwrap(), None);
    let denied = format!("{insecure} --dest-tls-verify=false --dest-creds bob:secret {layout} {to}:no");
    let output = Command::new(&skopeo).args(words(&denied)).output().await.unwrap();
    assert!(!output.status.success());
    assert_eq!(site.uploads(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn crane_pulls_and_pushes() {
    let crane = tool("crane");
    let site = site().await;
    let digest = export(&site.store, &"tools/a".parse().unwrap());
    let config = site.dir.path().join("docker");
    std::fs::create_dir(&config).unwrap();
    let auths =
        serde_json::json!({"auths": {site.address.to_string(): {"username": "ann", "password": "secret"}}});
    std::fs::write(config.join("config.json"), auths.to_string()).unwrap();
    let crane = |words: String| {
        let (program, config) = (crane.clone(), config.clone());
        async move {
            let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
            let output =
                Command::new(program).env("DOCKER_CONFIG", config).args(&words).output().await.unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{words:?}: {error}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        }
    };
    let (from, to) = (format!("{}/tools/a", site.address), format!("{}/tools/b", site.address));
    assert_eq!(crane(format!("digest {from}:v1")).await, digest.as_str());
    crane(format!("validate --remote {from}:v1")).await;
    let layout = site.dir.path().join("layout");
    crane(format!("pull --format=oci {from}:v1 {}", layout.display())).await;
    crane(format!("push {} {to}:v1", layout.display())).await;
    assert_eq!(crane(format!("digest {to}:v1")).await, digest.as_str());
    crane(format!("cp {from}:v1 {}/tools/c:v1", site.address)).await;
    assert_eq!(crane(format!("ls {to}")).await, "v1");
    assert_eq!(site.uploads(), 0);
}

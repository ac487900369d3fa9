//! Reading back what was pushed.

use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_maintainer_clones_and_fetches() {
    let world = World::new().await;
    let clone = world.clone_here("a");
    clone.push().await;
    let copy = world.folder.path().join("copy");
    for protocol in ["0", "2"] {
        let _ = std::fs::remove_dir_all(&copy);
        let version = format!("protocol.version={protocol}");
        let said = clone
            .remote(&["-c", &version, "clone", "-q", &world.url("weather"), copy.to_str().unwrap()])
            .await;
        assert_eq!(said.code, Some(0), "{}", said.text);
        assert_eq!(std::fs::read_to_string(copy.join("app.py")).unwrap(), "print('hello')\n");
    }
    let next = clone.commit("app.py", "print('next')\n");
    clone.push().await;
    let copy = super::world::Clone { path: copy, ssh: clone.ssh.clone() };
    let said = copy.remote(&["pull", "-q"]).await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert_eq!(copy.git(&["rev-parse", "HEAD"]), next);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commit_of_a_detached_build_can_be_fetched() {
    let world = World::new().await;
    let clone = world.clone_here("a");
    clone.remote(&["push", "-o", "detach", "hythe", "main"]).await;
    let head = clone.git(&["rev-parse", "HEAD"]);
    let tool = super::world::tool();
    world.repositories.move_ref(&tool, "refs/hythe/builds/7", None, &super::handler::commit(&head)).unwrap();
    let said = clone.remote(&["ls-remote", "hythe"]).await;
    assert!(said.text.contains(&format!("{head}\trefs/hythe/builds/7")), "{}", said.text);
}

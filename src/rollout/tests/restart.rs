//! The server goes and comes again; tools run on.

use crate::support::{World, as_hythe, tool};
use hythe_rollout::{ImageName, InstanceState, ReadMount, Runtime};
use hythe_sandbox::RelPath;
use std::time::Duration;

#[test]
fn tools_outlive_the_server() {
    as_hythe("restart::tools_outlive_the_server", || async {
        let world = World::new("restart").await;
        let live = world.release(3, "web=2 worker=1", &[]);
        world.deploy(live.clone()).await;
        let before = world.live();
        // A rollout was under way when the server went.
        let orphan = world.start(world.release(4, "web=1", &[])).await.unwrap();
        std::mem::forget(orphan);
        assert_eq!(world.sandboxes().await, 4);

        let mut more = live.clone();
        more.release.formation.0.insert(hythe_model::ProcessType::web(), 3);
        let world = world.restarted().await;
        world.runtime.declare_tool(&tool());
        let adopted = world.runtime.adopt(vec![more]).await.unwrap();
        assert_eq!((adopted.kept, adopted.starting, adopted.stopped), (3, 1, 1));
        assert_eq!(world.live(), before, "they serve at once, under their names");
        for instance in &before {
            assert_eq!(world.get(instance, "/release").await, "v3");
        }
        while world.live().len() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        world.until_sandboxes(4).await;
        let statuses = world.runtime.instances(&tool()).await;
        assert!(statuses.iter().all(|status| status.id.release.0 == 3), "{statuses:?}");
        assert!(statuses.iter().filter(|status| status.state == InstanceState::Ready).count() >= 3);
        world.end().await;
    });
}

#[test]
fn what_reads_a_folder_is_kept_as_long_as_it_may() {
    as_hythe("restart::what_reads_a_folder_is_kept_as_long_as_it_may", || async {
        let world = World::new("folders").await;
        let folder = world.bench.folder.join("dumps");
        std::fs::create_dir(&folder).unwrap();
        let mut live = world.release(1, "web=1", &[]);
        live.settings.mounts =
            vec![ReadMount { name: "dumps".parse().unwrap(), folder: Some(folder), volume: None }];
        world.deploy(live.clone()).await;
        let world = world.restarted().await;
        let adopted = world.runtime.adopt(vec![live.clone()]).await.unwrap();
        assert_eq!((adopted.kept, adopted.starting, adopted.stopped), (1, 0, 0));

        let world = world.restarted().await;
        live.settings.mounts.clear();
        let adopted = world.runtime.adopt(vec![live]).await.unwrap();
        assert_eq!((adopted.kept, adopted.starting, adopted.stopped), (0, 1, 1));
        let is_ready = async || {
            let all = world.runtime.instances(&tool()).await;
            all.iter().any(|status| status.state == InstanceState::Ready)
        };
        while !is_ready().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        world.until_sandboxes(1).await;
        world.end().await;
    });
}

#[test]
fn cleaning_up_takes_what_is_left_of_the_dead_and_nothing_of_the_living() {
    as_hythe("restart::cleaning_up_takes_what_is_left_of_the_dead_and_nothing_of_the_living", || async {
        let world = World::new("cleaning").await;
        let live = world.release(1, "web=1", &[]);
        world.deploy(live.clone()).await;
        let roots = RelPath::new("instances").unwrap();
        let before = world.helper.list_dir(&roots).await.unwrap();
        assert_eq!(before.len(), 2, "what it wrote and the overlay's work folder: {before:?}");
        for left in ["weather.v1.1.0", "weather.v1.1.0.work"] {
            world.helper.make_dir(&roots.join(left).unwrap(), (0, 0), 0o755).await.unwrap();
        }
        world.runtime.prune(&[ImageName::of(&live)]).await.unwrap();
        assert_eq!(world.helper.list_dir(&roots).await.unwrap(), before);
        assert_eq!(world.get(&world.live()[0], "/release").await, "v1");
        world.end().await;
    });
}

#[test]
fn nothing_is_wanted_and_nothing_stays() {
    as_hythe("restart::nothing_is_wanted_and_nothing_stays", || async {
        let world = World::new("orphans").await;
        world.deploy(world.release(1, "web=1", &[])).await;
        let world = world.restarted().await;
        let adopted = world.runtime.adopt(Vec::new()).await.unwrap();
        assert_eq!((adopted.kept, adopted.stopped), (0, 1));
        world.until_sandboxes(0).await;
        world.end().await;
    });
}

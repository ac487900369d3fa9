//! A canary on one machine.

use super::*;
use crate::runtime::{Candidate, RunnableRelease};
use hythe_model::project::{Canary, Part};

/// What instances answer each second from a moment on; those of the old release answer well.
struct Answering {
    since: Instant,
    /// Of ten answers of the new release so many are errors.
    errors: u64,
}

#[async_trait]
impl Traffic for Answering {
    async fn answers(&self, _: &ToolName, sides: &[Vec<InstanceId>; 2]) -> [Answers; 2] {
        let one = |instance: &InstanceId| {
            let all = self.since.elapsed().as_secs() * 10;
            let errors = if instance.release.0 > 1 { all / 10 * self.errors } else { 0 };
            Answers { all, errors }
        };
        sides.each_ref().map(|side| side.iter().map(one).sum())
    }

    async fn drained(&self, _: &InstanceId) {
        sleep(secs(3)).await;
    }
}

impl World {
    fn canary(number: u32) -> RunnableRelease {
        let mut release = release("weather", number, "web=4 worker=1");
        release.canary = Some(Canary { part: Part::Percent(50), pause: Span::seconds(30), errors: 5 });
        release
    }

    /// Starts release 2 with a canary, after release 1.
    async fn follow(&self, notes: Arc<Mutex<Vec<String>>>) -> Result<Candidate, Fault> {
        let (before, next) = (release("weather", 1, "web=4 worker=1"), Self::canary(2));
        let note = move |event: BuildEvent| {
            if let BuildEvent::Note { text, .. } = event {
                notes.lock().unwrap().push(text);
            }
        };
        self.tools.start(next, Some(&before), &note, CancellationToken::new()).await
    }

    fn canaries(&self) -> Vec<String> {
        let all = self.tools.instances(&weather()).into_iter();
        all.filter(|status| status.canary).map(|status| status.id.to_string()).collect()
    }

    fn served_by_new(&self) -> usize {
        self.live().1.iter().filter(|name| name.contains(".v2.")).count()
    }
}

async fn erring(errors: u64) -> World {
    let world = with_traffic(Arc::new(Answering { since: Instant::now(), errors }));
    world.deploy(1, "web=4 worker=1").await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_part_serves_beside_the_old_release_and_the_rest_follows() {
    let world = erring(0).await;
    let notes = Arc::<Mutex<Vec<String>>>::default();
    let coming = world.follow(notes.clone());
    let look = async {
        sleep(secs(10)).await;
        assert_eq!((world.live().0, world.live().1.len(), world.served_by_new()), (1, 6, 2));
        assert_eq!(world.canaries(), ["weather.v2.web.1", "weather.v2.web.2"]);
        assert!(!world.machine.happened().iter().any(|what| what.starts_with("start weather.v2.worker")));
    };
    let (candidate, ()) = tokio::join!(coming, look);
    let candidate = candidate.unwrap();
    assert_eq!(candidate.instances, 5);
    assert_eq!(world.served_by_new(), 4, "what is ready of the rest takes traffic too");
    world.tools.switch(candidate);
    assert_eq!((world.live().0, world.live().1.len()), (2, 4));
    assert!(world.canaries().is_empty(), "live, they are as the others");
    let notes = notes.lock().unwrap().join("\n");
    assert_eq!(
        notes,
        "canary: 2 of 4 ready, watched for 30 s\ncanary: does well, 0 server errors in 640 answers"
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_errs_is_taken_back_and_finishes_its_requests() {
    let world = erring(2).await;
    let begun = Instant::now();
    let fault = world.follow(Arc::default()).await.unwrap_err();
    assert_eq!(fault.id, "rollout/canary-errors");
    assert!(begun.elapsed() < secs(3), "as soon as it shows");
    assert_eq!((world.live().0, world.served_by_new()), (1, 0));
    let told = |world: &World, what: &str| world.machine.happened().iter().any(|happened| happened == what);
    sleep(secs(1)).await;
    assert!(!told(&world, "terminate weather.v2.web.1"), "requests are under way");
    sleep(secs(3)).await;
    assert!(told(&world, "dispose weather.v2.web.1") && told(&world, "dispose weather.v2.web.2"));
    assert_eq!(world.tools.instances(&weather()).len(), 5);
    world.deploy(3, "web=1").await;
    assert_eq!(world.live(), (3, vec!["weather.v3.web.1".into()]));
}

#[tokio::test(start_paused = true)]
async fn one_that_ends_fails_the_release() {
    let world = erring(0).await;
    world.machine.plan("weather.v2.web.2", [Program::ends(secs(5), 7)]);
    let fault = world.follow(Arc::default()).await.unwrap_err();
    assert_eq!(fault.id, "rollout/canary-ended");
    assert_eq!((world.live().0, world.served_by_new()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_ready_any_more_fails_the_release() {
    for (hangs_after, noticed) in [(2, 5 + 2 * 5), (29, 30 + 2 * 5)] {
        let world = erring(0).await;
        world
            .machine
            .plan("weather.v2.web.2", [Program { hangs_after: Some(secs(hangs_after)), ..Program::good() }]);
        let begun = Instant::now();
        let fault = world.follow(Arc::default()).await.unwrap_err();
        assert_eq!(fault.id, "rollout/canary-unwell");
        assert_eq!(begun.elapsed().as_secs(), noticed, "three looks, and one at the end of the pause");
        assert_eq!((world.live().0, world.served_by_new()), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_cancelled_leaves_nothing() {
    let world = erring(0).await;
    let (cancel, begun) = (CancellationToken::new(), Instant::now());
    let before = release("weather", 1, "web=4 worker=1");
    let coming = world.tools.start(World::canary(2), Some(&before), &|_| (), cancel.clone());
    let end = async {
        sleep(secs(10)).await;
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(coming, end);
    assert_eq!(ended.unwrap_err().id, "rollout/cancelled");
    assert!(begun.elapsed() < secs(11));
    sleep(secs(5)).await;
    assert_eq!(world.tools.instances(&weather()).len(), 5);
}

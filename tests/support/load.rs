//! A client that asks without a pause, to see that nothing is lost.

use std::sync::atomic::{AtomicBool, Ordering};

/// Runs `work` while a client asks for a tool's page again and again, over kept connections. The number of answers;
/// anything but 200 is a panic.
pub(crate) fn under_load(router: &str, tool: &str, work: impl FnOnce()) -> u32 {
    let (stop, host) = (AtomicBool::new(false), format!("{tool}.localhost"));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let client = reqwest::blocking::Client::builder()
                .timeout(std::time::Duration::from_secs(30))
                .build()
                .expect("a client");
            let mut answered = 0;
            while !stop.load(Ordering::Relaxed) {
                let answer = client.get(format!("http://{router}/")).header("Host", &host).send();
                assert_eq!(answer.expect("an answer").status(), 200);
                answered += 1;
            }
            answered
        });
        // Also where the work panics: the load would go on for ever.
        let stopped = Stop(&stop);
        work();
        drop(stopped);
        load.join().expect("no request failed")
    })
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

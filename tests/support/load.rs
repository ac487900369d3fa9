//! A client that asks without a pause, to see that nothing is lost and who answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs `work` while a client asks for a tool's page again and again, over kept connections. The number of answers;
/// anything but 200 is a panic.
pub(crate) fn under_load(router: &str, tool: &str, work: impl FnOnce()) -> usize {
    let mut answers = answers_under_load(router, tool, work);
    let good = answers.remove(&200).unwrap_or(0);
    assert!(answers.is_empty(), "{good} answers with 200, and by their status: {answers:?}");
    good
}

/// Does the same; the number of answers by their status. A request without an answer is a panic.
pub(crate) fn answers_under_load(router: &str, tool: &str, work: impl FnOnce()) -> BTreeMap<u16, usize> {
    let (stop, host) = (AtomicBool::new(false), format!("{tool}.localhost"));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let client = reqwest::blocking::Client::builder()
                .timeout(std::time::Duration::from_secs(30))
                .build()
                .expect("a client");
            let mut answers = BTreeMap::new();
            while !stop.load(Ordering::Relaxed) {
                let answer = client.get(format!("http://{router}/")).header("Host", &host).send();
                *answers.entry(answer.expect("an answer").status().as_u16()).or_default() += 1;
            }
            answers
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

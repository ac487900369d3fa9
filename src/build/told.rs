//! What the lifecycle tells, as the events of a build log. Texts are untrusted: control characters go.

use crate::EventSink;
use hythe_cnb::BuildpackId;
use hythe_cnb::protocol::{Message, Named, Told};
use hythe_model::{BuildEvent, Phase};

/// Width of the column with a buildpack's name.
const NAME: usize = 17;

/// Turns messages into events.
pub(crate) struct Teller<'a> {
    events: &'a dyn EventSink,
}

impl<'a> Teller<'a> {
    pub(crate) fn new(events: &'a dyn EventSink) -> Self {
        Self { events }
    }

    /// One message; the last one says nothing here.
    pub(crate) fn tell(&mut self, message: Message) {
        match message {
            Message::Detected { buildpacks, millis } => {
                self.note(Phase::Detect, detected(&buildpacks), Some(millis));
            }
            Message::Started { buildpack } => self.note(Phase::Build, name(&buildpack), None),
            Message::Output { line, .. } => self.output(&line),
            Message::Finished { buildpack, millis, told } => {
                self.note(Phase::Build, finished(&buildpack, &told), Some(millis));
            }
            Message::Done { .. } | Message::Failed { .. } => {}
        }
    }

    /// A line that is no message.
    pub(crate) fn stray(&mut self, line: &str) {
        self.output(line);
    }

    fn note(&self, phase: Phase, text: String, millis: Option<u64>) {
        self.events.event(BuildEvent::Note { phase, text, millis });
    }

    fn output(&self, line: &str) {
        let line = line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
        self.events.event(BuildEvent::Output { phase: Phase::Build, line });
    }
}

/// A buildpack of ours by its short name, another's whole.
fn name(id: &BuildpackId) -> String {
    let text = id.to_string();
    text.strip_prefix("hythe/").unwrap_or(&text).to_owned()
}

fn detected(buildpacks: &[Named]) -> String {
    let each = buildpacks.iter().map(|buildpack| match buildpack.said.last() {
        Some(said) => {
            let said: String = said.chars().filter(|c| !c.is_control()).take(60).collect();
            let name = name(&buildpack.id);
            if said.starts_with(&name) { said } else { format!("{name} ({said})") }
        }
        None => name(&buildpack.id),
    });
    each.collect::<Vec<_>>().join(", ")
}

fn finished(id: &BuildpackId, told: &[Told]) -> String {
    let times = told.iter().map(|told| {
        let tool: String = told.tool.chars().filter(|c| c.is_alphanumeric()).take(20).collect();
        format!("{tool} {}", hythe_model::render::duration(told.millis))
    });
    let times = times.collect::<Vec<_>>().join(", ");
    let done = if times.is_empty() { "done".to_owned() } else { format!("done, of which {times}") };
    format!("{:<NAME$}{done}", name(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_build_reads_by_buildpack_and_keeps_no_control_characters() {
        let seen = Mutex::new(Vec::new());
        let sink = |event: BuildEvent| {
            let mut renderer = hythe_model::render::Renderer::new();
            seen.lock().unwrap().extend(renderer.render(&event));
        };
        let python: BuildpackId = "hythe/python".parse().unwrap();
        let mut teller = Teller::new(&sink);
        let named = Named {
            id: python.clone(),
            version: "1.0.0".parse().unwrap(),
            said: vec!["requirements.txt".into()],
        };
        teller.tell(Message::Detected { buildpacks: vec![named], millis: 40 });
        teller.tell(Message::Output { buildpack: python.clone(), line: "\u{1b}[2Jbuilt".into() });
        let told = vec![Told { tool: "pip".into(), millis: 5900 }];
        teller.tell(Message::Finished { buildpack: python, millis: 6200, told });
        let seen = seen.into_inner().unwrap();
        assert_eq!(
            seen[0].split_whitespace().collect::<Vec<_>>().join(" "),
            "detect python (requirements.txt) 40 ms"
        );
        assert_eq!(seen[1], "build       [2Jbuilt");
        assert!(seen[2].contains("done, of which pip 5.9 s"), "{}", seen[2]);
    }
}

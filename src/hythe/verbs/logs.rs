//! `hythe logs`.

use crate::client::{Client, get, read};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::stream::Patience;
use crate::{output, watch};
use clap::Args;
use hythe_api::types::{EndedInstance, LogLine, LogSource};
use hythe_model::{BuildId, ToolName};
use jiff::Timestamp;
use owo_colors::OwoColorize;

/// Last lines that are shown where nothing else is said.
const LINES: u32 = 100;

/// Show what a tool prints, or the log of one of its builds
#[derive(Args)]
pub(crate) struct Logs {
    /// Go on with new lines as they come
    #[arg(long, short)]
    follow: bool,
    /// Only lines of this last span, as in 90s, 15m, 1h or 2d
    #[arg(long, value_name = "SPAN", value_parser = span)]
    since: Option<jiff::SignedDuration>,
    /// How many of the last lines: 100, or with --since all of them
    #[arg(long, short = 'n')]
    lines: Option<u32>,
    /// What the instance that ended last has printed last, and why it ended; with --json of all that are kept
    #[arg(long, conflicts_with_all = ["follow", "since", "build"])]
    previous: bool,
    /// The log of this build instead
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["since", "lines"])]
    build: Option<BuildId>,
}

impl Logs {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        if let Some(build) = self.build {
            let client = context.client()?;
            let build = watch::find(&client, build).await?;
            return watch::build(context, &client, &build, self.follow).await;
        }
        let tool = context.tool()?;
        if self.previous { self.ended(context, &tool).await } else { self.runtime(context, &tool).await }
    }

    /// The last lines of the instance that ended last, and its end.
    async fn ended(self, context: &Context, tool: &ToolName) -> Result<(), Failure> {
        let path = ["tools", tool.as_str(), "instances", "ended"];
        let newest = (!context.json).then_some(1);
        let answer = context.client()?.call(get(&path).query("limit", newest)).await?;
        if context.json {
            return output::object(&answer);
        }
        let Some(ended) = read::<Vec<EndedInstance>>(answer)?.into_iter().next() else {
            return output::note(format!("No instance of {tool} has ended."));
        };
        let skipped = ended.lines.len().saturating_sub(self.lines.unwrap_or(LINES) as usize);
        ended.lines.iter().skip(skipped).try_for_each(show)?;
        let (at, instance, text) = (ended.at, ended.instance, format!("ended: {}", ended.reason));
        show(&LogLine { position: 0, at, instance, source: LogSource::Platform, text })
    }

    /// How many of the last lines; every one of a span where only that is named.
    fn tail(&self) -> Option<u32> {
        self.lines.or(self.since.is_none().then_some(LINES))
    }

    async fn runtime(self, context: &Context, tool: &ToolName) -> Result<(), Failure> {
        let client = context.client()?;
        let mut part = Part {
            since: self.since.and_then(|span| Timestamp::now().checked_sub(span).ok()),
            tail: self.tail(),
            follow: self.follow,
            from: None,
        };
        let mut patience = Patience::default();
        loop {
            let before = part.from;
            let failure = match part.print(context, &client, tool).await {
                Ok(()) if !self.follow => break,
                // Only a server that stops ends what is followed.
                Ok(()) => Failure::local("no-end", "The server stopped."),
                Err(Failure::Fault(Code::Unreachable, fault)) => Failure::Fault(Code::Unreachable, fault),
                Err(failure) => return Err(failure),
            };
            if !self.follow || !patience.again(part.from != before).await {
                return Err(failure);
            }
        }
        if part.from.is_none() && !context.json {
            let when = if part.since.is_some() { " in that time" } else { "" };
            output::note(format!("{tool} has printed nothing{when}."))?;
        }
        Ok(())
    }
}

/// What is still to be read of a log.
struct Part {
    since: Option<Timestamp>,
    tail: Option<u32>,
    follow: bool,
    /// The place after the last line shown.
    from: Option<u64>,
}

impl Part {
    async fn print(&mut self, context: &Context, client: &Client, tool: &ToolName) -> Result<(), Failure> {
        let path = ["tools", tool.as_str(), "logs"];
        let request = get(&path)
            .query("from", self.from)
            .query("tail", self.tail)
            .query("since", self.since)
            .query("follow", Some(self.follow));
        let mut lines = client.lines(request).await?;
        while let Some(value) = lines.next().await? {
            if context.json {
                output::object_line(&value)?;
            }
            let line: LogLine = read(value)?;
            if !context.json {
                show(&line)?;
            }
            // Read on from here, should the connection break.
            (self.from, self.tail) = (Some(line.position + 1), None);
        }
        Ok(())
    }
}

fn show(line: &LogLine) -> Result<(), Failure> {
    let text = output::clean(&line.text);
    let instance = output::clean(&line.instance);
    let head = format!("{} {instance:<10}", output::exact(line.at));
    match line.source {
        LogSource::Err => output::line(format!("{} {text}", head.yellow())),
        LogSource::Platform => output::line(format!("{} {}", head.dimmed(), text.bold())),
        LogSource::Out | LogSource::Access => output::line(format!("{} {text}", head.dimmed())),
    }
}

/// A whole number and s, m, h or d.
fn span(text: &str) -> Result<jiff::SignedDuration, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("a span is a number and s, m, h or d, as in 15m".to_owned()),
    };
    let number: i64 =
        number.parse().map_err(|_| "a span is a number and s, m, h or d, as in 15m".to_owned())?;
    number
        .checked_mul(seconds)
        .filter(|s| *s > 0)
        .map(jiff::SignedDuration::from_secs)
        .ok_or_else(|| "that span is too long".into())
}

#[cfg(test)]
mod tests {
    use super::{LINES, Logs, span};
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        logs: Logs,
    }

    #[test]
    fn a_span_and_a_number_of_lines_both_count() {
        let tail = |words: &str| Line::parse_from(words.split(' ')).logs.tail();
        assert_eq!(tail("logs"), Some(LINES));
        assert_eq!(tail("logs -n 5"), Some(5));
        assert_eq!(tail("logs --since 1h"), None);
        assert_eq!(tail("logs --since 1h -n 5"), Some(5));
    }

    #[test]
    fn spans_are_numbers_with_units() {
        assert_eq!(span("1h").unwrap().as_secs(), 3_600);
        assert_eq!(span("90s").unwrap().as_secs(), 90);
        for bad in ["", "h", "1", "1w", "-1h", "1.5h", "9223372036854775807d", "é"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}

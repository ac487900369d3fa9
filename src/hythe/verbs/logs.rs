//! `hythe logs`.

use crate::client::{get, read};
use crate::context::Context;
use crate::failure::Failure;
use crate::{output, watch};
use clap::Args;
use hythe_api::types::{LogLine, LogSource};
use hythe_model::{BuildId, ToolName};
use jiff::Timestamp;
use owo_colors::OwoColorize;

/// Show what a tool prints, or the log of one of its builds
#[derive(Args)]
pub(crate) struct Logs {
    /// Go on with new lines as they come
    #[arg(long, short)]
    follow: bool,
    /// Only lines of this last span, as in 90s, 15m, 1h or 2d
    #[arg(long, value_name = "SPAN", value_parser = span)]
    since: Option<jiff::SignedDuration>,
    /// How many of the last lines
    #[arg(long, short = 'n', default_value_t = 100)]
    lines: u32,
    /// The log of this build instead
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["since", "lines"])]
    build: Option<BuildId>,
}

impl Logs {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        if let Some(build) = self.build {
            return watch::build(context, &context.client()?, build, self.follow).await;
        }
        let tool = context.tool()?;
        self.runtime(context, &tool).await
    }

    async fn runtime(self, context: &Context, tool: &ToolName) -> Result<(), Failure> {
        let since = self.since.and_then(|span| Timestamp::now().checked_sub(span).ok());
        // With --since every line of the span is wanted, unless a number was given too.
        let tail = if since.is_some() { None } else { Some(self.lines) };
        let path = ["tools", tool.as_str(), "logs"];
        let request = get(&path).query("tail", tail).query("since", since).query("follow", Some(self.follow));
        let mut lines = context.client()?.lines(request).await?;
        let mut empty = true;
        while let Some(value) = lines.next().await? {
            empty = false;
            if context.json {
                output::object_line(&value)?;
            } else {
                show(&read(value)?)?;
            }
        }
        if empty && !context.json {
            output::note(format!(
                "{tool} has printed nothing{}.",
                if since.is_some() { " in that time" } else { "" }
            ))?;
        }
        Ok(())
    }
}

fn show(line: &LogLine) -> Result<(), Failure> {
    let text = output::clean(&line.text);
    let instance = output::clean(&line.instance);
    let head = format!("{} {instance}", output::exact(line.at));
    match line.source {
        LogSource::Err => output::line(format!("{}  {text}", head.yellow())),
        LogSource::Platform => output::line(format!("{}  {}", head.dimmed(), text.bold())),
        LogSource::Out | LogSource::Access => output::line(format!("{}  {text}", head.dimmed())),
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
    use super::span;

    #[test]
    fn spans_are_numbers_with_units() {
        assert_eq!(span("1h").unwrap().as_secs(), 3_600);
        assert_eq!(span("90s").unwrap().as_secs(), 90);
        for bad in ["", "h", "1", "1w", "-1h", "1.5h", "9223372036854775807d", "é"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}

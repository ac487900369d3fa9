//! The program that git runs at the hooks of a push.
//!
//! Enter at [`main`]. It carries what git says to the server and back and decides nothing; whatever goes wrong in it
//! ends the push. Git starts it in the repository's folder with an environment that the server gave to git.

mod pkt;

use crate::wire::{Call, End, HookKind, LONGEST_LINE, Reply, SOCKET, TOKEN, Update, Verdict};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// Runs the hook of this name, `pre-receive` or `proc-receive`, on standard input and output.
pub fn main(kind: &str) -> ExitCode {
    let outcome = match kind {
        "pre-receive" => pre_receive(),
        "proc-receive" => proc_receive(),
        other => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no hook {other}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The push failed: the platform's hook could not do its work ({error}). [push/hook]");
            ExitCode::FAILURE
        }
    }
}

/// Lines of standard input name the refs; nothing is answered but the exit code.
fn pre_receive() -> io::Result<()> {
    let mut text = String::new();
    io::stdin().lock().take(LONGEST_LINE).read_to_string(&mut text)?;
    let updates = text.lines().map(update).collect::<io::Result<_>>()?;
    let quarantine = std::env::var_os("GIT_QUARANTINE_PATH").map(Into::into);
    let call = Call {
        token: variable(TOKEN)?,
        hook: HookKind::PreReceive,
        updates,
        options: environment_options(),
        quarantine,
        atomic: false,
    };
    ask(&call)?;
    Ok(())
}

/// The `proc-receive` protocol of git's receive-pack, version 1.
fn proc_receive() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    let features = negotiate(&mut input, &mut output)?;
    let updates = pkt::section(&mut input)?.iter().map(|line| update(line)).collect::<io::Result<_>>()?;
    let options = if features.options { pkt::section(&mut input)? } else { Vec::new() };
    let call = Call {
        token: variable(TOKEN)?,
        hook: HookKind::ProcReceive,
        updates,
        options,
        quarantine: None,
        atomic: features.atomic,
    };
    report(&mut output, &ask(&call)?)
}

/// What git offers on top of the bare protocol.
#[derive(Debug, Default, PartialEq, Eq)]
struct Features {
    options: bool,
    atomic: bool,
}

fn negotiate(input: &mut impl Read, output: &mut impl Write) -> io::Result<Features> {
    let offer = pkt::section(input)?;
    let first = offer.first().map(String::as_str).unwrap_or_default();
    let (version, words) = first.split_once('\0').unwrap_or((first, ""));
    if version != "version=1" {
        return Err(io::Error::other("git speaks another version of proc-receive"));
    }
    let has = |word: &str| words.split(' ').any(|other| other == word);
    let features = Features { options: has("push-options"), atomic: has("atomic") };
    let accepted = if features.options { "version=1\0push-options" } else { "version=1" };
    pkt::line(output, accepted)?;
    pkt::flush(output)?;
    Ok(features)
}

fn report(output: &mut impl Write, verdicts: &[Verdict]) -> io::Result<()> {
    for Verdict { reference, end } in verdicts {
        match end {
            End::Moved => pkt::line(output, &format!("ok {reference}"))?,
            End::Refused(reason) => pkt::line(output, &format!("ng {reference} {reason}"))?,
            End::Instead { reference: instead, new } => {
                pkt::line(output, &format!("ok {reference}"))?;
                pkt::line(output, &format!("option refname {instead}"))?;
                pkt::line(output, &format!("option old-oid {}", "0".repeat(new.len())))?;
                pkt::line(output, &format!("option new-oid {new}"))?;
            }
        }
    }
    pkt::flush(output)
}

/// Calls the server and shows its lines until it has decided.
fn ask(call: &Call) -> io::Result<Vec<Verdict>> {
    let mut socket = UnixStream::connect(variable(SOCKET)?)?;
    let mut line = serde_json::to_vec(call)?;
    line.push(b'\n');
    socket.write_all(&line)?;
    let mut replies = BufReader::new(socket);
    loop {
        let mut line = Vec::new();
        (&mut replies).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Err(io::Error::other("the server ended the push"));
        }
        match serde_json::from_slice(&line)? {
            Reply::Verdicts(verdicts) => return Ok(verdicts),
            // One write a line, so that git's side band does not break it.
            Reply::Line(text) => io::stderr().lock().write_all(format!("{text}\n").as_bytes())?,
        }
    }
}

/// `<old> <new> <ref>`.
fn update(line: &str) -> io::Result<Update> {
    let mut words = line.splitn(3, ' ').map(str::to_owned);
    match (words.next(), words.next(), words.next()) {
        (Some(old), Some(new), Some(reference)) => Ok(Update { old, new, reference }),
        _ => Err(io::Error::other("git named a ref in a way that is not known")),
    }
}

fn environment_options() -> Vec<String> {
    let count = std::env::var("GIT_PUSH_OPTION_COUNT").ok().and_then(|count| count.parse().ok()).unwrap_or(0);
    (0..count).filter_map(|index: usize| std::env::var(format!("GIT_PUSH_OPTION_{index}")).ok()).collect()
}

fn variable(name: &str) -> io::Result<String> {
    std::env::var(name).map_err(|_| io::Error::other(format!("{name} is not set")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offer_of_git_is_answered() {
        let mut offer = Vec::new();
        pkt::line(&mut offer, "version=1\0atomic push-options").unwrap();
        pkt::flush(&mut offer).unwrap();
        let mut answer = Vec::new();
        let features = negotiate(&mut offer.as_slice(), &mut answer).unwrap();
        assert_eq!(features, Features { options: true, atomic: true });
        assert_eq!(answer, b"001bversion=1\0push-options\n0000");
        assert!(negotiate(&mut b"000eversion=2\n0000".as_slice(), &mut answer).is_err());
    }

    #[test]
    fn a_report_is_what_git_reads() {
        let verdict = |reference: &str, end| Verdict { reference: reference.into(), end };
        let instead = End::Instead { reference: "refs/hythe/builds/7".into(), new: "a".repeat(40) };
        let verdicts = [
            verdict("refs/heads/a", End::Moved),
            verdict("refs/heads/b", End::Refused("no: x/y".into())),
            verdict("refs/heads/c", instead),
        ];
        let mut out = Vec::new();
        report(&mut out, &verdicts).unwrap();
        let lines = pkt::section(&mut out.as_slice()).unwrap();
        assert_eq!(lines[..3], ["ok refs/heads/a", "ng refs/heads/b no: x/y", "ok refs/heads/c"]);
        assert_eq!(lines[3], "option refname refs/hythe/builds/7");
        assert_eq!(lines.len(), 6);
    }
}

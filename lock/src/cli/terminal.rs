//! The door to the terminal: results to standard output, words for people to standard error, and a
//! question whose answer is not shown.
#![expect(clippy::print_stderr, reason = "this is the door to the terminal")]

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};

use anyhow::Context;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Longest answer, bytes.
const ANSWER: usize = 64 * 1024;

/// A result, as it is.
pub(super) fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .context("standard output")
}

/// Words for people.
pub(super) fn say(line: &str) {
    eprintln!("{line}");
}

/// Why it failed.
pub(super) fn complain(why: &str) {
    eprintln!("zen-lock: {why}");
}

/// Whether somebody sits at standard input.
pub(super) fn is_person() -> bool {
    io::stdin().is_terminal()
}

/// Asks at the terminal, whatever standard input is; the answer is not shown while it is typed.
pub(super) fn ask_hidden(question: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .context(
            "there is no terminal to ask at; give the value by --from-file or standard input",
        )?;
    let before = tcgetattr(&terminal)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    // Only then the question: what is typed after it is neither shown nor thrown away.
    tcsetattr(&terminal, OptionalActions::Flush, &hidden)?;
    write!(terminal, "{question}: ")?;
    let answer = read_line(&mut terminal);
    tcsetattr(&terminal, OptionalActions::Flush, &before)?;
    writeln!(terminal)?;
    answer
}

/// Byte by byte, so that no buffer keeps what was typed.
fn read_line(from: &mut impl Read) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(ANSWER));
    let mut byte = [0];
    while line.len() < ANSWER && from.read(&mut byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    anyhow::ensure!(line.len() < ANSWER, "the answer is longer than 64 KiB");
    Ok(line)
}

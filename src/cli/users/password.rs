//! Where passwords come from: a file, a prompt, or standard input; never the command line, which every process of the machine may read.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    path::Path,
};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::{access::passwords::Secret, cli::store::Failure};

/// Longest password.
const BYTES_MAX: usize = 65_535;

/// The password that is to be set.
pub fn read(file: Option<&Path>) -> Result<Secret, Failure> {
    let failed = |error: io::Error| Failure::Other(format!("the password cannot be read: {error}"));
    let password = match file {
        Some(path) => {
            let file = File::open(path).map_err(|error| Failure::Other(format!("{}: {error}", path.display())))?;
            line(&mut BufReader::new(file)).map_err(failed)?
        }
        None if io::stdin().is_terminal() => {
            let first = ask("Password: ").map_err(failed)?;
            if *ask("The same again: ").map_err(failed)? != *first {
                return Err(Failure::Other("they are not the same".into()));
            }
            first
        }
        None => line(&mut io::stdin().lock()).map_err(failed)?,
    };
    if password.is_empty() {
        return Err(Failure::Other("the password is empty".into()));
    }
    Ok(Secret::copy_of(&password))
}

fn ask(prompt: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut terminal = io::stderr();
    terminal.write_all(prompt.as_bytes())?;
    terminal.flush()?;
    let quiet = Quiet::new()?;
    let password = line(&mut io::stdin().lock());
    drop(quiet);
    terminal.write_all(b"\n")?;
    password
}

/// The first line, without its end.
fn line(input: &mut dyn BufRead) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(BYTES_MAX + 2));
    io::Read::take(input, BYTES_MAX as u64 + 2).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    if line.len() > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than 65535 bytes"));
    }
    Ok(line)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password() {
        for (text, expected) in [("secret", "secret"), ("secret\nmore\n", "secret"), (" s \r\n", " s "), ("\n", "")] {
            assert_eq!(&**line(&mut text.as_bytes()).expect("read"), expected.as_bytes(), "{text:?}");
        }
        assert!(line(&mut "x".repeat(70_000).as_bytes()).is_err());
    }
}

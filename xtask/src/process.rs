//! Running other programs, and saying plainly what went wrong.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Shorthand for a result with a [`Failure`].
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// What went wrong, and what the person can do about it.
#[derive(Debug, PartialEq)]
pub struct Failure {
    pub what: String,
    pub help: String,
}

impl Failure {
    pub fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Failure { what: what.into(), help: help.into() }
    }

    /// A file or folder that could not be read or written.
    pub fn io(path: &Path, error: impl std::fmt::Display) -> Self {
        Failure::new(
            format!("{}: {error}", path.display()),
            "check that you may read and write it and that the disk is not full",
        )
    }
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository's root")
}

/// Everything that is made and not kept in git lies here.
pub fn target() -> PathBuf {
    root().join("target")
}

/// Where `program` lies on the PATH, if it does.
pub fn find(program: &str) -> Option<PathBuf> {
    let endings: &[&str] = if cfg!(windows) { &[".exe", ".cmd", ".bat"] } else { &[""] };
    env::split_paths(&env::var_os("PATH")?)
        .flat_map(|folder| endings.iter().map(move |ending| folder.join(format!("{program}{ending}"))))
        .find(|path| path.is_file())
}

/// The folder that stands in for XDG_RUNTIME_DIR where there is none.
pub fn runtime_folder() -> PathBuf {
    target().join("runtime")
}

/// A command that runs in the repository's root.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    if env::var_os("XDG_RUNTIME_DIR").is_none() && runtime_folder().is_dir() {
        command.env("XDG_RUNTIME_DIR", runtime_folder());
    }
    command
}

/// The cargo that runs us, with the workspace's own settings.
pub fn cargo() -> Command {
    let mut cargo = command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Set for us by `cargo run`; inherited, they would describe the wrong package to build scripts.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_")) {
        cargo.env_remove(name);
    }
    cargo.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    cargo
}

/// Runs a command to its end with our own output. `help` is for when it fails.
pub fn run(command: &mut Command, help: &str) -> Result<()> {
    let status = command.status().map_err(|error| could_not_start(command, error))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("`{}` failed ({status})", words(command)), help)) }
}

/// Standard output of a command that succeeds; `None` when it fails or is not there.
pub fn read(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs a command with its output hidden and ends it after `limit`. True when it succeeded in time.
pub fn succeeds_within(command: &mut Command, limit: Duration) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = quiet.spawn() else { return false };
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if start.elapsed() < limit => thread::sleep(Duration::from_millis(50)),
            _ => {
                // It may have ended by itself in between; either way it is over.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

/// The failure of a program that is not there or may not be run.
pub fn could_not_start(command: &Command, error: std::io::Error) -> Failure {
    let program = command.get_program().to_string_lossy();
    Failure::new(format!("could not start {program}: {error}"), format!("install {program} and put it on your PATH"))
}

/// The command as a person would type it.
pub fn words(command: &Command) -> String {
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    [program].into_iter().chain(arguments).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_as_it_is_typed() {
        assert_eq!(words(Command::new("/usr/bin/cargo").args(["test", "--workspace"])), "cargo test --workspace");
    }

    #[test]
    fn a_program_that_is_not_there_is_not_found() {
        assert_eq!(find("tunesmith-no-such-program"), None);
        assert!(find("cargo").is_some());
    }

    #[test]
    fn a_program_that_is_too_slow_is_ended() {
        let start = Instant::now();
        let mut slow = if cfg!(windows) { Command::new("timeout") } else { Command::new("sleep") };
        assert!(!succeeds_within(slow.arg("30"), Duration::from_millis(100)));
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}

//! `cargo xtask start`: from a fresh clone to the page in the browser.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;

use crate::process::{Failure, Result, command, find, root, run, target};
use crate::setup::{self, Needs};
use crate::{model, page, serve, wasm};

/// What was asked for.
#[derive(Debug, Default, PartialEq)]
pub struct Options {
    demo: bool,
    port: Option<u16>,
    no_open: bool,
}

impl Options {
    /// Reads the words after `start`.
    pub fn parse(words: &[&str]) -> Result<Options, String> {
        let mut options = Options::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--demo" => options.demo = true,
                "--no-open" => options.no_open = true,
                "--port" => {
                    let value = words.next().ok_or("--port wants a number after it")?;
                    let port = value.parse().ok().filter(|port| *port > 0);
                    options.port = Some(port.ok_or(format!("--port wants a number from 1 to 65535, not \"{value}\""))?);
                }
                other => return Err(format!("start has no option \"{other}\"")),
            }
        }
        Ok(options)
    }
}

/// Sets up, builds and serves; with `--demo`, drives the page once and ends.
pub fn run_and_serve(options: &Options) -> Result<()> {
    setup::ensure(&Needs { python: true, node: true, wasm: true, browser: options.demo, ..Needs::default() })?;
    prepare()?;
    if options.demo {
        let port = options.port.unwrap_or(0);
        return demo(&serve::start(Some(port))?);
    }
    let address = serve::start(options.port)?;
    println!("\nTunesmith is at {address}\nPress Ctrl-C to end it.");
    if !options.no_open && !open(&address) {
        println!("No browser could be opened from here: go to that address yourself.");
    }
    // The server's threads do the rest until Ctrl-C.
    loop {
        thread::park();
    }
}

/// The model, the wasm package and the page, each made anew only when it has to be.
pub fn prepare() -> Result<()> {
    model::fetch()?;
    page::install_packages()?;
    wasm::package()?;
    page::build()
}

fn demo(address: &str) -> Result<()> {
    let folder = target().join("demo");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| Failure::io(&folder, error))?;
    }
    fs::create_dir_all(&folder).map_err(|error| Failure::io(&folder, error))?;
    let mut demo = command("node");
    demo.arg(root().join("web/e2e/demo.mjs")).arg(address).arg(&folder);
    if let Some(browser) = setup::browser() {
        demo.env("TUNESMITH_BROWSER", browser);
    }
    run(&mut demo, "the lines above say what a person would have noticed; the screenshot is in target/demo")
}

/// Opens the address in the person's browser.
fn open(address: &str) -> bool {
    let mut opener = if cfg!(target_os = "macos") {
        Command::new("open")
    } else if cfg!(windows) {
        let mut cmd = Command::new("cmd");
        cmd.args(["/C", "start", ""]);
        cmd
    } else {
        match find("xdg-open") {
            Some(program) => Command::new(program),
            None => return false,
        }
    };
    opener.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    opener.spawn().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        assert_eq!(Options::parse(&[]).unwrap(), Options::default());
        assert_eq!(
            Options::parse(&["--port", "9000", "--no-open", "--demo"]).unwrap(),
            Options { demo: true, port: Some(9000), no_open: true }
        );
    }

    #[test]
    fn wrong_options_are_named() {
        assert!(Options::parse(&["--prot", "1"]).unwrap_err().contains("--prot"));
        assert!(Options::parse(&["--port"]).unwrap_err().contains("--port"));
        for port in ["0", "65536", "web"] {
            assert!(Options::parse(&["--port", port]).unwrap_err().contains(port));
        }
    }
}

//! The page: its npm packages, and the files that a browser loads.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::process::{Failure, Result, command, find, root, run};
use crate::stamp::{self, Fingerprint};

/// The folder that is served.
pub fn folder() -> PathBuf {
    root().join("web/dist")
}

/// npm in the page's folder.
pub fn npm() -> Command {
    let mut npm = command(find("npm").unwrap_or_else(|| "npm".into()));
    npm.current_dir(root().join("web"));
    npm
}

/// Installs the npm packages of `package-lock.json`, unless they are there.
pub fn install_packages() -> Result<()> {
    let lock = root().join("web/package-lock.json");
    let fingerprint = Fingerprint::new().path(&lock, &[])?.finish();
    if root().join("web/node_modules").is_dir() && stamp::is_current("node_modules", &fingerprint) {
        return Ok(());
    }
    println!("Installing the page's packages");
    let help = "check the network, and that package-lock.json fits package.json";
    run(npm().args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]), help)?;
    stamp::set("node_modules", &fingerprint)
}

/// Builds the page into `web/dist`, unless nothing changed. The wasm package must be there.
pub fn build() -> Result<()> {
    let web = root().join("web");
    let sources = Fingerprint::new().path(&web, &["node_modules", "dist", "e2e", "test"])?;
    // The page has the starter sets of preferences in it.
    let fingerprint = sources.path(&root().join("docs/starters"), &[])?.finish();
    if folder().join("index.html").is_file() && stamp::is_current("page", &fingerprint) {
        return Ok(());
    }
    println!("Building the page");
    run(npm().args(["run", "--silent", "build"]), "correct what the build says")?;
    if !folder().join("index.html").is_file() {
        return Err(Failure::new("the build left no web/dist/index.html", "check web/vite.config.ts"));
    }
    let size: u64 = fs::read_dir(folder().join("assets"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .map(|data| data.len())
        .sum();
    println!("page: {:.1} MB", size as f64 / 1e6);
    stamp::set("page", &fingerprint)
}

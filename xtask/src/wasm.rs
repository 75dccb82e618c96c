//! The crate for the browser: compiled for wasm32, given its JavaScript side, and made small.
//!
//! Two ways lead to the compiler's target. rustup's, where it can be had; and Debian's `rustc-web`, which
//! brings the standard library's source and builds it along.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{Failure, Result, cargo, command, find, read, root, run, succeeds_within, target};
use crate::stamp::{self, Fingerprint};

const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's compiler with all that a build of wasm32 takes.
pub const DEBIAN_PACKAGES: [&str; 5] = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm", "rust-web-clippy"];
/// The linker that Debian's compiler calls: a link into a package of its own.
pub const DEBIAN_LINKER: &str = "/usr/bin/rust-lld";

/// wasm-opt's name for what rustc assumes of every browser that has WebGPU.
const FEATURES: [&str; 6] = [
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
];

/// True when the compiler in use has the target.
pub fn target_is_installed() -> bool {
    read(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))
        .and_then(|folder| fs::read_dir(folder).ok())
        .is_some_and(|mut files| {
            files.any(|file| file.is_ok_and(|f| f.file_name().to_string_lossy().starts_with("libstd-")))
        })
}

/// Lets rustup fetch the target. A try that failed is remembered for this compiler.
pub fn add_target_with_rustup() -> bool {
    let Some(rustup) = find("rustup") else { return false };
    let compiler = read(Command::new("rustc").arg("-vV")).unwrap_or_default();
    if stamp::is_current("rustup-has-no-wasm32", &compiler) {
        return false;
    }
    println!("Asking rustup for {TARGET}");
    let limit = Duration::from_secs(180);
    let added = succeeds_within(Command::new(rustup).args(["target", "add", TARGET]), limit) && target_is_installed();
    if !added {
        println!("rustup could not fetch it");
        // Only spares the next start some seconds.
        let _ = stamp::set("rustup-has-no-wasm32", &compiler);
    }
    added
}

/// True when Debian's compiler can build for wasm32.
pub fn debian_is_whole() -> bool {
    // The link's target must be there too, which `exists` looks at.
    Path::new(DEBIAN_LINKER).exists()
        && read(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}\n"]).args(DEBIAN_PACKAGES))
            .is_some_and(|states| states.lines().all(|state| state == "installed"))
}

/// `cargo SUBCOMMAND` for the crate as the browser runs it.
fn cargo_for_wasm(subcommand: &str) -> Command {
    let debian = !target_is_installed();
    let mut cargo = if debian { command("/usr/bin/cargo") } else { cargo() };
    // The flags that wasm32 needs stand in .cargo/config.toml, and these would hide them.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo.args([subcommand, "--package", "tunesmith", "--lib", "--no-default-features"]);
    // A folder of its own, so that two compilers do not evict each other's work.
    cargo.args(["--profile", "wasm", "--target", TARGET, "--target-dir"]).arg(folder());
    if debian {
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([PathBuf::from("/usr/bin")].into_iter().chain(env::split_paths(&path)));
        cargo.env("PATH", path.expect("the PATH was split a moment ago"));
        cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
        cargo.env_remove("RUSTUP_TOOLCHAIN").env_remove("LD_LIBRARY_PATH").env_remove("CARGO");
        cargo.args(["-Z", "build-std=std,panic_abort"]);
    }
    cargo
}

fn folder() -> PathBuf {
    target().join("wasm-web")
}

/// Clippy over the crate as the browser runs it.
pub fn clippy() -> Result<()> {
    run(cargo_for_wasm("clippy").args(["--", "-D", "warnings"]), "correct what clippy says")
}

/// Builds the crate into `web/src/pkg`. The page's npm packages must be installed.
pub fn package() -> Result<()> {
    run(&mut cargo_for_wasm("build"), "correct what the compiler says")?;
    let module = folder().join(TARGET).join("wasm/tunesmith.wasm");
    let wasm_opt = root().join("web/node_modules/binaryen/bin/wasm-opt");
    let fingerprint = Fingerprint::new()
        .path(&module, &[])?
        .path(&root().join("xtask/bindgen"), &[])?
        .path(&root().join("web/node_modules/binaryen/package.json"), &[])?
        .words(&FEATURES.join(" "))
        .finish();
    let place = root().join("web/src/pkg");
    if place.join("tunesmith_bg.wasm").is_file() && stamp::is_current("pkg", &fingerprint) {
        return Ok(());
    }

    let draft = target().join("pkg");
    let linked = draft.join("tunesmith_bg.wasm");
    let small = target().join("tunesmith_small.wasm");
    if draft.exists() {
        fs::remove_dir_all(&draft).map_err(|error| Failure::io(&draft, error))?;
    }
    let mut bindgen = cargo();
    bindgen.args(["run", "--quiet", "--package", "xtask-bindgen", "--"]).arg(&module).arg(&draft);
    run(&mut bindgen, "xtask/bindgen must have the version of wasm-bindgen that Cargo.lock has")?;
    let mut shrink = command("node");
    // Higher levels take five times as long and save 3 % more: the heavy work is the GPU's.
    shrink.arg(&wasm_opt).arg("-O1").args(FEATURES).arg(&linked).arg("-o").arg(&small);
    run(&mut shrink, "the module may use a feature that FEATURES in xtask/src/wasm.rs does not list")?;
    println!("wasm: {:.1} MB compiled, {:.1} MB in the page", megabytes(&module)?, megabytes(&small)?);
    fs::rename(&small, &linked).map_err(|error| Failure::io(&linked, error))?;
    if place.exists() {
        fs::remove_dir_all(&place).map_err(|error| Failure::io(&place, error))?;
    }
    fs::create_dir_all(root().join("web/src"))
        .and_then(|()| fs::rename(&draft, &place))
        .map_err(|error| Failure::io(&place, error))?;
    stamp::set("pkg", &fingerprint)
}

fn megabytes(path: &Path) -> Result<f64> {
    fs::metadata(path).map(|data| data.len() as f64 / 1e6).map_err(|error| Failure::io(path, error))
}

//! Finds out what a command needs and this machine lacks, installs it where we may, and otherwise names
//! the one command that does.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{self, Apt};
use crate::process::{Failure, Result, cargo, find, read, run, runtime_folder};
use crate::wasm;

/// Mesa's software adapter before this version computes about four times slower.
const GOOD_MESA: u32 = 24;

/// What a command needs.
#[derive(Default)]
pub struct Needs {
    /// Python with pip and venv: fetches the default model and the spelling checker.
    pub python: bool,
    /// Node.js and npm: build the page.
    pub node: bool,
    /// A compiler for wasm32.
    pub wasm: bool,
    /// A Vulkan driver, of a GPU or in software.
    pub gpu: bool,
    /// A browser that can be driven.
    pub browser: bool,
    /// rustfmt and clippy.
    pub lints: bool,
}

/// Installs what is missing. Quick when nothing is.
pub fn ensure(needs: &Needs) -> Result<()> {
    // What we can not install comes first, so that nobody waits in vain.
    if needs.node {
        node()?;
    }
    if needs.lints {
        lints()?;
    }
    let mut wanted: Vec<Missing> = vec![];
    if needs.python && !python_is_whole() {
        wanted.push(PYTHON);
    }
    if needs.browser && browser().is_none() {
        wanted.push(BROWSER);
    }
    if needs.gpu && !vulkan_is_here() {
        wanted.push(VULKAN);
    }
    if needs.wasm && !wasm::target_is_installed() && !wasm::add_target_with_rustup() && !wasm::debian_is_whole() {
        wanted.push(WASM);
    }
    if !wanted.is_empty() {
        install(&wanted)?;
    }
    if let Some(missing) = wanted.iter().find(|missing| !(missing.is_here)()) {
        return Err(missing.failure());
    }
    if needs.gpu { private_runtime_folder() } else { Ok(()) }
}

/// A thing that was found missing, and where to get it.
#[derive(Clone, Copy)]
struct Missing {
    what: &'static str,
    /// Debian's and Ubuntu's names of it.
    packages: &'static [&'static str],
    is_here: fn() -> bool,
    /// What to type where there is no apt.
    elsewhere: &'static str,
}

const PYTHON: Missing = Missing {
    what: "Python 3 with pip and venv",
    packages: &["python3", "python3-pip", "python3-venv"],
    is_here: python_is_whole,
    elsewhere: "install Python 3.10 or newer from python.org",
};
const BROWSER: Missing = Missing {
    what: "Chromium or Chrome",
    packages: &["chromium", "fonts-liberation"],
    is_here: || browser().is_some(),
    elsewhere: "install Chrome or Chromium, or set TUNESMITH_BROWSER to its path",
};
const VULKAN: Missing = Missing {
    what: "a good Vulkan driver",
    packages: &["mesa-vulkan-drivers", "libvulkan1"],
    is_here: vulkan_is_here,
    elsewhere: "install your GPU's Vulkan driver, or Mesa 24 or newer for its software adapter",
};
const WASM: Missing = Missing {
    what: "the compiler's target wasm32-unknown-unknown",
    packages: &wasm::DEBIAN_PACKAGES,
    is_here: || wasm::target_is_installed() || wasm::debian_is_whole(),
    elsewhere: "rustup target add wasm32-unknown-unknown",
};

impl Missing {
    fn failure(&self) -> Failure {
        let help = if Apt::is_here() {
            format!("sudo apt-get update && sudo apt-get install {}", self.packages.join(" "))
        } else {
            self.elsewhere.to_owned()
        };
        Failure::new(format!("{} is missing", self.what), help)
    }
}

fn install(wanted: &[Missing]) -> Result<()> {
    let Some(apt) = Apt::with_rights() else { return Err(wanted[0].failure()) };
    let names: Vec<&str> = wanted.iter().map(|missing| missing.what).collect();
    println!("Installing {}", names.join(", "));
    apt.update()?;
    for missing in wanted {
        let release = if missing.what == VULKAN.what { mesa_release(&apt)? } else { None };
        apt.install(missing.packages, release.as_deref())?;
        if missing.what == WASM.what {
            // Debian's linker for wasm is a link to a package that nothing depends on.
            let linker = fs::read_link(wasm::DEBIAN_LINKER).unwrap_or_else(|_| PathBuf::from("lld"));
            apt.install(&[&linker.file_name().unwrap_or_default().to_string_lossy()], None)?;
        }
    }
    Ok(())
}

/// The suite to take Mesa from: backports where the release's own is old.
fn mesa_release(apt: &Apt) -> Result<Option<String>> {
    if apt::candidate(VULKAN.packages[0]).and_then(|version| apt::major(&version)).is_some_and(|v| v >= GOOD_MESA) {
        return Ok(None);
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field =
        |name: &str| release.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_matches('"'));
    match (field("ID="), field("VERSION_CODENAME=")) {
        (Some("debian"), Some(codename)) => apt.add_backports(codename).map(Some),
        _ => Ok(None),
    }
}

/// A GPU with a driver will do, and so will a Mesa whose software adapter is good.
fn vulkan_is_here() -> bool {
    if !cfg!(target_os = "linux") {
        return true; // Metal and Direct3D come with the system.
    }
    let has_driver = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"]
        .iter()
        .any(|folder| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()));
    let has_loader = read(Command::new("/sbin/ldconfig").arg("-p")).is_none_or(|list| list.contains("libvulkan.so.1"));
    let has_gpu = Path::new("/dev/nvidiactl").exists()
        || Path::new("/dev/dxg").exists()
        || fs::read_dir("/dev/dri").is_ok_and(|mut nodes| {
            nodes.any(|node| node.is_ok_and(|n| n.file_name().to_string_lossy().starts_with("render")))
        });
    let has_old_mesa = Apt::is_here()
        && apt::installed(VULKAN.packages[0]).and_then(|v| apt::major(&v)).is_some_and(|v| v < GOOD_MESA);
    has_driver && has_loader && (has_gpu || !has_old_mesa)
}

/// Mesa wants a folder for its own use, and says so at every start when there is none.
fn private_runtime_folder() -> Result<()> {
    let folder = runtime_folder();
    fs::create_dir_all(&folder).map_err(|error| Failure::io(&folder, error))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(|error| Failure::io(&folder, error))?;
    }
    Ok(())
}

/// The Python to run: the first of its usual names that is version 3.
pub fn python() -> Option<PathBuf> {
    ["python3", "python"]
        .into_iter()
        .filter_map(find)
        .find(|path| read(Command::new(path).arg("--version")).is_some_and(|version| version.starts_with("Python 3")))
}

fn python_is_whole() -> bool {
    python().is_some_and(|python| {
        read(Command::new(&python).args(["-m", "pip", "--version"])).is_some()
            && read(Command::new(&python).args(["-c", "import venv, ensurepip"])).is_some()
    })
}

fn node() -> Result<()> {
    const HELP: &str = "install Node.js 20.19 or newer, with npm, from nodejs.org";
    let version = find("node")
        .and_then(|node| read(Command::new(node).arg("--version")))
        .ok_or_else(|| Failure::new("Node.js is missing", HELP))?;
    if find("npm").is_none() {
        return Err(Failure::new("npm is missing", HELP));
    }
    if node_is_new_enough(&version) { Ok(()) } else { Err(Failure::new(format!("Node.js {version} is too old"), HELP)) }
}

fn node_is_new_enough(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (20, 19)
}

fn lints() -> Result<()> {
    for tool in ["fmt", "clippy"] {
        let is_here = || read(cargo().args([tool, "--version"])).is_some();
        if !is_here() {
            let component = if tool == "fmt" { "rustfmt" } else { tool };
            let help = format!("rustup component add {component}");
            match find("rustup") {
                Some(rustup) => run(Command::new(rustup).args(["component", "add", component]), &help)?,
                None => return Err(Failure::new(format!("cargo {tool} is missing"), help)),
            }
        }
    }
    Ok(())
}

/// A browser that can be driven: what TUNESMITH_BROWSER names, or Chromium or Chrome in its usual place.
pub fn browser() -> Option<PathBuf> {
    if let Some(path) = env::var_os("TUNESMITH_BROWSER") {
        return Some(PathBuf::from(path)).filter(|path| path.is_file());
    }
    let places = [
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
        r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
    ];
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]
        .into_iter()
        .find_map(find)
        .or_else(|| places.iter().map(PathBuf::from).find(|path| path.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_versions() {
        for (version, new_enough) in
            [("v20.19.0", true), ("v20.18.3", false), ("v18.20.4", false), ("v22.1.0", true), ("nonsense", false)]
        {
            assert_eq!(node_is_new_enough(version), new_enough, "{version}");
        }
    }

    #[test]
    fn what_is_missing_comes_with_the_command_that_gets_it() {
        for missing in [PYTHON, BROWSER, VULKAN, WASM] {
            let failure = missing.failure();
            assert!(failure.what.ends_with(" is missing"));
            assert!(if Apt::is_here() {
                failure.help.contains("apt-get install") && failure.help.contains(missing.packages[0])
            } else {
                failure.help == missing.elsewhere
            });
        }
    }
}

//! Installing packages on Debian and Ubuntu, and finding Debian's backports where the machine already
//! finds the rest of Debian.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Failure, Result, find, read, run, target};

/// The package manager, with the right to install.
pub struct Apt {
    /// Typed before the command: nothing for root, `sudo -n` for a person who needs no password.
    prefix: Vec<&'static str>,
}

impl Apt {
    /// True where packages are installed with apt.
    pub fn is_here() -> bool {
        cfg!(target_os = "linux") && find("apt-get").is_some() && find("dpkg-query").is_some()
    }

    /// The package manager, or `None` where we may not install by ourselves.
    pub fn with_rights() -> Option<Apt> {
        if !Apt::is_here() {
            return None;
        }
        if read(Command::new("id").arg("-u"))? == "0" {
            return Some(Apt { prefix: vec![] });
        }
        read(Command::new("sudo").args(["-n", "true"])).map(|_| Apt { prefix: vec!["sudo", "-n"] })
    }

    fn command(&self, program: &str) -> Command {
        let mut words = self.prefix.iter().copied().chain([program]);
        let mut command = Command::new(words.next().expect("the program itself"));
        command.args(words);
        command
    }

    /// Reads the lists of packages again.
    pub fn update(&self) -> Result<()> {
        run(self.command("apt-get").args(["update", "-qq"]), "check the network and the sources in /etc/apt")
    }

    /// Installs packages, from the suite `release` where one is given. Removes nothing.
    pub fn install(&self, packages: &[&str], release: Option<&str>) -> Result<()> {
        let mut install = self.command("env");
        install.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "-o", "Dpkg::Use-Pty=0"]);
        install.args(["--no-install-recommends", "--no-remove"]);
        install.args(release.into_iter().flat_map(|release| ["-t", release])).args(packages);
        run(&mut install, &format!("install by hand: {}", packages.join(" ")))
    }

    /// Makes the suite `<codename>-backports` known, if it is not, by the address that `codename` itself
    /// comes from. Gives the suite's name.
    pub fn add_backports(&self, codename: &str) -> Result<String> {
        let suite = format!("{codename}-backports");
        let sources = machine_sources();
        if sources.iter().any(|source| source.suites.contains(&suite)) {
            return Ok(suite);
        }
        let text = backports(&sources, codename).ok_or_else(|| {
            Failure::new(
                format!("no source of packages for {codename} was found in /etc/apt"),
                format!("add the suite {suite} to the sources of apt"),
            )
        })?;
        let draft = target().join(format!("{suite}.sources"));
        fs::write(&draft, text).map_err(|error| Failure::io(&draft, error))?;
        let place = Path::new("/etc/apt/sources.list.d").join(format!("{suite}.sources"));
        run(self.command("install").args(["-m", "644"]).arg(&draft).arg(&place), "check that /etc/apt can be written")?;
        self.update()?;
        Ok(suite)
    }
}

/// The version of a package that is installed.
pub fn installed(package: &str) -> Option<String> {
    let status = read(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status} ${Version}", package]))?;
    status.strip_prefix("installed ").map(str::to_owned)
}

/// The version of a package that `apt-get install` would take.
pub fn candidate(package: &str) -> Option<String> {
    let policy = read(Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C"))?;
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?.to_owned();
    (version != "(none)").then_some(version)
}

/// The first number of a Debian version: 25 of `1:25.0.7-2~bpo12+1`.
pub fn major(version: &str) -> Option<u32> {
    let upstream = version.split_once(':').map_or(version, |(_, upstream)| upstream);
    upstream.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

/// One source of packages, as far as we need to know it.
#[derive(Debug, PartialEq)]
struct Source {
    uri: String,
    suites: Vec<String>,
    /// A key file's path or a whole key, as it stands in the source.
    signed_by: Option<String>,
}

/// The sources that this machine uses.
fn machine_sources() -> Vec<Source> {
    let folder = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = [PathBuf::from("/etc/apt/sources.list")].into_iter().chain(folder).collect();
    paths.sort();
    let mut sources = vec![];
    for path in paths {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => sources.extend(deb822_sources(&text)),
            Some("list") => sources.extend(one_line_sources(&text)),
            _ => {}
        }
    }
    sources
}

/// Sources in paragraphs of `Field: value` (deb822).
fn deb822_sources(text: &str) -> Vec<Source> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let mut sources = vec![];
    for paragraph in lines.split(|line| line.trim().is_empty()) {
        let mut fields: Vec<(String, String)> = vec![];
        for line in paragraph {
            match (line.starts_with([' ', '\t']), fields.last_mut(), line.split_once(':')) {
                (true, Some((_, value)), _) => *value += &format!("\n{line}"),
                (false, _, Some((name, value))) => fields.push((name.to_lowercase(), value.trim().to_owned())),
                _ => {}
            }
        }
        let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
        let words = |name: &str| field(name).unwrap_or_default().split_whitespace();
        let disabled = field("enabled").is_some_and(|value| ["no", "false"].contains(&value.to_lowercase().as_str()));
        if disabled || !words("types").any(|word| word == "deb") {
            continue;
        }
        sources.extend(words("uris").map(|uri| Source {
            uri: uri.to_owned(),
            suites: words("suites").map(str::to_owned).collect(),
            signed_by: field("signed-by").map(str::to_owned),
        }));
    }
    sources
}

/// Sources in lines of `deb [options] uri suite components`.
fn one_line_sources(text: &str) -> Vec<Source> {
    let mut sources = vec![];
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '['])) else { continue };
        let (options, rest) = match rest.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (Some(uri), Some(suite)) = (words.next(), words.next()) else { continue };
        sources.push(Source {
            uri: uri.to_owned(),
            suites: vec![suite.to_owned()],
            signed_by: options.split_whitespace().find_map(|o| o.strip_prefix("signed-by=")).map(str::to_owned),
        });
    }
    sources
}

/// The source for `<codename>-backports`, in deb822, from where `codename` itself comes from.
fn backports(sources: &[Source], codename: &str) -> Option<String> {
    let source = sources.iter().find(|source| source.suites.iter().any(|suite| suite == codename))?;
    let signed_by = source.signed_by.as_ref().map(|key| format!("Signed-By: {key}\n")).unwrap_or_default();
    Some(format!("Types: deb\nURIs: {}\nSuites: {codename}-backports\nComponents: main\n{signed_by}", source.uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAGRAPHS: &str = "\
Types: deb
# an old address
URIs: http://packages.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian.gpg

Types: deb
URIs: http://security.example/debian
Suites: bookworm-security
Components: main
";

    #[test]
    fn backports_come_from_where_the_suite_comes_from() {
        let text = backports(&deb822_sources(PARAGRAPHS), "bookworm").unwrap();
        assert_eq!(
            text,
            "Types: deb\nURIs: http://packages.example/debian\nSuites: bookworm-backports\nComponents: main\n\
             Signed-By: /usr/share/keyrings/debian.gpg\n"
        );
        assert_eq!(backports(&deb822_sources(PARAGRAPHS), "trixie"), None);
    }

    #[test]
    fn the_source_that_is_written_is_read_again() {
        let text = backports(&deb822_sources(PARAGRAPHS), "bookworm").unwrap();
        let [source] = deb822_sources(&text).try_into().unwrap();
        assert_eq!(source.suites, ["bookworm-backports"]);
        assert_eq!(source.signed_by.as_deref(), Some("/usr/share/keyrings/debian.gpg"));
    }

    #[test]
    fn a_key_in_the_source_keeps_its_lines() {
        let text =
            "Types: deb deb-src\nURIs: http://a.example http://b.example\nSuites: trixie\nSigned-By:\n KEY\n .\n END\n";
        let sources = deb822_sources(text);
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[1].uri, "http://b.example");
        assert!(backports(&sources, "trixie").unwrap().ends_with("Signed-By: \n KEY\n .\n END\n"));
    }

    #[test]
    fn sources_that_are_off_or_hold_no_binaries_do_not_count() {
        assert_eq!(deb822_sources("Types: deb\nEnabled: no\nURIs: http://a.example\nSuites: trixie\n"), []);
        assert_eq!(deb822_sources("Types: deb-src\nURIs: http://a.example\nSuites: trixie\n"), []);
    }

    #[test]
    fn one_line_sources_with_and_without_options() {
        let text = "# deb http://old.example trixie main\n\
                    deb http://a.example/debian bookworm main contrib # the usual\n\
                    deb-src http://a.example/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/keys/b.gpg] http://b.example/debian trixie main\n";
        let sources = one_line_sources(text);
        let addresses: Vec<_> = sources.iter().map(|source| (source.uri.as_str(), source.suites[0].as_str())).collect();
        assert_eq!(addresses, [("http://a.example/debian", "bookworm"), ("http://b.example/debian", "trixie")]);
        assert_eq!(sources[0].signed_by, None);
        assert_eq!(
            backports(&sources, "trixie").unwrap(),
            "Types: deb\nURIs: http://b.example/debian\nSuites: trixie-backports\nComponents: main\nSigned-By: /keys/b.gpg\n"
        );
    }

    #[test]
    fn the_first_number_of_a_version() {
        assert_eq!(major("25.0.7-2~bpo12+1"), Some(25));
        assert_eq!(major("1:22.1.8-1~deb12u1"), Some(22));
        assert_eq!(major("unknown"), None);
    }
}

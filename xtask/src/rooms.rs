//! The order of the rooms: a room of the crate uses only those that stand above it in ARCHITECTURE.md's table, and within a
//! room no files use each other in a circle.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

use crate::imports::Source;
use crate::process::{Failure, Result, root};

const MAP: &str = "ARCHITECTURE.md";
const CRATE: &str = "crate/src";
const COMMAND_LINE: &str = "crate/src/bin/tunesmith";

/// Checks the crate, and the command line, which is a room by itself.
pub fn check() -> Result<()> {
    let map = root().join(MAP);
    let map = fs::read_to_string(&map).map_err(|error| Failure::io(&map, error))?;
    let rooms = order(&map);
    let library = sources(CRATE)?;
    let mut faults = wrong_arrows(&rooms, &library);
    for (folder, sources) in [(CRATE, &library), (COMMAND_LINE, &sources(COMMAND_LINE)?)] {
        faults.extend(circles(sources).iter().map(|files| format!("{folder}: {} is a circle", files.join(" -> "))));
    }
    if faults.is_empty() {
        return Ok(());
    }
    let help = format!("put what both use into a lower room or a file of its own; the order is the table in {MAP}");
    Err(Failure::new(faults.join("\n"), help))
}

/// The rooms in the table of the map, the lowest first.
fn order(map: &str) -> Vec<String> {
    let table =
        map.lines().skip_while(|line| *line != "## The rooms").skip(1).take_while(|line| !line.starts_with("## "));
    let room = |line: &str| {
        let name = line.strip_prefix("| `")?.split('`').next()?;
        Some(name.trim_end_matches('/').trim_end_matches(".rs").to_owned())
    };
    table.filter_map(room).collect()
}

/// Every source below a folder, without those of the programs.
fn sources(folder: &str) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    collect(&root().join(folder), "", &mut sources)?;
    sources.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(sources)
}

fn collect(folder: &Path, before: &str, sources: &mut Vec<Source>) -> Result<()> {
    let failed = |error| Failure::io(folder, error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let file = format!("{before}{name}");
        if path.is_dir() && file != "bin" {
            collect(&path, &format!("{file}/"), sources)?;
        } else if file.ends_with(".rs") {
            let text = fs::read_to_string(&path).map_err(|error| Failure::io(&path, error))?;
            sources.push(Source::read(&file, &text));
        }
    }
    Ok(())
}

/// What is wrong with the rooms: one that is not in the order, or that names one above it.
fn wrong_arrows(rooms: &[String], sources: &[Source]) -> Vec<String> {
    let place = |room: &str| rooms.iter().position(|known| known == room);
    let mut faults = Vec::new();
    for source in sources {
        // The crate's root file is above all.
        let Some(room) = source.module.first() else { continue };
        let Some(own) = place(room) else {
            faults.push(format!("{CRATE}/{}: the room {room} is not in the table of {MAP}", source.file));
            continue;
        };
        for import in &source.imports {
            let target = match place(&import.path[0]) {
                Some(_) => Some(&import.path[0]),
                None => resolve(sources, &import.path).and_then(|index| sources[index].module.first()),
            };
            if let Some(target) = target.filter(|target| place(target).is_some_and(|other| other > own)) {
                let (file, line) = (&source.file, import.line);
                faults.push(format!("{CRATE}/{file}:{line}: {room} uses {target}, which comes after it"));
            }
        }
    }
    // Several names of one `use`.
    faults.dedup();
    let is_there = |room: &&String| sources.iter().any(|source| source.module.first() == Some(room));
    faults.extend(rooms.iter().filter(|room| !is_there(room)).map(|room| format!("{MAP}: there is no room {room}")));
    faults
}

/// The source that a path leads to: past what is re-exported, to the file that has it.
fn resolve(sources: &[Source], path: &[String]) -> Option<usize> {
    let mut path = path.to_vec();
    // A re-export leads on to another at most as often as there are files.
    for _ in 0..=sources.len() {
        let (index, source) = sources
            .iter()
            .enumerate()
            .filter(|(_, source)| path.starts_with(&source.module))
            .max_by_key(|(_, source)| source.module.len())?;
        let rest = &path[source.module.len()..];
        let Some(name) = rest.first() else { return Some(index) };
        let mut reexports = source.imports.iter().filter(|import| import.reexport);
        match reexports.find(|import| import.path.last() == Some(name)) {
            Some(import) => path = [&import.path, &rest[1..]].concat(),
            None => return Some(index),
        }
    }
    None
}

/// The files that use each other in a circle within a room, each circle once.
fn circles(sources: &[Source]) -> Vec<Vec<String>> {
    let uses: Vec<BTreeSet<usize>> = sources
        .iter()
        .enumerate()
        .map(|(index, source)| {
            let imports = source.imports.iter().filter(|_| !source.only_declares);
            let used = imports.filter_map(|import| resolve(sources, &import.path));
            used.filter(|used| *used != index && !sources[*used].only_declares).collect()
        })
        .collect();
    let circles: Vec<Vec<usize>> = (0..sources.len()).filter_map(|start| circle(&uses, start)).collect();
    let shown = circles.iter().filter(|circle| circle.iter().all(|file| *file >= circle[0]));
    shown.map(|circle| circle.iter().chain(&circle[..1]).map(|file| sources[*file].file.clone()).collect()).collect()
}

/// The shortest way from a file back to it.
fn circle(uses: &[BTreeSet<usize>], start: usize) -> Option<Vec<usize>> {
    let mut ways = VecDeque::from([vec![start]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for &next in &uses[way[way.len() - 1]] {
            if next == start {
                return Some(way);
            }
            if seen.insert(next) {
                ways.push_back([&way[..], &[next]].concat());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# Map\n\n| `crate/` | x |\n\n## The rooms\n\n| Room | What |\n|---|---|\n| `error.rs` | x |\n\
                         | `gpu/` | x |\n| `model/` | `more` |\n| `web.rs` | x |\n\n## Next\n\n| `other/` | x |\n";

    fn read(files: &[(&str, &str)]) -> Vec<Source> {
        files.iter().map(|(file, text)| Source::read(file, text)).collect()
    }

    /// Rooms as they should be.
    const SOUND: [(&str, &str); 6] = [
        ("lib.rs", "pub mod error;\npub mod gpu;\npub mod model;\npub mod web;\npub use error::Error;\n"),
        ("error.rs", "pub enum Error {}\n"),
        ("gpu/mod.rs", "mod buffer;\nmod plan;\npub use buffer::Buffer;\npub use plan::Plan;\n"),
        ("gpu/buffer.rs", "use crate::Error;\npub struct Buffer;\n"),
        ("gpu/plan.rs", "use super::Buffer;\npub struct Plan;\n"),
        ("model/mod.rs", "use crate::gpu::Plan;\npub struct Model;\n"),
    ];

    fn with(file: &'static str, text: &'static str) -> Vec<Source> {
        let others = SOUND.iter().copied().filter(|(other, _)| *other != file);
        read(&others.chain([(file, text)]).collect::<Vec<_>>())
    }

    #[test]
    fn rooms_stand_in_the_maps_order() {
        assert_eq!(order(TABLE), ["error", "gpu", "model", "web"]);
    }

    #[test]
    fn arrows_down_are_right() {
        let sources = with("web.rs", "use crate::model::Model;\n\nfn f() { crate::gpu::Plan::new(); }\n");
        assert_eq!(wrong_arrows(&order(TABLE), &sources), [""; 0]);
        assert_eq!(circles(&sources), [[""; 0]; 0]);
    }

    #[test]
    fn an_arrow_up_is_found() {
        let up = "use crate::Error;\n\n#[cfg(test)]\nmod tests {\n    use crate::model::Model;\n}\n";
        let rooms = ["error", "gpu", "model"].map(str::to_owned);
        let expected = ["crate/src/gpu/buffer.rs:5: gpu uses model, which comes after it"];
        assert_eq!(wrong_arrows(&rooms, &with("gpu/buffer.rs", up)), expected);
        // What the crate's root re-exports belongs to the room that has it.
        let rooms = ["gpu", "error", "model"].map(str::to_owned);
        let expected = ["crate/src/gpu/buffer.rs:1: gpu uses error, which comes after it"];
        assert_eq!(wrong_arrows(&rooms, &read(&SOUND)), expected);
    }

    #[test]
    fn rooms_and_map_have_each_other() {
        let faults = wrong_arrows(&["error", "gpu", "house"].map(str::to_owned), &read(&SOUND));
        let expected = [
            "crate/src/model/mod.rs: the room model is not in the table of ARCHITECTURE.md",
            "ARCHITECTURE.md: there is no room house",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn a_circle_of_files_is_found_once() {
        let sources = with("gpu/buffer.rs", "use crate::gpu::Plan;\n");
        assert_eq!(circles(&sources), [["gpu/plan.rs", "gpu/buffer.rs", "gpu/plan.rs"]]);
        let sources = read(&[
            ("main.rs", "mod a;\nmod b;\nmod c;\nfn main() { a::run(); }\n"),
            ("a.rs", "use super::b;\n"),
            ("b.rs", "use super::c::{self, C};\n"),
            ("c.rs", "#[cfg(test)]\nmod tests {\n    use crate::a::run;\n}\n"),
        ]);
        assert_eq!(circles(&sources), [["a.rs", "b.rs", "c.rs", "a.rs"]]);
    }

    #[test]
    fn a_root_that_defines_something_counts() {
        let sources = read(&[
            ("lib.rs", "pub mod peft;\n"),
            ("peft/mod.rs", "mod lora;\nuse lora::Lora;\npub trait Peft {}\n"),
            ("peft/lora.rs", "use super::Peft;\n"),
        ]);
        assert_eq!(circles(&sources), [["peft/mod.rs", "peft/lora.rs", "peft/mod.rs"]]);
    }
}

//! Reads `shaders/`, expands each kernel's variants, validates them with naga, and writes the kernel table and the sources.
//!
//! `// variant NAME: FLAG KEY=INT …`, alone on its line, declares one variant of a file (a file without any is its own only
//! variant), and `// every encoding` makes each once for each way in which weights lie in memory, `src/format/encoding.rs`. A
//! variant with `SG=N` is for subgroups of N lanes, one with `MATRIX` for matrix units. `src/gpu/expand.rs` says what else stands
//! in the files.
//!
//! The binding list and the layout of `Params` come from naga's reflection, so they are written once, in WGSL.

// What it says of words of codes is for the program.
#[path = "src/format/encoding.rs"]
#[allow(dead_code)]
mod encoding;
#[path = "src/gpu/expand.rs"]
mod expand;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use encoding::Encoding;

/// The flags of a variant, as [`expand::Flags`] has them.
type Flags = Vec<(String, String)>;

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap()).join("../shaders");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut sources = BTreeMap::new();
    collect(&root, "", &mut sources);

    let mut table = String::new();
    let mut names = Vec::new();
    let mut declared = Declared::default();
    for (path, source) in &sources {
        // What has no entry is there to be imported.
        if !source.contains("@compute") {
            continue;
        }
        let stem = path.trim_end_matches(".wgsl").replace('/', "_");
        let mut variants: Vec<(String, Flags)> =
            source.lines().filter_map(|line| line.strip_prefix("// variant ")).map(parse_variant).collect();
        if variants.is_empty() {
            variants.push((String::new(), Flags::new()));
        }
        declared.extend(path, &variants, &sources);
        if source.lines().any(|line| line == "// every encoding") {
            variants = Encoding::ALL.iter().flat_map(|encoding| encoded(*encoding, &variants)).collect();
        }
        let mut params = String::new();
        for (variant, flags) in &variants {
            // Browsers have no matrix units.
            let is_for_matrix = flags.iter().any(|(name, _)| name == "MATRIX");
            if is_for_matrix && env::var("CARGO_CFG_TARGET_ARCH").unwrap() == "wasm32" {
                continue;
            }
            let name = if variant.is_empty() { stem.clone() } else { format!("{stem}_{variant}") };
            let flags: Vec<(&str, &str)> = flags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let wgsl = expand::expand(path, &flags, &|path| sources.get(path).map(String::as_str))
                .unwrap_or_else(|problem| panic!("shaders/{path}, {variant}: {problem}"));
            let (constant, variant_params) = describe(&name, path, &flags, &wgsl);
            assert!(params.is_empty() || params == variant_params, "{name}: every variant needs the same Params");
            params = variant_params;
            let _ = writeln!(table, "{constant}");
            names.push(name.to_uppercase());
        }
        let _ = writeln!(table, "/// Parameters of `shaders/{path}`.\npub mod {stem} {{\n{params}}}\n");
    }
    declared.check(&sources);
    let _ = writeln!(table, "/// Every kernel, in the order of [`Kernel::index`].\npub static ALL: &[&Kernel] = &[");
    for name in &names {
        let _ = writeln!(table, "    &{name},");
    }
    table.push_str("];\n");
    for (index, name) in names.iter().enumerate() {
        table = table.replace(&format!("@index {name}@"), &index.to_string());
    }
    table.push_str(
        "/// The files of `shaders/` by their paths, in order.\npub(super) static SOURCES: &[(&str, &str)] = &[\n",
    );
    for (path, source) in &sources {
        // Without comments and indents, which are half of the text.
        let lines = source.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
        let _ = writeln!(table, "    ({path:?}, {:?}),", lines.collect::<Vec<_>>().join("\n"));
    }
    table.push_str("];\n");
    fs::write(PathBuf::from(env::var("OUT_DIR").unwrap()).join("kernels.rs"), table).unwrap();
}

/// The text of every file in a folder, by its path.
fn collect(folder: &Path, path: &str, sources: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{path}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{name}/"), sources);
        } else if name.ends_with(".wgsl") {
            sources.insert(name, fs::read_to_string(entry.path()).unwrap());
        }
    }
}

fn parse_variant(line: &str) -> (String, Flags) {
    let (name, flags) = line.split_once(':').expect("a variant line reads `// variant NAME: FLAG KEY=INT`");
    let flags = flags
        .split_whitespace()
        .map(|flag| flag.split_once('=').unwrap_or((flag, "1")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    (name.trim().to_owned(), flags)
}

/// The variants for one encoding.
fn encoded(encoding: Encoding, variants: &[(String, Flags)]) -> Vec<(String, Flags)> {
    let of = |(name, flags): &(String, Flags)| {
        let name = [encoding.name(), name].join("_");
        (name.trim_end_matches('_').to_owned(), [encoding.flags(), flags.clone()].concat())
    };
    variants.iter().map(of).collect()
}

/// The flags that the variants of a file, and of those that import it, have: a misspelt one would drop lines in silence.
#[derive(Default)]
struct Declared(BTreeMap<String, BTreeSet<String>>);

impl Declared {
    /// Notes those of a kernel's variants, for its file and all that it imports.
    fn extend(&mut self, path: &str, variants: &[(String, Flags)], sources: &BTreeMap<String, String>) {
        let mut files = BTreeSet::new();
        imported(path, sources, &mut files);
        let asked: BTreeSet<&str> = files.iter().flat_map(|file| asked(&sources[*file])).collect();
        for (name, _) in variants.iter().flat_map(|(_, flags)| flags) {
            assert!(asked.contains(name.as_str()), "shaders/{path}: nothing asks for the flag {name}");
            self.note(&files, name);
        }
        if sources[path].contains("// every encoding") {
            for (name, _) in Encoding::ALL.iter().flat_map(|encoding| encoding.flags()) {
                self.note(&files, &name);
            }
        }
    }

    fn note(&mut self, files: &BTreeSet<&str>, flag: &str) {
        for file in files {
            self.0.entry((*file).to_owned()).or_default().insert(flag.to_owned());
        }
    }

    /// Fails where a file asks for a flag that none of its variants has.
    fn check(&self, sources: &BTreeMap<String, String>) {
        let none = BTreeSet::new();
        for (path, source) in sources {
            let known = self.0.get(path).unwrap_or(&none);
            for flag in asked(source) {
                assert!(known.contains(flag), "shaders/{path}: no variant has the flag {flag}");
            }
        }
    }
}

/// A file and all that it imports.
fn imported<'a>(path: &'a str, sources: &'a BTreeMap<String, String>, files: &mut BTreeSet<&'a str>) {
    files.insert(path);
    let source = sources.get(path).unwrap_or_else(|| panic!("there is no shaders/{path}"));
    for path in source.lines().filter_map(|line| line.trim().strip_prefix("#import ")) {
        imported(path, sources, files);
    }
}

/// The flags that a file asks for: those of conditions and of loops, and what is replaced. Flags are upper-case; what loops
/// count is not.
fn asked(source: &str) -> BTreeSet<&str> {
    let word = |text: &'static str| move |line: &&str| line.trim().starts_with(text);
    let conditions = source.lines().filter(word("#ifdef ")).filter_map(|line| line.split_whitespace().nth(1));
    let counts = source.lines().filter(word("#for ")).filter_map(|line| line.split_whitespace().nth(2));
    let replaced = source.split('$').skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit()).unwrap_or(rest.len());
        &rest[..end]
    });
    let is_flag = |name: &&str| name.starts_with(|c: char| c.is_ascii_uppercase());
    conditions.chain(counts.chain(replaced).filter(is_flag)).collect()
}

/// Validates one kernel; returns its `Kernel` constant and the Rust struct for its `Params`.
fn describe(name: &str, file: &str, flags: &expand::Flags, wgsl: &str) -> (String, String) {
    let module =
        naga::front::wgsl::parse_str(wgsl).unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(wgsl)));
    naga::valid::Validator::new(
        naga::valid::ValidationFlags::all(),
        naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32
            | naga::valid::Capabilities::SUBGROUP
            | naga::valid::Capabilities::SHADER_FLOAT16
            | naga::valid::Capabilities::COOPERATIVE_MATRIX,
    )
    .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
    .subgroup_operations(
        naga::valid::SubgroupOperationSet::BALLOT
            | naga::valid::SubgroupOperationSet::SHUFFLE
            | naga::valid::SubgroupOperationSet::QUAD_FRAGMENT_COMPUTE,
    )
    .validate(&module)
    .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(wgsl)));
    let entry = &module.entry_points[0];
    assert!(module.entry_points.len() == 1 && entry.name == "main", "{name}: one entry point, called main");

    let mut bindings: Vec<(u32, &str)> = Vec::new();
    let mut params = String::new();
    for (_, variable) in module.global_variables.iter() {
        let Some(binding) = &variable.binding else { continue };
        assert_eq!(binding.group, 0, "{name}: everything is in group 0");
        match variable.space {
            naga::AddressSpace::Uniform => {
                assert_eq!(binding.binding, 0, "{name}: the parameters are binding 0");
                params = params_struct(name, &module, variable.ty);
            }
            naga::AddressSpace::Storage { access } => {
                let write = access.contains(naga::StorageAccess::STORE);
                bindings.push((binding.binding, if write { "Access::ReadWrite" } else { "Access::Read" }));
            }
            _ => panic!("{name}: only uniform and storage bindings"),
        }
    }
    bindings.sort();
    for (index, (binding, _)) in bindings.iter().enumerate() {
        assert_eq!(*binding, index as u32 + 1, "{name}: storage bindings are numbered from 1 without gaps");
    }
    // WebGPU's default limit; a kernel past it would run here and fail in a browser.
    assert!(bindings.len() <= 8, "{name}: at most 8 storage buffers");
    assert!(!params.is_empty(), "{name}: needs a Params uniform");
    let access: Vec<_> = bindings.iter().map(|(_, access)| *access).collect();
    let upper = name.to_uppercase();
    let subgroup = flags.iter().find(|(name, _)| *name == "SG").map_or("0", |(_, lanes)| lanes);
    let constant = format!(
        "/// Kernel `{name}`.\npub static {upper}: Kernel = Kernel {{ index: @index {upper}@, name: \"{name}\", \
         workgroup: {:?}, subgroup: {subgroup}, bindings: &[{}], file: {file:?}, flags: &{flags:?} }};",
        entry.workgroup_size,
        access.join(", "),
    );
    (constant, params)
}

fn params_struct(name: &str, module: &naga::Module, ty: naga::Handle<naga::Type>) -> String {
    let naga::TypeInner::Struct { members, span } = &module.types[ty].inner else {
        panic!("{name}: the uniform is a struct");
    };
    let mut out = String::from(
        "/// Uniform parameters, in the order and layout of the WGSL struct.\n#[repr(C)]\n\
         #[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]\n#[allow(missing_docs)]\npub struct Params {\n",
    );
    let mut offset = 0;
    for member in members {
        let (ty, bytes) = match module.types[member.ty].inner {
            naga::TypeInner::Scalar(naga::Scalar::U32) => ("u32".to_owned(), 4),
            naga::TypeInner::Scalar(naga::Scalar::F32) => ("f32".to_owned(), 4),
            naga::TypeInner::Array { size: naga::ArraySize::Constant(count), stride: 16, .. } => {
                (format!("[[u32; 4]; {count}]"), 16 * count.get())
            }
            _ => panic!("{name}: parameters are u32 and f32 scalars, and arrays of vec4<u32>"),
        };
        assert_eq!(member.offset, offset, "{name}: parameters are packed");
        offset += bytes;
        let _ = writeln!(out, "    pub {}: {ty},", member.name.as_deref().unwrap());
    }
    assert!(*span == offset && offset <= 256, "{name}: no padding, and at most the 256 bytes of a dynamic offset");
    out.push_str("}\n");
    out
}

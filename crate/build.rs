//! Reads `shaders/`, expands each kernel's variants, validates them with naga, and writes the kernel table.
//!
//! The preprocessor knows five directives, each alone on its line:
//!
//! - `// variant NAME: FLAG KEY=INT …` declares one variant of the file (a file without any is its own only variant);
//! - `#import path` inserts another file of `shaders/`;
//! - `#ifdef FLAG`, `#else`, `#endif` keep or drop lines;
//! - `#for i COUNT`, `#endfor` repeat lines, with `$i` replaced by 0, 1, … COUNT-1 (shader compilers in browsers do
//!   not unroll loops, and a loop over a register array would put it in memory);
//! - `$KEY` is replaced by the variant's integer.
//!
//! A variant with `SG=N` is for subgroups of N lanes, one with `MATRIX` for matrix units.
//!
//! The binding list and the layout of `Params` come from naga's reflection, so they are written once, in WGSL.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

type Defines = BTreeMap<String, String>;

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap()).join("../shaders");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();

    let mut table = String::new();
    let mut names = Vec::new();
    for file in &files {
        let relative = file.strip_prefix(&root).unwrap();
        let folder = relative.parent().unwrap().to_str().unwrap().to_owned();
        if folder == "shared" {
            continue;
        }
        let stem = format!("{folder}_{}", relative.file_stem().unwrap().to_str().unwrap());
        let source = fs::read_to_string(file).unwrap();
        let mut variants: Vec<(String, Defines)> =
            source.lines().filter_map(|line| line.strip_prefix("// variant ")).map(parse_variant).collect();
        if variants.is_empty() {
            variants.push((String::new(), Defines::new()));
        }
        let mut params = String::new();
        for (variant, defines) in &variants {
            // Browsers have no matrix units.
            if defines.contains_key("MATRIX") && env::var("CARGO_CFG_TARGET_ARCH").unwrap() == "wasm32" {
                continue;
            }
            let name = if variant.is_empty() { stem.clone() } else { format!("{stem}_{variant}") };
            let wgsl = expand(&root, &source, defines)
                .unwrap_or_else(|problem| panic!("shaders/{}: {problem}", relative.display()));
            let subgroup = defines.get("SG").map_or("0", String::as_str);
            let (constant, variant_params) = describe(&name, &wgsl, subgroup);
            assert!(params.is_empty() || params == variant_params, "{name}: every variant needs the same Params");
            params = variant_params;
            let _ = writeln!(table, "{constant}");
            names.push(name.to_uppercase());
        }
        let _ = writeln!(table, "/// Parameters of `shaders/{}`.\npub mod {stem} {{\n{params}}}\n", relative.display());
    }
    let _ = writeln!(table, "/// Every kernel, in the order of [`Kernel::index`].\npub static ALL: &[&Kernel] = &[");
    for name in &names {
        let _ = writeln!(table, "    &{name},");
    }
    table.push_str("];\n");
    for (index, name) in names.iter().enumerate() {
        table = table.replace(&format!("@index {name}@"), &index.to_string());
    }
    fs::write(PathBuf::from(env::var("OUT_DIR").unwrap()).join("kernels.rs"), table).unwrap();
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "wgsl") {
            files.push(path);
        }
    }
}

fn parse_variant(line: &str) -> (String, Defines) {
    let (name, flags) = line.split_once(':').expect("a variant line reads `// variant NAME: FLAG KEY=INT`");
    let defines = flags
        .split_whitespace()
        .map(|flag| flag.split_once('=').unwrap_or((flag, "1")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    (name.trim().to_owned(), defines)
}

/// Expands imports, conditions, loops and substitutions, in that order of nesting.
fn expand(root: &Path, source: &str, defines: &Defines) -> Result<String, String> {
    let mut lines: Vec<String> = Vec::new();
    import(root, source, &mut lines)?;
    let mut kept = Vec::new();
    let mut conditions: Vec<bool> = Vec::new();
    for line in lines {
        let word = line.trim();
        if let Some(flag) = word.strip_prefix("#ifdef ") {
            conditions.push(defines.contains_key(flag.trim()));
        } else if word == "#else" {
            let last = conditions.last_mut().ok_or("#else without #ifdef")?;
            *last = !*last;
        } else if word == "#endif" {
            conditions.pop().ok_or("#endif without #ifdef")?;
        } else if conditions.iter().all(|&kept| kept) {
            kept.push(line);
        }
    }
    if !conditions.is_empty() {
        return Err("#ifdef without #endif".into());
    }
    let mut out = String::new();
    unroll(&kept, defines, &mut out)?;
    Ok(out)
}

/// The lines of a file, with those of the files that it imports in their places.
fn import(root: &Path, source: &str, lines: &mut Vec<String>) -> Result<(), String> {
    for line in source.lines() {
        match line.trim().strip_prefix("#import ") {
            Some(path) => {
                let imported = fs::read_to_string(root.join(path)).map_err(|error| format!("{path}: {error}"))?;
                import(root, &imported, lines)?;
            }
            None => lines.push(line.to_owned()),
        }
    }
    Ok(())
}

fn unroll(lines: &[String], defines: &Defines, out: &mut String) -> Result<(), String> {
    let mut at = 0;
    while at < lines.len() {
        if let Some(header) = lines[at].trim().strip_prefix("#for ") {
            let mut depth = 1;
            let end = (at + 1..lines.len())
                .find(|&line| {
                    let word = lines[line].trim();
                    depth += i32::from(word.starts_with("#for ")) - i32::from(word == "#endfor");
                    depth == 0
                })
                .ok_or("#for without #endfor")?;
            let (name, count) = header.trim().split_once(' ').ok_or("#for needs a name and a count")?;
            let count = defines.get(count.trim()).map_or(count.trim(), String::as_str);
            let count: u32 = count.parse().map_err(|_| format!("#for {name}: {count} is not a number"))?;
            for i in 0..count {
                let mut inner = defines.clone();
                inner.insert(name.to_owned(), i.to_string());
                unroll(&lines[at + 1..end], &inner, out)?;
            }
            at = end + 1;
        } else {
            out.push_str(&substitute(&lines[at], defines));
            out.push('\n');
            at += 1;
        }
    }
    Ok(())
}

fn substitute(line: &str, defines: &Defines) -> String {
    let mut line = line.to_owned();
    // Longest names first, so that `$rows` is not read as `$r` and `ows`.
    let mut keys: Vec<_> = defines.iter().collect();
    keys.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
    for (key, value) in keys {
        line = line.replace(&format!("${key}"), value);
    }
    line
}

/// Validates one kernel; returns its `Kernel` constant and the Rust struct for its `Params`.
fn describe(name: &str, wgsl: &str, subgroup: &str) -> (String, String) {
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
    // Without comments and indents, which are a third of the text, and the text was most of the page's program.
    let lines = wgsl.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    let source = lines.collect::<Vec<_>>().join("\n");
    let constant = format!(
        "/// Kernel `{name}`.\npub static {upper}: Kernel = Kernel {{ index: @index {upper}@, name: \"{name}\", \
         workgroup: {:?}, subgroup: {subgroup}, bindings: &[{}], source: r####\"{source}\"#### }};",
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

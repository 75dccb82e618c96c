//! The kernel table that `build.rs` makes from `shaders/`.

use super::expand::{Flags, expand};

/// How a kernel uses a storage binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
}

/// One WGSL kernel: binding 0 is its `Params` uniform, bindings 1.. are storage buffers.
#[derive(Debug)]
pub struct Kernel {
    /// Position in [`kernels::ALL`].
    pub index: usize,
    /// Folder, file and variant, joined by underscores.
    pub name: &'static str,
    /// Invocations of a workgroup.
    pub workgroup: [u32; 3],
    /// Lanes of a subgroup that the kernel was written for; 0 for one that uses no subgroups.
    pub subgroup: u32,
    /// Access of the storage bindings, from binding 1.
    pub bindings: &'static [Access],
    /// Its file in `shaders/`.
    file: &'static str,
    /// What its variant of the file is.
    flags: &'static Flags<'static>,
}

impl Kernel {
    /// Its source as this platform's compiler takes it: browsers want the feature named, and naga does not know its name.
    pub fn wgsl(&self) -> String {
        let read = |path: &str| {
            let at = kernels::SOURCES.binary_search_by_key(&path, |(file, _)| file).ok()?;
            Some(kernels::SOURCES[at].1)
        };
        let source = expand(self.file, self.flags, &read).expect("the build has expanded it");
        if cfg!(target_arch = "wasm32") && self.subgroup > 0 { format!("enable subgroups;\n{source}") } else { source }
    }

    /// The kernel of a name that is put together of parts.
    ///
    /// # Panics
    /// When there is none: the parts are ours.
    pub fn named(name: &str) -> &'static Self {
        kernels::ALL.iter().find(|kernel| kernel.name == name).unwrap_or_else(|| panic!("there is no kernel {name}"))
    }
}

/// Generated from `shaders/`: a [`Kernel`] constant a variant, a module with `Params` a file.
pub mod kernels {
    use super::{Access, Kernel};
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

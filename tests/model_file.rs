//! Where the default model lies; `cargo xtask` fetches it.

use std::path::{Path, PathBuf};

/// The default model's path: `TUNESMITH_MODEL`, or its place under `target`.
///
/// # Panics
/// When there is no such file: a test that needs the model fails without it.
pub fn path() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let path = std::env::var_os("TUNESMITH_MODEL").map_or(default, PathBuf::from);
    assert!(
        path.is_file(),
        "the default model is not at {}: run `cargo xtask test`, which fetches it, or set TUNESMITH_MODEL",
        path.display()
    );
    path
}

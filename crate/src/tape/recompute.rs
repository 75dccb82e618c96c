//! What a backward pass makes again.

use serde::{Serialize, Serializer};

/// Which activations the backward pass computes again instead of keeping them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recompute {
    /// The first of the others with which the run fits `memory_limit`; a run's own config has that one.
    Auto,
    /// None: the fastest.
    None,
    /// Those of gate and up, and what SwiGLU makes of them, which are about half.
    GateUp,
    /// All but each block's input: the least memory.
    Block,
}

impl Recompute {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::None, Self::GateUp, Self::Block];

    /// Those that a pass can be recorded with.
    pub const FASTEST_FIRST: [Self; 3] = [Self::None, Self::GateUp, Self::Block];

    /// The next one that needs less memory, if there is one.
    pub fn leaner(self) -> Option<Self> {
        let at = Self::FASTEST_FIRST.iter().position(|&other| other == self)?;
        Self::FASTEST_FIRST.get(at + 1).copied()
    }

    /// The name in `run.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::GateUp => "gate-up",
            Self::Block => "block",
        }
    }
}

impl Serialize for Recompute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

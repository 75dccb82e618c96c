//! Expands and validates the shaders.

fn main() {}

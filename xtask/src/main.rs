//! Every chore has one name: start, test.

fn main() {}

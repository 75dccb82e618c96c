//! Every architecture whose forward pass is the decoder's: a file with its table, and a row here.

mod gemma;
mod gemma2;
mod gemma3;
mod gpt2;
pub mod llama;
mod phi3;
mod qwen2;
mod qwen3;
mod smollm3;

use super::blueprint::Architecture;

/// All of them.
#[rustfmt::skip] // A row each.
pub static ALL: &[&Architecture] = &[
    &llama::LLAMA,
    &qwen2::QWEN2,
    &qwen3::QWEN3,
    &gemma::GEMMA,
    &gemma2::GEMMA2,
    &gemma3::GEMMA3,
    &phi3::PHI3,
    &smollm3::SMOLLM3,
    &gpt2::GPT2,
];

/// That of this name in GGUF files.
pub fn named(name: &str) -> Option<&'static Architecture> {
    ALL.iter().find(|architecture| architecture.name == name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Features, Group};

    #[test]
    fn every_table_has_each_group_in_one_piece_and_in_order() {
        for architecture in ALL {
            let groups: Vec<Group> = architecture.modules().map(|module| module.group).collect();
            assert!(groups.is_sorted(), "{architecture}");
            assert!(Group::ALL.iter().all(|group| groups.contains(group)), "{architecture}");
            let outputs = architecture.group(Group::Qkv).flat_map(|module| module.outputs).collect::<Vec<_>>();
            assert_eq!(outputs, [&Features::Queries, &Features::Keys, &Features::Values], "{architecture}");
            assert!(architecture.norms.is_sorted_by_key(|norm| norm.place), "{architecture}");
        }
    }
}

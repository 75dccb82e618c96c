//! The command line as other programs meet it: the binary itself, on the nano model. These tests stand beside the
//! binary because cargo builds it for the tests of its own package alone.

mod adapters;
mod bad_input;
mod bench;
mod best;
mod kills;
mod lab;
mod merge;
mod objectives;
mod pretrain;
mod qlora;
mod record;
mod reinforcement;
mod run;
mod run_folder;
mod show;
mod support;

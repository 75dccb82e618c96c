//! Writes the JavaScript side of the wasm build: `xtask-bindgen INPUT.wasm OUTPUT_FOLDER`.
//!
//! A program of its own, so that only a wasm build pays for compiling wasm-bindgen.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, folder] = arguments.as_slice() else {
        eprintln!("usage: xtask-bindgen INPUT.wasm OUTPUT_FOLDER");
        return ExitCode::from(2);
    };
    let mut bindgen = Bindgen::new();
    // The default path is what the bundler sees and emits.
    bindgen.input_path(input).typescript(true).omit_default_module_path(false);
    match bindgen.web(true).and_then(|bindgen| bindgen.generate(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: wasm-bindgen could not read {input}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

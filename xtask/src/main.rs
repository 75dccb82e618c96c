//! Every chore has one name: start, test, check, wasm, model, bench, lab, stages, kills, page-kills, many-rows, fuzz,
//! fixtures.

mod apt;
mod bench;
mod check;
mod document;
mod fixtures;
mod imports;
mod lab;
mod lessons;
mod model;
mod page;
mod process;
mod rooms;
mod serve;
mod setup;
mod stages;
mod stamp;
mod start;
mod tally;
mod test;
mod wasm;

use std::process::ExitCode;

use process::{Failure, Result};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  start     set up what is missing, build, serve the page on this computer and open it
              --demo       drive the page through one short training run in a headless browser instead,
                           and leave the adapter and a screenshot in target/demo
              --port N     serve on port N (default: 8787, or the next free one)
              --no-open    print the address and open nothing
  test      set up what is missing and run every check and every test
  check     the checks alone: rooms, format, clippy, documentation, spelling
  wasm      build the crate for the browser into web/src/pkg
  model     fetch the default model into target/models
  bench     measure a release build: the numbers go to target/bench, their tables into docs/performance.md;
            takes the flags of `tunesmith bench` (default: --synthetic smollm2-135m)
  lab       train every method on the starter sets with a release build: the tables go into docs/methods.md;
            takes the flags of `tunesmith lab`
  stages    train the preference objectives on the preference sets, and reinforcement on prompts, with a release
            build: the tables go into docs/stages.md; takes the names of tables, and then the flags of `tunesmith train`
  kills     train every objective on the nano model, kill the runs at random moments and resume them, and see that
            nothing was lost; takes how many times (default: 1000)
  page-kills
            the same of a run in the page: kill its renderer; takes how many times (default: 100)
  many-rows bring many rows into the page and begin a run on the default model: how long the page was deaf, and what memory
            it took; takes how many rows (default: 50000)
  fuzz      give damaged and made-up input to all that parses what people bring; takes how many times for each
            (default: 1000000)
  fixtures  make the golden numbers of tests/golden again with PyTorch (a download of several GB; optional)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["start", options @ ..] => match start::Options::parse(options) {
            Ok(options) => start::run_and_serve(&options),
            Err(problem) => return wrong_usage(&problem),
        },
        ["test"] => test::run_all(),
        ["check"] => check::run_all(),
        ["wasm"] => wasm_package(),
        ["model"] => model::fetch().map(|path| println!("{}", path.display())),
        ["bench", flags @ ..] => bench::run_all(flags),
        ["lab", flags @ ..] => lab::run_all(flags),
        ["stages", arguments @ ..] => stages::run_all(arguments),
        ["kills"] => test::kill(1000),
        ["page-kills"] => test::kill_page(100),
        ["many-rows"] => test::many_rows(50_000),
        ["fuzz"] => test::fuzz(1_000_000),
        [command @ ("kills" | "page-kills" | "many-rows" | "fuzz"), number] => match number.parse() {
            Ok(times) if *command == "kills" => test::kill(times),
            Ok(times) if *command == "page-kills" => test::kill_page(times),
            Ok(times) if *command == "fuzz" => test::fuzz(times),
            Ok(rows) => test::many_rows(rows),
            Err(_) => return wrong_usage(&format!("{command} takes a number, and there is \"{number}\"")),
        },
        ["fixtures"] => fixtures::run_all(),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        [] => return wrong_usage("a command is missing"),
        [command @ ("test" | "check" | "wasm" | "model" | "fixtures"), extra, ..] => {
            return wrong_usage(&format!("{command} takes no option, and there is \"{extra}\""));
        }
        [command, ..] => return wrong_usage(&format!("there is no command \"{command}\"")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { what, help }) => {
            eprintln!("\nerror: {what}\nhelp: {help}");
            ExitCode::FAILURE
        }
    }
}

fn wrong_usage(problem: &str) -> ExitCode {
    eprintln!("error: {problem}\n\n{USAGE}");
    ExitCode::from(2)
}

fn wasm_package() -> Result<()> {
    let needs = setup::Needs { wasm: true, node: true, ..setup::Needs::default() };
    setup::ensure(&needs)?;
    page::install_packages()?;
    wasm::package()
}

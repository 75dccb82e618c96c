//! The flags. Those of the run config are made from its table of fields.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use tunesmith::Result;
use tunesmith::peft::merge::OutType;
use tunesmith::settings::config::{FP16, LOAD_IN_4BIT, Method, RunConfig};
use tunesmith::settings::field::{Field, FieldValue, Input};

use super::bench;

/// The name of a flag that several commands have.
pub const JSON: &str = "json";
/// The flag for an adapter's strength.
pub const SCALE: &str = "adapter-scale";

/// Fields that say how examples are rendered: `eval` and `inspect` have these.
const RENDERING: [&str; 3] = ["max_length", "completion_only_loss", "assistant_only_loss"];

/// Fields that say how the model is loaded: whatever loads one has these.
const LOADING: [&str; 2] = [LOAD_IN_4BIT, FP16];

/// The whole command line.
pub fn command() -> Command {
    Command::new("tunesmith")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Fine-tunes a language model on any GPU, straight on its quantized weights")
        .after_help("`tunesmith COMMAND --help` explains a command. The README has examples.")
        .max_term_width(110)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommands([train(), lab(), estimate(), eval(), generate(), merge(), inspect(), devices(), bench::command()])
}

fn train() -> Command {
    run_flags(Command::new("train").about("Trains an adapter on examples"))
        .arg(file("init-adapter", "DIR", "Start from the weights of a PEFT adapter folder"))
        .arg(switch("resume", "Continue the run in --out from its newest checkpoint"))
        .arg(file("out", "DIR", "The folder to make: adapter, run.json, metrics, checkpoints").required(true))
        .arg(switch("profile", "Print what a step costs, and the most memory used"))
}

fn lab() -> Command {
    run_flags(Command::new("lab").about("Trains several methods on the same examples and compares them")).arg(
        value("methods", "METHOD,…", value_parser!(String))
            .help(format!("What to try: {} [default: all]", tunesmith::train::lab::names(false).join(", "))),
    )
}

fn estimate() -> Command {
    run_flags(Command::new("estimate").about("Tells what memory a run would need on the GPU, before anything is there"))
}

/// What describes a run: model, examples, settings.
fn run_flags(command: Command) -> Command {
    let fields = RunConfig::fields(Method::Lora);
    command
        .arg(model())
        .arg(data())
        .arg(file("eval-data", "FILE", "Examples that are evaluated and never learnt"))
        .arg(file("config", "FILE", "Settings from a run.json; flags win over it"))
        .arg(
            value("method", "METHOD", parse("method")).help(format!("How to tune: {} [default: lora]", method_names())),
        )
        .arg(json())
        .args(fields.iter().flat_map(field_flags))
}

fn method_names() -> String {
    let methods = Method::ALL.iter().map(|method| method.name());
    methods.chain(RunConfig::switches().iter().map(|switch| switch.name)).collect::<Vec<_>>().join(", ")
}

fn eval() -> Command {
    Command::new("eval")
        .about("Measures the loss of each example")
        .arg(model())
        .arg(adapter())
        .arg(scale())
        .arg(data())
        .arg(json())
        .args(loading_flags())
        .args(flags_of(&RENDERING))
}

fn generate() -> Command {
    Command::new("generate")
        .about("Answers a prompt")
        .arg(model())
        .arg(adapter().action(ArgAction::Append).help("A PEFT adapter folder; several are asked one after another"))
        .arg(scale())
        .arg(text("prompt", "What to answer").required(true))
        .arg(text("system", "The system message").conflicts_with("raw"))
        .arg(switch("raw", "Continue the prompt as it is, without the chat template"))
        .arg(
            value("max-new-tokens", "N", value_parser!(u32).range(1..=1 << 20))
                .default_value("128")
                .help("Most tokens to generate"),
        )
        .arg(
            value("temperature", "T", between(0.0, 100.0))
                .default_value("0")
                .help("0 takes the likeliest token, more makes for more variety"),
        )
        .arg(
            value("top-p", "P", between(1e-6, 1.0))
                .default_value("1")
                .help("Draw only from the likeliest tokens that hold this share of the probability"),
        )
        .arg(value("seed", "S", value_parser!(u64)).default_value("0").help("Decides the draws"))
        .arg(json())
        .args(loading_flags())
}

fn merge() -> Command {
    Command::new("merge")
        .about("Writes a model with an adapter merged into it, as a GGUF file")
        .arg(model())
        .arg(adapter().required(true))
        .arg(scale())
        .arg(file("out", "FILE", "The GGUF file to make").required(true))
        .arg(
            value("outtype", "TYPE", outtype()).default_value("f32").help(
                "The encoding of what the adapter changes: f32, or f16 for half the size; the rest stays as it is",
            ),
        )
        .arg(json())
}

fn inspect() -> Command {
    Command::new("inspect")
        .about("Shows a model, an adapter, or a dataset as the model will see it")
        .arg(
            Arg::new("path")
                .value_name("PATH")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("A GGUF file, an adapter folder or a JSONL file"),
        )
        .arg(model())
        .arg(
            value("rows", "N", value_parser!(u64))
                .default_value("3")
                .help("Examples of a dataset to show; --json has them all"),
        )
        .arg(json())
        .args(flags_of(&[LOAD_IN_4BIT]))
        .args(flags_of(&RENDERING))
}

fn devices() -> Command {
    Command::new("devices").about("Lists the GPU adapters, their limits and features").arg(json())
}

/// `--model`.
pub fn model() -> Arg {
    file("model", "FILE", "The model, a GGUF file [default: SmolLM2-135M-Instruct, fetched when it is not there]")
}

fn adapter() -> Arg {
    file("adapter", "DIR", "A PEFT adapter folder")
}

fn scale() -> Arg {
    value(SCALE, "X", between(0.0, 1.0))
        .default_value("1")
        .help("How much of the adapter counts: 0 for the model without it, 1 for all of it")
}

fn data() -> Arg {
    file("data", "FILE", "The examples, one JSON object a line").required(true)
}

/// `--json`.
pub fn json() -> Arg {
    switch(JSON, "Print one JSON object a line, for programs")
}

/// A flag that is given or not.
pub fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// A flag that takes a path.
pub fn file(name: &'static str, kind: &'static str, help: &'static str) -> Arg {
    value(name, kind, value_parser!(PathBuf)).help(help)
}

/// What a person says, which may start with a dash.
fn text(name: &'static str, help: &'static str) -> Arg {
    value(name, "TEXT", value_parser!(String)).allow_hyphen_values(true).help(help)
}

/// A flag that takes a value.
pub fn value(name: &'static str, kind: &'static str, parser: impl Into<clap::builder::ValueParser>) -> Arg {
    Arg::new(name).long(name).value_name(kind).value_parser(parser.into())
}

fn between(min: f32, max: f32) -> clap::builder::ValueParser {
    let read = move |text: &str| {
        let number = text.parse().ok().filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| format!("give a number from {min} to {max}"))
    };
    clap::builder::ValueParser::new(read)
}

fn outtype() -> clap::builder::ValueParser {
    let read = |text: &str| OutType::read(Input::Text(text)).ok_or_else(|| format!("give {}", OutType::EXPECTED));
    clap::builder::ValueParser::new(read)
}

/// A value that the run config takes under this key.
fn parse(key: &'static str) -> clap::builder::ValueParser {
    clap::builder::ValueParser::new(move |text: &str| {
        let set = RunConfig::new(Method::Lora).set(key, text);
        set.map(|()| text.to_owned()).map_err(|error| format!("{error}; {}", error.help()))
    })
}

/// A field's flag, and one for each of its other names.
fn field_flags(field: &Field) -> Vec<Arg> {
    let kebab = |name: &str| name.replace('_', "-");
    let flag = |name: &'static str| {
        let kind = match field.kind {
            "integer" => "N",
            "number" => "X",
            "boolean" => "true|false",
            "modules" => "MODULES",
            "choice" => "NAME",
            _ => "TEXT",
        };
        let flag = Arg::new(name)
            .long(kebab(name))
            // The name as it stands in run.json is understood, too.
            .alias(name)
            .value_name(kind)
            .value_parser(parse(name))
            .allow_negative_numbers(true)
            .help_heading(field.group);
        if field.kind == "boolean" { flag.num_args(0..=1).default_missing_value("true") } else { flag }
    };
    let mut help = field.help.trim_end_matches('.').to_owned();
    if !field.choices.is_empty() {
        help += &format!(": {}", field.choices.join(", "));
    }
    let plain = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    help += &format!(" [default: {}", plain(&field.default));
    for &method in &Method::ALL[1..] {
        let fields = RunConfig::fields(method);
        let other = fields.into_iter().find(|other| other.name == field.name).expect("the table is the same");
        if other.default != field.default {
            help += &format!("; {}: {}", method.name(), plain(&other.default));
        }
    }
    help += "]";
    if !field.methods.is_empty() {
        help += &format!(" ({} only)", field.methods.join(", "));
    }
    if !field.aliases.is_empty() {
        let names: Vec<String> = field.aliases.iter().map(|alias| format!("--{}", kebab(alias))).collect();
        help += &format!(" [also: {}]", names.join(", "));
    }
    let mut flags = vec![flag(field.name).help(help)];
    flags.extend(field.aliases.iter().map(|alias| flag(alias).hide(true).conflicts_with(field.name)));
    flags
}

/// The flags of [`LOADING`].
pub fn loading_flags() -> Vec<Arg> {
    flags_of(&LOADING)
}

fn flags_of(names: &[&str]) -> Vec<Arg> {
    let fields = RunConfig::fields(Method::Lora);
    fields.iter().filter(|field| names.contains(&field.name)).flat_map(field_flags).collect()
}

/// Makes the settings that were given as flags.
pub fn apply(matches: &ArgMatches, config: &mut RunConfig) -> Result<()> {
    let fields = RunConfig::fields(Method::Lora);
    let names = fields.iter().flat_map(|field| field.aliases.iter().copied().chain([field.name]));
    for name in ["method"].into_iter().chain(names) {
        // Not every command has every field.
        if let Ok(Some(value)) = matches.try_get_one::<String>(name) {
            config.set(name, value)?;
        }
    }
    Ok(())
}

/// The settings that a command has which is no run: how the model is loaded, how examples are rendered.
pub fn settings(matches: &ArgMatches) -> Result<RunConfig> {
    let mut config = RunConfig::new(Method::Lora);
    apply(matches, &mut config)?;
    Ok(config)
}

/// The path given to a flag.
pub fn path<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a PathBuf> {
    matches.get_one::<PathBuf>(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_field_is_a_flag() {
        let line = "tunesmith train --data d --out o --learning-rate 0.5 --cutoff-len 7 --packing --max-steps -1 --r 3";
        let matches = command().try_get_matches_from(line.split(' ')).unwrap();
        let mut config = RunConfig::new(Method::Lora);
        apply(matches.subcommand().unwrap().1, &mut config).unwrap();
        assert_eq!((config.learning_rate, config.max_length, config.packing, config.r), (0.5, 7, true, 3));
        for field in RunConfig::fields(Method::Lora) {
            assert!(train().get_arguments().any(|arg| arg.get_id() == field.name), "{}", field.name);
        }
    }

    #[test]
    fn wrong_values_are_wrong_usage() {
        let line = |tail: &str| {
            let line = format!("tunesmith train --data d --out o {tail}");
            command().try_get_matches_from(line.split(' ').map(str::to_owned)).unwrap_err()
        };
        assert!(line("--learning-rate fast").to_string().contains("a number was expected"));
        assert!(line("--learning-rte 1").to_string().contains("'--learning-rate'"));
        assert!(line("--warmup-ratio 5").to_string().contains("warmup_steps"));
        assert!(line("--method lroa").to_string().contains("did you mean \"lora\"?"));
        assert_eq!(line("--max-length 5 --cutoff-len 6").exit_code(), 2);
    }
}

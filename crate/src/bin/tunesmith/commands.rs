//! The commands, each with its flags.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, value_parser};
use tunesmith::model::fresh::SHAPES;
use tunesmith::peft::merge::OutType;
use tunesmith::settings::config::{LOAD_IN_4BIT, Method, Objective, RunConfig};
use tunesmith::settings::field::{FieldValue, Input};

use super::args::{
    SCALE, between, field_flags, file, flags_of, json, loading_flags, model, objective, objective_flags, parse, switch,
    text, value,
};
use super::bench;

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
        .subcommands([
            train(),
            pretrain(),
            lab(),
            estimate(),
            eval(),
            score(),
            judge(),
            generate(),
            merge(),
            inspect(),
            runs(),
            devices(),
            bench::command(),
        ])
}

fn train() -> Command {
    run_flags(Command::new("train").about("Trains an adapter on examples, preferences, or answers of its own"))
        .mut_arg("data", |data| data.required(false).required_unless_present_any(["rollouts", "resume"]))
        .arg(file(
            "rollouts",
            "FILE",
            "Learn from recorded answers and what they earned, in place of --data (grpo, rloo)",
        ))
        .arg(judge_model())
        .arg(file("save-rollouts", "FILE", "Write the model's answers and what they earn, for --rollouts (grpo, rloo)"))
        .arg(file("init-adapter", "DIR", "Start from the weights of a PEFT adapter folder"))
        .arg(switch("resume", "Continue the run in --out from its newest checkpoint"))
        .arg(file("out", "DIR", "The folder to make: adapter, run.json, metrics, checkpoints").required(true))
        .arg(switch("profile", "Print what a step costs, and the most memory used"))
}

fn pretrain() -> Command {
    let shapes = SHAPES.map(|shape| shape.name);
    Command::new("pretrain")
        .about("Trains a model from nothing on texts, with a tokenizer of its own")
        .arg(
            file("data", "PATH", "Texts: files, folders of .txt, .md and .jsonl, or JSONL with a text in each row")
                .action(ArgAction::Append)
                .required_unless_present("resume"),
        )
        .arg(
            file("out", "DIR", "The folder to make: the model as GGUF and for transformers, and its run")
                .required(true),
        )
        .arg(
            value("shape", "SHAPE", PossibleValuesParser::new(shapes))
                .default_value("5m")
                .help("About how many parameters"),
        )
        .arg(
            value("vocab-size", "N", value_parser!(u32).range(1..=1 << 20))
                .default_value("4096")
                .help("Tokens that the tokenizer learns"),
        )
        .arg(file("tokenizer", "FILE", "Take the tokenizer of this GGUF file instead").conflicts_with("vocab-size"))
        .arg(
            value("held-out", "X", between(0.0, 0.9))
                .default_value("0.1")
                .help("Share of the text, at its end, that is evaluated and never learnt"),
        )
        .arg(switch("resume", "Continue the run in --out from its newest checkpoint"))
        .arg(switch("profile", "Print what a step costs, and the most memory used"))
        .arg(json())
        .args(flags_of(&PRETRAINING))
}

/// Fields of a run that pre-training has, too.
const PRETRAINING: [&str; 24] = [
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "max_grad_norm",
    "seed",
    "shuffle",
    "recompute",
    "memory_limit",
    "max_length",
    "logging_steps",
    "eval_steps",
    "samples",
    "load_best_model_at_end",
    "early_stopping_patience",
    "save_steps",
    "save_total_limit",
];

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
    let fields = RunConfig::fields(Method::Lora, Objective::Sft);
    command
        .arg(model())
        .arg(data())
        .arg(file("eval-data", "FILE", "Examples that are evaluated and never learnt"))
        .arg(file("config", "FILE", "Settings from a run.json; flags win over it"))
        .arg(
            value("method", "METHOD", parse("method")).help(format!("How to tune: {} [default: lora]", method_names())),
        )
        .arg(json())
        .args(objective_flags())
        .args(fields.iter().filter(|field| field.objectives.is_empty()).flat_map(field_flags))
}

fn method_names() -> String {
    let methods = Method::ALL.iter().map(|method| method.name());
    methods.chain(RunConfig::switches().iter().map(|switch| switch.name)).collect::<Vec<_>>().join(", ")
}

fn eval() -> Command {
    Command::new("eval")
        .about("Measures the loss of each example, and what an objective measures beside it; or what answers to prompts earn")
        .arg(model())
        .arg(adapter())
        .arg(scale())
        .arg(data())
        .arg(json())
        .args(objective_flags())
        .arg(judge_model())
        .args(loading_flags())
        .args(flags_of(&["max_length", "raw", "seed"]))
}

fn score() -> Command {
    Command::new("score")
        .about("Scores answers with a reward adapter")
        .arg(model())
        .arg(adapter().required(true).help("The folder of an adapter that was trained with --objective reward"))
        .arg(data())
        .arg(json())
        .args(loading_flags())
        .args(flags_of(&["max_length", "raw"]))
}

fn generate() -> Command {
    Command::new("generate")
        .about("Answers a prompt, or the prompts of a file, several at once")
        .arg(model())
        .arg(adapter().action(ArgAction::Append).help("A PEFT adapter folder; several are asked one after another"))
        .arg(scale())
        .arg(text("prompt", "What to answer").required_unless_present("data").conflicts_with("data"))
        .arg(file("data", "FILE", "JSONL with a prompt in each row: a text, or a list of messages"))
        .arg(
            value("num-return-sequences", "N", value_parser!(u32).range(1..=1 << 16))
                .default_value("1")
                .help("Answers to each prompt"),
        )
        .arg(text("system", "The system message").conflicts_with("raw"))
        .arg(switch("raw", "Continue a text as it is, without the chat template"))
        .args(sampling())
        .arg(json())
        .args(loading_flags())
}

/// How answers are written: how many at once, and how their tokens are drawn.
fn sampling() -> Vec<Arg> {
    vec![
        value("batch-size", "B", value_parser!(u32).range(1..=256))
            .default_value("8")
            .help("Answers that are written at once, at most"),
        value("max-new-tokens", "N", value_parser!(u32).range(1..=1 << 20))
            .default_value("128")
            .help("Most tokens to generate"),
        value("temperature", "T", between(0.0, 100.0))
            .default_value("0")
            .help("0 takes the likeliest token, more makes for more variety"),
        value("top-p", "P", between(1e-6, 1.0))
            .default_value("1")
            .help("Draw only from the likeliest tokens that hold this share of the probability"),
        value("top-k", "K", value_parser!(u32))
            .default_value("0")
            .help("Draw only from so many of the likeliest tokens; 0 is from all"),
        value("min-p", "P", between(0.0, 1.0))
            .default_value("0")
            .help("Draw only from tokens that are at least this many times as likely as the likeliest"),
        value("repetition-penalty", "R", between(1.0, 100.0))
            .default_value("1")
            .help("Makes tokens that were there before less likely; 1 does nothing"),
        value("seed", "S", value_parser!(u64)).default_value("0").help("Decides the draws"),
    ]
}

fn judge() -> Command {
    Command::new("judge")
        .about("Has a model judge answers by principles: preference pairs to learn from, or an adapter's duels with the base")
        .arg(model())
        .arg(judge_model())
        .arg(file("principles", "FILE", "What makes an answer good, in plain words").required(true))
        .arg(file("data", "FILE", "JSONL with a prompt in each row: a text, or a list of messages").required(true))
        .arg(file("out", "FILE", "The file to make: a pair for each prompt whose answers differ").conflicts_with("adapter"))
        .arg(adapter().help("A PEFT adapter folder, whose answers are judged against those of the base"))
        .arg(scale())
        .arg(
            value("num-generations", "N", value_parser!(u32).range(2..=256))
                .default_value("2")
                .help("Answers to each prompt, of which the best and the worst make a pair"),
        )
        .args(sampling())
        .mut_arg("temperature", |temperature| temperature.default_value("1"))
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
                .help("A model (a GGUF file or a folder), an adapter folder or a JSONL file"),
        )
        .arg(model())
        .arg(
            value("rows", "N", value_parser!(u64))
                .default_value("3")
                .help("Examples of a dataset to show; --json has them all"),
        )
        .arg(json())
        .arg(objective())
        .args(flags_of(&[LOAD_IN_4BIT]))
        .args(flags_of(&["max_length", "completion_only_loss", "assistant_only_loss", "raw"]))
}

fn runs() -> Command {
    Command::new("runs")
        .about("Lists the runs in a folder: what each came to, and what their settings differ in")
        .arg(
            Arg::new("dir")
                .value_name("DIR")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The folder of a run, or one that has those of several in it"),
        )
        .arg(json())
}

fn devices() -> Command {
    Command::new("devices").about("Lists the GPU adapters, their limits and features").arg(json())
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

fn judge_model() -> Arg {
    file("judge-model", "FILE", "The model that judges, a GGUF file [default: the base without an adapter]")
}

fn outtype() -> clap::builder::ValueParser {
    let read = |text: &str| OutType::read(Input::Text(text)).ok_or_else(|| format!("give {}", OutType::EXPECTED));
    clap::builder::ValueParser::new(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::apply;

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
        for field in RunConfig::fields(Method::Lora, Objective::Sft) {
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

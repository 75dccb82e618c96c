//! The flags. Those of the run config are made from its table of fields.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use tunesmith::Result;
use tunesmith::settings::config::{FP16, LOAD_IN_4BIT, Method, Objective, RewardKind, RunConfig};
use tunesmith::settings::field::Field;

/// The name of a flag that several commands have.
pub const JSON: &str = "json";
/// The flag for an adapter's strength.
pub const SCALE: &str = "adapter-scale";

/// Fields that say how the model is loaded: whatever loads one has these.
const LOADING: [&str; 2] = [LOAD_IN_4BIT, FP16];

/// `--model`.
pub fn model() -> Arg {
    let help = "The model, a GGUF file or a folder of Hugging Face's [default: SmolLM2-135M-Instruct, fetched when it is not there]";
    file("model", "FILE", help)
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
pub fn text(name: &'static str, help: &'static str) -> Arg {
    value(name, "TEXT", value_parser!(String)).allow_hyphen_values(true).help(help)
}

/// A flag that takes a value.
pub fn value(name: &'static str, kind: &'static str, parser: impl Into<clap::builder::ValueParser>) -> Arg {
    Arg::new(name).long(name).value_name(kind).value_parser(parser.into())
}

/// Numbers in a range.
pub fn between(min: f32, max: f32) -> clap::builder::ValueParser {
    let read = move |text: &str| {
        let number = text.parse().ok().filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| format!("give a number from {min} to {max}"))
    };
    clap::builder::ValueParser::new(read)
}

/// A value that the run config takes under this key.
pub fn parse(key: &'static str) -> clap::builder::ValueParser {
    clap::builder::ValueParser::new(move |text: &str| {
        let set = RunConfig::new(Method::Lora).set(key, text);
        set.map(|()| text.to_owned()).map_err(|error| format!("{error}; {}", error.help()))
    })
}

/// A field's flag, and one for each of its other names.
pub fn field_flags(field: &Field) -> Vec<Arg> {
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
        match field.kind {
            "boolean" => flag.num_args(0..=1).default_missing_value("true"),
            "rewards" => flag.action(ArgAction::Append).value_name("REWARD"),
            _ => flag,
        }
    };
    let mut help = field.help.trim_end_matches('.').to_owned();
    if !field.choices.is_empty() {
        help += &format!(": {}", field.choices.join(", "));
    }
    if field.kind == "rewards" {
        let kinds: Vec<&str> = RewardKind::ALL.iter().map(|(name, _)| *name).collect();
        help += &format!(": {}", kinds.join(", "));
    }
    let plain = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    help += &format!(" [default: {}", plain(&field.default));
    for &objective in &Objective::ALL[1..] {
        let fields = RunConfig::fields(Method::Lora, objective);
        let other = fields.into_iter().find(|other| other.name == field.name).expect("the table is the same");
        if other.default != field.default {
            help += &format!("; {}: {}", objective.name(), plain(&other.default));
        }
    }
    for &method in &Method::ALL[1..] {
        let fields = RunConfig::fields(method, Objective::Sft);
        let other = fields.into_iter().find(|other| other.name == field.name).expect("the table is the same");
        if other.default != field.default {
            help += &format!("; {}: {}", method.name(), plain(&other.default));
        }
    }
    help += "]";
    for names in [&field.methods, &field.objectives] {
        if !names.is_empty() {
            help += &format!(" ({} only)", names.join(", "));
        }
    }
    if !field.aliases.is_empty() {
        let names: Vec<String> = field.aliases.iter().map(|alias| format!("--{}", kebab(alias))).collect();
        help += &format!(" [also: {}]", names.join(", "));
    }
    let mut flags = vec![flag(field.name).help(help)];
    flags.extend(field.aliases.iter().map(|alias| flag(alias).hide(true).conflicts_with(field.name)));
    flags
}

/// The objective, and what belongs to it.
pub fn objective_flags() -> Vec<Arg> {
    let fields = RunConfig::fields(Method::Lora, Objective::Sft);
    let own = fields.iter().filter(|field| !field.objectives.is_empty()).flat_map(field_flags);
    std::iter::once(objective()).chain(own).collect()
}

/// `--objective`.
pub fn objective() -> Arg {
    let names: Vec<&str> = Objective::ALL.iter().map(|objective| objective.name()).collect();
    let help = format!("What to learn: {} [default: sft]", names.join(", "));
    value("objective", "OBJECTIVE", parse("objective")).help(help)
}

/// The flags of [`LOADING`].
pub fn loading_flags() -> Vec<Arg> {
    flags_of(&LOADING)
}

/// The flags of some fields.
pub fn flags_of(names: &[&str]) -> Vec<Arg> {
    let fields = RunConfig::fields(Method::Lora, Objective::Sft);
    fields.iter().filter(|field| names.contains(&field.name)).flat_map(field_flags).collect()
}

/// Makes the settings that were given as flags.
pub fn apply(matches: &ArgMatches, config: &mut RunConfig) -> Result<()> {
    let fields = RunConfig::fields(Method::Lora, Objective::Sft);
    let names = fields.iter().flat_map(|field| field.aliases.iter().copied().chain([field.name]));
    for name in ["method", "objective"].into_iter().chain(names) {
        // Not every command has every field.
        let Ok(Some(values)) = matches.try_get_many::<String>(name) else { continue };
        match values.collect::<Vec<_>>()[..] {
            [value] => config.set(name, value)?,
            ref values => config.set(name, &serde_json::json!(values).to_string())?,
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

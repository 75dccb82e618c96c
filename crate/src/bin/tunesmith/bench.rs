//! `tunesmith bench`

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{ArgMatches, Command, value_parser};
use pollster::block_on;
use serde_json::{Value, json};
use tunesmith::bench::synthetic::{self, ENCODINGS};
use tunesmith::bench::{self, Part, SHAPES, Settings, Shape};
use tunesmith::clock::now_ms;
use tunesmith::format::ggml::GgmlType;
use tunesmith::model::Model;
use tunesmith::{Error, Result};

use super::bench_table::Table;
use super::profile::peak_bytes;
use super::report::Report;
use super::{args, base, forms};

/// The flags.
pub fn command() -> Command {
    let shapes = SHAPES.map(|shape| PossibleValue::new(shape.name).hide(shape.name == "nano"));
    let defaults = Settings::default();
    let tokens = defaults.tokens.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    Command::new("bench")
        .about("Measures the adapter, each op, and what training and generation cost")
        .arg(args::model())
        .arg(
            args::value("synthetic", "SHAPE", PossibleValuesParser::new(shapes))
                .help("Weights made up in the shape of a model, in place of a model")
                .conflicts_with("model"),
        )
        .arg(
            args::value("encoding", "NAME", PossibleValuesParser::new(ENCODINGS.map(|(name, _)| name)))
                .help("How the made-up linear layers are encoded")
                .default_value(ENCODINGS[0].0)
                .requires("synthetic"),
        )
        .arg(
            args::value("tokens", "T,…", value_parser!(usize))
                .value_delimiter(',')
                .default_value(tokens)
                .help("Rows of a step"),
        )
        .arg(
            args::value("steps", "N", value_parser!(u32).range(1..=10_000))
                .default_value(defaults.steps.to_string())
                .help("Steps that are timed at each T, after one that is not"),
        )
        .arg(
            args::value("only", "PART,…", PossibleValuesParser::new(Part::ALL.map(Part::name)))
                .value_delimiter(',')
                .help("Measure these parts alone; peaks always are"),
        )
        .arg(args::switch("tune", "Try the kernels of each product first, also where the fastest are known"))
        .arg(args::file("out", "FILE", "Write what --json prints to a file, too"))
        .arg(args::json())
        .args(args::loading_flags())
}

/// Measures a model, or made-up weights in the shape of one.
///
/// # Errors
/// For settings that do not fit the model, or a device that cannot hold it.
pub fn run(matches: &ArgMatches, report: &mut Report) -> Result<ExitCode> {
    let settings = settings(matches);
    let mut out = Out::new(matches)?;
    let started = now_ms();
    let config = args::settings(matches)?;
    let model = match matches.get_one::<String>("synthetic") {
        Some(name) => base::load_gguf(&synthetic::gguf(&Shape::named(name)?, encoding(matches))?, &config, report)?,
        None => base::load(matches, &config, report)?,
    };
    let load = load_average();
    let start = start(&model, &settings, load);
    out.tell(report, "start", start)?;
    block_on(bench::run(&model, &settings, |measurement| {
        let Value::Object(mut object) = json!(measurement) else { unreachable!("a tagged enum is an object") };
        let what = object.shift_remove("what").expect("its tag");
        out.tell(report, what.as_str().expect("a name"), object.into())
    }))?;
    if settings.tune || !model.context.info().software {
        forms::keep(&model.context, report);
    }
    let end = json!({
        "seconds": (now_ms() - started) / 1e3,
        "load": load_average(),
        "process_peak_bytes": peak_bytes(),
    });
    out.tell(report, "end", end)?;
    Ok(ExitCode::SUCCESS)
}

fn settings(matches: &ArgMatches) -> Settings {
    let only: Option<Vec<&String>> = matches.get_many("only").map(Iterator::collect);
    let wanted = |part: &Part| only.as_ref().is_none_or(|only| only.iter().any(|name| *name == part.name()));
    Settings {
        tokens: matches.get_many("tokens").expect("it has a default").copied().collect(),
        steps: *matches.get_one::<u32>("steps").expect("it has a default") as usize,
        parts: Part::ALL.into_iter().filter(wanted).collect(),
        tune: matches.get_flag("tune"),
        ..Settings::default()
    }
}

fn encoding(matches: &ArgMatches) -> GgmlType {
    let name = matches.get_one::<String>("encoding").expect("it has a default");
    ENCODINGS.iter().find(|(known, _)| known == name).expect("clap knows the names").1
}

/// What is measured, on what, and how busy that is.
fn start(model: &Model, settings: &Settings, load: Option<[f64; 3]>) -> Value {
    let device = model.context.info();
    json!({
        "model": {
            "name": model.config.name,
            "quantization": model.quantization,
            "load_in_4bit": model.load_in_4bit,
            "fp16": model.context.half(),
            "embedding": format!("{:?}", model.embedding.encoding()),
            "parameters": model.parameters,
            "device_bytes": model.gpu_bytes(),
            "config": model.config,
        },
        "device": {
            "name": device.name,
            "backend": device.backend,
            "driver": device.driver,
            "software": device.software,
        },
        "machine": { "cpu": cpu(), "cores": std::thread::available_parallelism().map_or(0, usize::from) },
        "load": load,
        "settings": settings,
    })
}

/// The processor's own name, where the system tells: Linux's cpuinfo.
fn cpu() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, name) = info.lines().find(|line| line.starts_with("model name"))?.split_once(':')?;
    Some(name.trim().to_owned())
}

/// Programs that want to run, over the last 1, 5 and 15 minutes, where the system tells: Linux's loadavg.
fn load_average() -> Option<[f64; 3]> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let loads: Vec<f64> = text.split(' ').take(3).map_while(|load| load.parse().ok()).collect();
    loads.try_into().ok()
}

/// Where measurements go: to programs or to people, and to a file.
struct Out {
    file: Option<(String, File)>,
    table: Table,
}

impl Out {
    fn new(matches: &ArgMatches) -> Result<Self> {
        let create = |path: &std::path::PathBuf| {
            let name = path.display().to_string();
            File::create(path).map(|file| (name.clone(), file)).map_err(|error| Error::io(name, error))
        };
        Ok(Self { file: args::path(matches, "out").map(create).transpose()?, table: Table::default() })
    }

    fn tell(&mut self, report: &Report, what: &str, mut fields: Value) -> Result<()> {
        let mut object = json!({ "event": "bench", "what": what });
        let fields_of = fields.as_object_mut().expect("fields");
        object.as_object_mut().expect("an object").append(fields_of);
        if let Some((name, file)) = &mut self.file {
            writeln!(file, "{object}").map_err(|error| Error::io(name.as_str(), error))?;
        }
        if report.json() { report.object(&object) } else { report.text(&self.table.text(&object)) }
    }
}

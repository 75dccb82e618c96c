//! `tunesmith estimate`

use std::process::ExitCode;

use clap::ArgMatches;
use pollster::block_on;
use serde_json::json;
use tunesmith::Result;
use tunesmith::model::Model;
use tunesmith::train::{Estimate, estimate};

use super::report::Report;
use super::{args, base, data, train};

/// Says what a run would need on the device, without putting anything there.
///
/// # Errors
/// For input that cannot be used.
pub fn run(matches: &ArgMatches, report: &mut Report) -> Result<ExitCode> {
    let config = train::asked(matches)?;
    config.validate()?;
    let examples = data::read(args::path(matches, "data").expect("a required flag"))?;
    let held_out = args::path(matches, "eval-data").map(|path| data::read(path)).transpose()?;
    let gguf = base::open(&base::path(matches, report)?)?;
    let context = base::device(&config)?.rehearsal();
    let model = block_on(Model::load_as(&context, &gguf, config.load_in_4bit, |_, _| ()))?;
    let examples = data::render(examples, &model, &config, report)?;
    let held_out = held_out.map(|held_out| data::render(held_out, &model, &config, report)).transpose()?;
    let estimates = block_on(estimate(&model, &config, &examples, &held_out.unwrap_or_default()))?;
    if report.json() {
        for estimate in &estimates {
            let mut object = json!({ "event": "estimate" });
            let fields = json!(estimate);
            object.as_object_mut().expect("an object").extend(fields.as_object().expect("a struct").clone());
            report.object(&object)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let rows = estimates.first().map_or(0, |estimate| estimate.rows);
    report.say(&format!(
        "{}, {}: the largest batch has {rows} rows. MB on the GPU:",
        model.config.name,
        config.method.name()
    ));
    report.line("recompute    model  adapter  activations   total")?;
    for e in &estimates {
        let mb = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        let name = e.recompute.name();
        let fits = if e.fits { "" } else { "  more than --memory-limit" };
        let [model, adapter, activations, total] = [e.model, e.adapter, e.activations, e.total].map(mb);
        report.line(&format!("{name:<9}  {model:>7}  {adapter:>7}  {activations:>11}  {total:>6}{fits}"))?;
    }
    if !estimates.iter().any(|estimate| estimate.fits) {
        return Err(Estimate::none_fits(&estimates, &config));
    }
    Ok(ExitCode::SUCCESS)
}

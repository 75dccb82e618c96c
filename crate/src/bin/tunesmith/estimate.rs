//! `tunesmith estimate`

use std::process::ExitCode;
use std::rc::Rc;

use clap::ArgMatches;
use pollster::block_on;
use serde_json::json;
use tunesmith::Result;
use tunesmith::model::Model;
use tunesmith::peft::Peft;
use tunesmith::settings::config::RunConfig;
use tunesmith::train::{Estimate, estimate_run};

use super::lesson::Files;
use super::report::Report;
use super::{base, rewards, train};

/// Says what a run would need on the device, without putting anything there.
///
/// # Errors
/// For input that cannot be used.
pub fn run(matches: &ArgMatches, report: &mut Report) -> Result<ExitCode> {
    let config = train::asked(matches)?;
    config.validate()?;
    let files = Files::read(matches, &config, None, report)?;
    let gguf = base::open(&base::path(matches, report)?)?;
    let context = base::device(&config)?.rehearsal();
    let model = block_on(Model::load_as(&context, &gguf, config.load_in_4bit, |_, _| ()))?;
    let lesson = files.render(&model, &config, report)?;
    let run = |model: &Rc<Model>, peft: Rc<dyn Peft>, config: &RunConfig| {
        lesson.clone().trainer(model, peft, config, rewards::create(config, model, None)?)
    };
    let estimates = block_on(estimate_run(&model, &config, run))?;
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

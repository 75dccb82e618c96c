//! `tunesmith devices`

use std::process::ExitCode;

use pollster::block_on;
use serde_json::json;
use tunesmith::Result;
use tunesmith::gpu::adapters;

use super::report::Report;

/// Lists the GPU adapters.
///
/// # Errors
/// When there is none.
pub fn run(report: &mut Report) -> Result<ExitCode> {
    for (index, adapter) in block_on(adapters())?.iter().enumerate() {
        if report.json() {
            let mut object = json!({ "event": "device" });
            object.as_object_mut().expect("an object").append(json!(adapter).as_object_mut().expect("a struct"));
            report.object(&object)?;
            continue;
        }
        let kind = if adapter.software { "software: slow" } else { "hardware" };
        report.line(&format!("{index}  {} ({}, {kind})", adapter.name, adapter.backend))?;
        if !adapter.driver.is_empty() {
            report.line(&format!("   driver    {}", adapter.driver))?;
        }
        for (name, value) in &adapter.limits {
            report.line(&format!("   {name:<36} {value}"))?;
        }
        report.line(&format!("   features  {}", adapter.features.join(", ")))?;
    }
    Ok(ExitCode::SUCCESS)
}

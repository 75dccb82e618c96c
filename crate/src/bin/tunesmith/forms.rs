//! What was found to be the fastest on a device, kept in the user's cache folder for the next time.

use std::fs;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use tunesmith::gpu::{Choices, Context};

use super::fetch;
use super::report::Report;

/// One file for each adapter, driver and version of ours: each may change what is fastest.
fn place(context: &Context) -> Option<PathBuf> {
    let info = context.info();
    let key = [&info.name, &info.backend, &info.driver, env!("CARGO_PKG_VERSION")].join("\n");
    let hash: String = Sha256::digest(key).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Some(fetch::cache().ok()?.join(format!("forms-{hash}.json")))
}

/// Makes the choices that were found before. A file that cannot be read is as good as none: it is made again.
pub fn restore(context: &Context) {
    let text = place(context).and_then(|place| fs::read_to_string(place).ok());
    let choices: Option<Choices> = text.and_then(|text| serde_json::from_str(&text).ok());
    context.choose_forms(choices.unwrap_or_default());
}

/// Keeps the choices. Where that fails they are found again next time, and the person is told.
pub fn keep(context: &Context, report: &Report) {
    let Some(place) = place(context) else { return };
    let text = serde_json::to_string_pretty(&context.forms()).expect("names and names");
    let kept = fs::create_dir_all(place.parent().expect("a file in a folder")).and_then(|()| fs::write(&place, text));
    if let Err(error) = kept {
        report.say(&format!("warning: {}: {error}; the kernels will be tried again next time", place.display()));
    }
}

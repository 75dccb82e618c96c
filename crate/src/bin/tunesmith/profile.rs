//! `--profile`: what a step costs.

use tunesmith::gpu::{Context, PlanStats};

/// One line for a person.
pub fn line(context: &Context, stats: PlanStats) -> String {
    let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let driver = context.allocated_bytes().map(|bytes| format!(" ({} in the driver now)", mb(bytes)));
    let process = peak_bytes().map(|bytes| format!(", {} in the process", mb(bytes)));
    format!(
        "profile: {} dispatches and {} submits a step; at most {} on the device{}, {} of it activations{}",
        stats.dispatches,
        stats.submits,
        mb(context.bytes().peak),
        driver.unwrap_or_default(),
        mb(stats.arena_bytes),
        process.unwrap_or_default()
    )
}

/// The most memory the process has had, where the system tells: Linux's VmHWM.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

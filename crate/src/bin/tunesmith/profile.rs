//! `--profile`: what a step costs.

use tunesmith::gpu::PlanStats;

/// One line for a person.
pub fn line(stats: PlanStats, weights: u64) -> String {
    let mb = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let peak = peak_bytes().map(|bytes| format!(", {} at most in the process", mb(bytes))).unwrap_or_default();
    format!(
        "profile: {} dispatches and {} submits a step; {} of weights and {} of activations on the device{peak}",
        stats.dispatches,
        stats.submits,
        mb(weights),
        mb(stats.arena_bytes)
    )
}

/// The most memory the process has had, where the system tells: Linux's VmHWM.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

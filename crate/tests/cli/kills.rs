//! A run that is killed at any moment, again and again, ends with the bits of one that never was. `cargo xtask kills N` kills N
//! times.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::*;

/// What the runs of each objective learn from, and their flags.
const RUNS: [(&str, &str, &str); 9] = [
    ("sft", EXAMPLES, ""),
    ("dpo", PAIRS, ""),
    ("kto", VERDICTS, ""),
    ("orpo", PAIRS, ""),
    ("cpo", PAIRS, ""),
    ("reward", PAIRS, ""),
    ("grpo", PROMPTS, ANSWERS),
    ("rloo", PROMPTS, ANSWERS),
    ("ppo", PROMPTS, ANSWERS),
];

const PAIRS: &str = r#"{"prompt":"What is it? ","chosen":"A cat.","rejected":"I could not say."}
{"prompt":"Say it: ","chosen":"yes","rejected":"no"}
{"prompt":"And now? ","chosen":"four","rejected":"none at all"}
"#;
const VERDICTS: &str = r#"{"prompt":"What is it? ","completion":"A cat.","label":true}
{"prompt":"Say it: ","completion":"no","label":false}
{"prompt":"And now? ","completion":"four","label":true}
"#;
const PROMPTS: &str = "{\"prompt\":\"What is it?\"}\n{\"prompt\":\"Say it\"}\n{\"prompt\":\"And now?\"}\n";
const ANSWERS: &str =
    "--reward regex:[a-m] --num-generations 4 --per-device-train-batch-size 4 --max-completion-length 6";

const TRAIN: &str = "train --model {} --data {} --eval-data {} --out {} --r 2 --learning-rate 1e-2 --max-steps 12 \
                     --gradient-accumulation-steps 1 --save-steps 1 --eval-steps 3 --load-best-model-at-end true --json";

/// A number in `0..below` that looks random.
fn draw(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

fn has_checkpoint(out: &Path) -> bool {
    out.is_dir() && names(out).iter().any(|name| name.starts_with("checkpoint-"))
}

/// How often each run is killed in all.
fn kills() -> usize {
    std::env::var("TUNESMITH_KILLS").map_or(RUNS.len(), |kills| kills.parse().expect("TUNESMITH_KILLS is a number"))
}

#[test]
fn a_run_that_is_killed_loses_nothing() {
    let folder = folder("kills");
    let mut state = 11;
    for (place, (objective, rows, flags)) in RUNS.into_iter().enumerate() {
        let data = file(&folder, &format!("{objective}.jsonl"), rows);
        let line = format!("{TRAIN} --objective {objective} {flags}");
        let start = |out: &Path, resume: &str| {
            let args: Vec<PathBuf> = words(&format!("{line} {resume}"), &[nano(), &data, &data, out]);
            command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
        };
        let whole = folder.join(format!("{objective}-whole"));
        let begun = Instant::now();
        Outcome::of(start(&whole, "").wait_with_output().unwrap()).good();
        let longest = begun.elapsed().as_micros() as u64;
        // The first objectives have one more where they do not come out even.
        let mut left = kills() / RUNS.len() + usize::from(place < kills() % RUNS.len());
        let mut runs = 0;
        while left > 0 {
            runs += 1;
            let out = folder.join(format!("{objective}-{runs}"));
            loop {
                let resume = if has_checkpoint(&out) { "--resume" } else { "" };
                let mut run = start(&out, resume);
                if left > 0 {
                    std::thread::sleep(Duration::from_micros(draw(&mut state, longest)));
                    // Where it has ended already, nothing is killed.
                    if run.try_wait().unwrap().is_none() {
                        run.kill().unwrap();
                        run.wait().unwrap();
                        left -= 1;
                        continue;
                    }
                }
                Outcome::of(run.wait_with_output().unwrap()).good();
                break;
            }
            for name in ["adapter_model.safetensors", "adapter_config.json", "trainer_state.json"] {
                assert!(read(out.join(name)) == read(whole.join(name)), "{}: {name} has other bits", out.display());
            }
            assert_eq!(metrics(&out), metrics(&whole), "{}", out.display());
            std::fs::remove_dir_all(&out).unwrap();
        }
        println!("{objective}: {runs} runs ended with the bits of the one that was never killed");
    }
}

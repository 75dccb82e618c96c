//! `bench`: what it prints, never how fast it is.

use serde_json::Value;

use crate::support::*;

/// Asserts that every one of these fields is a positive number.
fn positive(object: &Value, fields: &[&str]) {
    for field in fields {
        assert!(object[field].as_f64().is_some_and(|number| number > 0.0), "{field} in {object}");
    }
}

#[test]
fn measures_made_up_weights() {
    let out = folder("bench").join("nano.json");
    let run = tunesmith("bench --synthetic nano --tokens 32 --steps 1 --json --out {}", &[&out]).good();
    let events = run.events();
    assert_eq!(String::from_utf8(read(&out)).unwrap(), run.out);
    let of = |what: &str| -> Vec<&Value> { events.iter().filter(|event| event["what"] == what).collect() };
    let one = |what: &str| -> &Value {
        let [event] = of(what)[..] else { panic!("{what} in {}", run.out) };
        event
    };
    assert!(events.iter().all(|event| event["event"] == "bench"));
    assert_eq!((&events[0]["what"], &events[events.len() - 1]["what"]), (&"start".into(), &"end".into()));
    let start = &events[0];
    assert_eq!((&start["model"]["name"], &start["settings"]["tokens"]), (&"synthetic-nano".into(), &[32].into()));
    assert!(!start["device"]["name"].as_str().unwrap().is_empty());
    positive(&start["machine"], &["cores"]);
    positive(one("peak"), &["gflops", "gbs"]);

    let ops = of("kernel");
    for op in &ops {
        positive(op, &["ms", "min_ms", "max_ms", "runs", "gbs", "copy_share"]);
    }
    for (name, directions) in [
        ("linear q_proj, k_proj, v_proj", &["forward", "backward"][..]),
        ("linear + LoRA down_proj", &["forward", "backward"]),
        ("attention", &["forward", "backward"]),
        ("head and loss", &["forward", "both"]),
        ("optimizer", &["step"]),
    ] {
        let found: Vec<&Value> = ops.iter().filter(|op| op["op"] == name).copied().collect();
        assert_eq!(found.iter().map(|op| op["direction"].as_str().unwrap()).collect::<Vec<_>>(), directions, "{name}");
        if name != "optimizer" {
            found.iter().for_each(|op| positive(op, &["gflops", "alu_share", "tokens"]));
        }
    }
    for cost in [one("step"), one("forward")] {
        positive(cost, &["ms", "tokens_per_second", "gflops", "alu_share", "dispatches", "submits", "planned_bytes"]);
        positive(cost, &["encode_ms", "submitted_ms", "loss"]);
        assert_eq!((&cost["tokens"], &cost["target_tokens"], &cost["runs"]), (&32.into(), &31.into(), &1.into()));
    }
    positive(one("forward"), &["step_per_forward"]);
    let profile = of("profile").into_iter().find(|profile| profile["part"] == "step").expect("a step's profile");
    let kernels = profile["kernels"].as_array().unwrap();
    let dispatches: u64 = kernels.iter().map(|kernel| kernel["dispatches"].as_u64().unwrap()).sum();
    let clears: u64 =
        kernels.iter().filter(|k| k["kernel"] == "clear").map(|k| k["dispatches"].as_u64().unwrap()).sum();
    assert_eq!(dispatches - clears, one("step")["dispatches"].as_u64().unwrap());
    let decodes: Vec<&Value> = of("decode");
    assert_eq!(decodes.iter().map(|cost| cost["slots"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(8)]);
    positive(decodes[1], &["prefill_ms", "prefill_tokens_per_second", "ms", "tokens_per_second"]);
    positive(one("end"), &["seconds"]);
}

#[test]
fn people_get_tables_of_what_they_ask_for() {
    let run = tunesmith("bench --model {} --tokens 16 --steps 1 --only step", &[nano()]).good();
    for part in ["nano (F32, ", "Peak: ", "\n| step ", "\n| forward ", "\n| kernel ", "load average at the end"] {
        assert!(run.out.contains(part), "{part} in {}", run.out);
    }
    assert!(!run.out.contains("| attention ") && !run.out.contains("Generation"), "{}", run.out);
}

#[test]
fn wrong_usage_names_what_there_is() {
    for (flags, said) in [
        ("--synthetic smollm2-153m", "'smollm2-135m'"),
        ("--synthetic nano --encoding q4_2", "'q4_1'"),
        ("--encoding f16", "--synthetic"),
        ("--synthetic nano --model a.gguf", "cannot be used with"),
        ("--synthetic nano --only kernels", "'kernel'"),
        ("--synthetic nano --steps 0", "1..=10000"),
    ] {
        let run = tunesmith(&format!("bench {flags}"), &[]);
        assert_eq!(run.code, Some(2), "{flags}");
        assert!(run.err.contains(said), "{flags}: {}", run.err);
    }
    for (tokens, said) in [("24", "24 rows: batches have a multiple of 16"), ("272", "the model has 256 positions")] {
        let run = tunesmith(&format!("bench --synthetic nano --tokens {tokens}"), &[]);
        assert_eq!(run.code, Some(1), "{tokens}");
        assert!(run.err.contains(said) && run.err.contains("give multiples of 16 up to 256"), "{}", run.err);
    }
}

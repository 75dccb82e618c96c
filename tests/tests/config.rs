//! The run config: read, refused, written again.

use serde_json::json;
use tunesmith::Error;
use tunesmith::settings::config::{LrScheduler, Method, Objective, PromptTuningInit, RunConfig};
use tunesmith::settings::target_modules::TargetModules;

fn read(value: serde_json::Value) -> Result<RunConfig, Error> {
    let config = RunConfig::from_json(&value.to_string())?;
    config.validate()?;
    Ok(config)
}

#[test]
fn fields_are_read() {
    let config = read(json!({
        "method": "lora", "learning_rate": 1e-3, "num_train_epochs": 2, "max_steps": 20, "packing": true,
        "lr_scheduler_type": "cosine", "warmup_steps": 0.1, "r": 8.0, "lora_alpha": 16, "eval_steps": null,
        "target_modules": ["q_proj", "v_proj"], "seed": 4294967295u32, "layers_to_transform": 1,
        "rank_pattern": {"v_proj": 4}, "modules_to_save": ["norm"],
    }))
    .unwrap();
    assert_eq!(config.method, Method::Lora);
    assert_eq!((config.learning_rate, config.num_train_epochs, config.max_steps), (1e-3, 2.0, 20));
    assert_eq!((config.packing, config.warmup_steps, config.r, config.lora_alpha), (true, 0.1, 8, 16.0));
    assert_eq!((config.lr_scheduler_type, config.seed, config.eval_steps), (LrScheduler::Cosine, u32::MAX, 0));
    assert_eq!(config.target_modules, TargetModules::Suffixes(vec!["q_proj".into(), "v_proj".into()]));
    assert_eq!((config.layers_to_transform, config.modules_to_save), (vec![1], vec!["norm".to_owned()]));
    assert_eq!((config.rank_pattern.get("a.v_proj"), config.rank_pattern.get("a.q_proj")), (Some(4), None));
    assert_eq!(read(json!({})).unwrap(), RunConfig::new(Method::Lora));
}

#[test]
fn flags_are_read_in_either_case_and_override() {
    let mut config = RunConfig::from_json(r#"{"learning_rate": 1}"#).unwrap();
    for (key, value) in [
        ("learning-rate", "2e-4"),
        ("max_steps", "-1"),
        ("target-modules", "q_proj,o_proj"),
        ("shuffle", "false"),
        ("lr-scheduler-type", "constant"),
        ("layers-to-transform", "0, 2"),
        ("alpha-pattern", "q_proj=0.5"),
        ("modules-to-save", "lm_head,norm"),
    ] {
        config.set(key, value).unwrap();
    }
    config.validate().unwrap();
    assert_eq!((config.learning_rate, config.max_steps, config.shuffle), (2e-4, -1, false));
    assert_eq!(config.lr_scheduler_type, LrScheduler::Constant);
    assert_eq!((&config.layers_to_transform[..], config.alpha_pattern.get("q_proj")), (&[0, 2][..], Some(0.5)));
    assert_eq!(config.to_json()["modules_to_save"], json!(["lm_head", "norm"]));
    assert_eq!(config.target_modules, TargetModules::Suffixes(vec!["q_proj".into(), "o_proj".into()]));
}

#[test]
fn a_method_brings_its_defaults_in_any_order() {
    let lora = RunConfig::new(Method::Lora);
    assert_eq!((lora.learning_rate, lora.r, lora.lora_alpha), (2e-4, 16, 32.0));
    for text in [r#"{"method":"prompt","seed":1}"#, r#"{"seed":1,"method":"prompt"}"#] {
        let config = RunConfig::from_json(text).unwrap();
        assert_eq!((config.learning_rate, config.num_virtual_tokens, config.seed), (1e-2, 16, 1));
        assert_eq!(config.prompt_tuning_init, PromptTuningInit::Text);
    }
    let mut config = RunConfig::new(Method::Lora);
    config.set("learning-rate", "0.5").unwrap();
    config.set("method", "prompt").unwrap();
    assert_eq!((config.method, config.learning_rate), (Method::Prompt, 0.5));
    let rslora = read(json!({"method": "rslora"})).unwrap();
    assert!(rslora.method == Method::Lora && rslora.use_rslora);
    let qlora = read(json!({"method": "qlora"})).unwrap();
    assert!(qlora.method == Method::Lora && qlora.load_in_4bit);
}

#[test]
fn aliases_stand_for_fields() {
    assert_eq!(read(json!({"cutoff_len": 64})).unwrap().max_length, 64);
    assert_eq!(read(json!({"max_seq_length": 65})).unwrap().max_length, 65);
    assert_eq!(read(json!({"warmup_ratio": 0.25})).unwrap().warmup_steps, 0.25);
    let mut config = RunConfig::new(Method::Lora);
    config.set("max-seq-length", "66").unwrap();
    assert_eq!(config.max_length, 66);
}

#[test]
fn what_is_written_is_read_again() {
    for &method in Method::ALL {
        let mut config = RunConfig::new(method);
        config.set("learning_rate", "0.125").unwrap();
        let written = config.to_json();
        assert_eq!(written["method"], method.name());
        let again = read(written.clone()).unwrap();
        assert_eq!(again.to_json(), written);
        assert_eq!(again.learning_rate, 0.125);
    }
    assert!(RunConfig::new(Method::Lora).to_json().get("num_virtual_tokens").is_none());
    assert_eq!(RunConfig::new(Method::Lora).to_json()["target_modules"], "all-linear");
}

#[test]
fn wrong_values_are_errors_that_name_the_field() {
    for (value, field, words) in [
        (json!({"learning_rate": "fast"}), "learning_rate", "a number was expected"),
        (json!({"learning_rate": -1}), "learning_rate", "out of range"),
        (json!({"r": 0}), "r", "out of range"),
        (json!({"r": 1.5}), "r", "whole number"),
        (json!({"r": -1}), "r", "whole number"),
        (json!({"max_steps": 0}), "max_steps", "no steps"),
        (json!({"max_steps": -2}), "max_steps", "out of range"),
        (json!({"warmup_steps": 1.5}), "warmup_steps", "1.5"),
        (json!({"warmup_ratio": 2}), "warmup_ratio", "below 1"),
        (json!({"packing": "yes"}), "packing", "true or false"),
        (json!({"lr_scheduler_type": "step"}), "lr_scheduler_type", "constant, linear or cosine"),
        (json!({"target_modules": []}), "target_modules", "all-linear"),
        (json!({"target_modules": "("}), "target_modules", "regular expression"),
        (json!({"method": 3}), "method", "a text"),
        (json!({"method": "lora", "num_virtual_tokens": 4}), "num_virtual_tokens", "belongs to the method prompt"),
        (json!({"method": "prompt", "prompt_tuning_init_text": " "}), "prompt_tuning_init_text", "empty"),
        (json!({"max_length": 10, "cutoff_len": 10}), "max_length", "given twice"),
        (json!({"lora_dropout": 1}), "lora_dropout", "out of range"),
        (json!({"method": "full", "load_in_4bit": true}), "load_in_4bit", "32 bits"),
        (json!({"rank_pattern": {"q_proj": 1025}}), "rank_pattern", "out of range"),
        (json!({"rank_pattern": {"(": 1}}), "rank_pattern", "patterns of layers"),
        (json!({"layers_to_transform": "a"}), "layers_to_transform", "whole numbers"),
        (json!({"modules_to_save": [""]}), "modules_to_save", "a list of names"),
        (
            json!({"layers_to_transform": [1], "target_modules": ".*q_proj"}),
            "layers_to_transform",
            "regular expression",
        ),
    ] {
        let error = read(value.clone()).expect_err(&value.to_string());
        assert_eq!(error.code(), "config", "{value}");
        assert!(error.to_string().starts_with(&format!("{field}: ")), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.help().is_empty());
    }
    assert_eq!(RunConfig::from_json("[1]").unwrap_err().code(), "format");
    let mut config = RunConfig::new(Method::Lora);
    for (key, value) in [("learning-rate", "nan"), ("learning-rate", "inf"), ("seed", "-1"), ("shuffle", "1")] {
        assert_eq!(config.set(key, value).unwrap_err().code(), "config", "{key} {value}");
    }
}

#[test]
fn unknown_names_suggest_the_nearest() {
    for (value, near) in [
        (json!({"learning_rte": 1}), "learning_rate"),
        (json!({"lora_aplha": 1}), "lora_alpha"),
        (json!({"max_seq_len": 1}), "max_seq_length"),
        (json!({"metod": "lora"}), "method"),
        (json!({"method": "lra"}), "lora"),
    ] {
        let error = read(value).unwrap_err();
        assert_eq!(error.code(), "unknown-key");
        assert!(error.help().contains(&format!("\"{near}\"")), "{error}: {}", error.help());
    }
    let error = RunConfig::new(Method::Lora).set("zzzzzz", "1").unwrap_err();
    assert!(matches!(error, Error::UnknownKey { nearest: None, .. }), "{error:?}");
}

#[test]
fn the_table_describes_every_field() {
    for &method in Method::ALL {
        let fields = RunConfig::fields(method, Objective::Sft);
        let mut names: Vec<&str> =
            fields.iter().flat_map(|field| field.aliases.iter().copied().chain([field.name])).collect();
        names.sort_unstable();
        assert!(names.is_sorted_by(|a, b| a < b), "a name is there twice: {names:?}");
        for field in &fields {
            assert!(field.help.ends_with('.') && field.help.len() < 110, "{}", field.name);
            assert_eq!(field.flag, format!("--{}", field.name.replace('_', "-")));
            assert_eq!(field.choices.is_empty(), field.kind != "choice", "{}", field.name);
            assert_eq!(field.min.is_some(), matches!(field.kind, "integer" | "number" | "patterns"), "{}", field.name);
            // The default is itself a value that is accepted, and so are the ends of the range.
            let end =
                |bound: Option<f64>| bound.map(|v| if field.kind == "patterns" { json!({ "a": v }) } else { json!(v) });
            for value in [Some(field.default.clone()), end(field.min), end(field.max)].into_iter().flatten() {
                let object = json!({ field.name: value });
                RunConfig::from_json(&object.to_string()).unwrap_or_else(|e| panic!("{object}: {e}"));
            }
        }
    }
    let form = serde_json::to_value(RunConfig::fields(Method::Prompt, Objective::Sft)).unwrap();
    let rate = form.as_array().unwrap().iter().find(|field| field["name"] == "learning_rate").unwrap();
    assert_eq!((&rate["default"], &rate["kind"], &rate["methods"]), (&json!(1e-2), &json!("number"), &json!([])));
}

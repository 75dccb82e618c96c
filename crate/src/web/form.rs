//! The form of a run, as the page draws it: the methods, and the fields with their words and defaults.

use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

use super::js::to_js;
use crate::objective;
use crate::peft::io;
use crate::settings::config::{FP16, LOAD_IN_4BIT, LOSS_TYPE, Method, Objective, Rows, RunConfig, Switch};
use crate::settings::field::Field;
use crate::train::lab;

/// The methods, the fields of a run with their help and defaults, and the page's first config.
#[wasm_bindgen]
pub fn defaults() -> JsValue {
    let mut fields: Vec<Value> = Vec::new();
    for &objective in Objective::ALL {
        for field in fields_of(objective) {
            // What is the same for several objectives stands once.
            match fields.iter_mut().find(|known| is_same(known, &field)) {
                Some(known) => known[OBJECTIVES].as_array_mut().expect("a list").push(objective.name().into()),
                None => fields.push(field),
            }
        }
    }
    for field in &mut fields {
        if field[OBJECTIVES].as_array().is_some_and(|names| names.len() == Objective::ALL.len()) {
            field[OBJECTIVES] = json!([]);
        }
    }
    let methods: Vec<Value> = choices()
        .iter()
        .map(|choice| {
            let Choice { name, label, help, method } = choice;
            let in_4bit = RunConfig::switches().iter().find(|switch| {
                // Over such a model plain LoRA has a name of its own.
                switch.field == LOAD_IN_4BIT && *name == Method::Lora.name()
            });
            let in_4bit = in_4bit.map(|switch| json!({ "name": switch.label, "help": switch.help }));
            json!({ "id": name, "name": label, "help": help, "in_peft": method.is_in_peft(), "in_4bit": in_4bit })
        })
        .collect();
    let config = json!({ "method": Method::Lora.name() });
    to_js(
        &json!({ "fields": fields, "methods": methods, "config": config, "lab_least": lab::SHARE, "shape": io::SHAPE }),
    )
}

/// What can be learnt, the supervised objective first.
#[wasm_bindgen]
pub fn objectives() -> JsValue {
    let row = |objective: &Objective| {
        json!({
            "name": objective.name(),
            "label": objective.label(),
            "help": objective.help(),
            "rows": objective.rows().name(),
        })
    };
    to_js(&Objective::ALL.iter().map(row).collect::<Vec<_>>())
}

const OBJECTIVES: &str = "objectives";

/// Whether two fields differ in their objectives alone.
fn is_same(one: &Value, other: &Value) -> bool {
    let keys = ["name", "default", "defaults", "choices"];
    keys.iter().all(|key| one.get(key) == other.get(key))
}

/// The fields of a run with an objective.
fn fields_of(objective: Objective) -> Vec<Value> {
    let tables: Vec<_> =
        choices().into_iter().map(|choice| (choice, RunConfig::fields(choice.method, objective))).collect();
    let is_its_own = |field: &Field| field.objectives.is_empty() || field.objectives.contains(&objective.name());
    tables[0]
        .1
        .iter()
        .enumerate()
        // How the model is loaded is settled before there is a run, and browsers have no matrix units. The page has steps and
        // no epochs, times of its own for checkpoints, and asks beside its Train button whether to keep the best. Answers
        // that the model writes have a limit of their own, and are not packed.
        .filter(|(_, field)| {
            let idle = match field.name {
                LOAD_IN_4BIT
                | FP16
                | "num_train_epochs"
                | "save_steps"
                | "save_total_limit"
                | "load_best_model_at_end" => true,
                "max_length" | "packing" => objective.rows() == Rows::Prompts,
                _ => false,
            };
            !idle && is_its_own(field)
        })
        .map(|(index, field)| {
            // The page's form has texts for lists and patterns, and the engine reads those.
            let plain = |default: &Value| match default {
                Value::Array(_) | Value::Object(_) => json!(""),
                other => other.clone(),
            };
            let by_method =
                tables.iter().map(|(choice, fields)| (choice.name.to_owned(), plain(&fields[index].default)));
            let choices = match field.name {
                LOSS_TYPE => objective::loss_types(objective),
                _ => field.choices.to_vec(),
            };
            let mut value = json!({
                "name": field.name,
                "label": label(field.name),
                "type": match field.kind {
                    "integer" => "int",
                    "number" => "float",
                    "boolean" => "bool",
                    "choice" => "choice",
                    "modules" => "list",
                    kind @ ("numbers" | "rewards") => kind,
                    _ => "text",
                },
                "default": plain(&field.default),
                "defaults": by_method.collect::<serde_json::Map<_, _>>(),
                "choices": choices,
                "help": field.help,
                "group": field.group,
                OBJECTIVES: [objective.name()],
            });
            for (key, bound) in [("min", field.min), ("max", field.max)] {
                if let Some(bound) = bound {
                    value[key] = json!(bound);
                }
            }
            // A switch that has a name of its own is a choice of the method, and no field.
            let own = |choice: &Choice| {
                field.methods.contains(&choice.method.name()) && !switches().any(|switch| switch.field == field.name)
            };
            if !field.methods.is_empty() {
                let names = tables.iter().map(|(choice, _)| choice).filter(|choice| own(choice));
                value["methods"] = names.map(|choice| choice.name).collect();
            }
            // A person at the page thinks in steps, and sees each one: no accumulation, no count of epochs. Answers are
            // compared several at a time; those that the model writes are few and short, so that a tab is done with them.
            let batch = match objective.rows() {
                Rows::Examples => 1,
                Rows::Pairs | Rows::Verdicts => 4,
                Rows::Prompts => 8,
            };
            // PPO compares an answer with what was expected of it, and not with others.
            let (answers, fewest) = if objective == Objective::Ppo { (1, 1) } else { (4, 2) };
            for (name, first, least) in [
                ("max_steps", 40, 1),
                ("gradient_accumulation_steps", 1, 1),
                ("per_device_train_batch_size", batch, 1),
                ("num_generations", answers, fewest),
                ("max_completion_length", 64, 1),
                ("samples", 3, 0),
            ] {
                if field.name == name {
                    value["default"] = json!(first);
                    value["min"] = json!(field.min.unwrap_or(0.0).max(f64::from(least)));
                    value.as_object_mut().expect("an object literal").remove("defaults");
                }
            }
            value
        })
        .collect()
}

/// What a person chooses between: every method, and behind LoRA its switches that have a name of their own.
#[derive(Clone, Copy)]
struct Choice {
    name: &'static str,
    label: &'static str,
    help: &'static str,
    method: Method,
}

fn choices() -> Vec<Choice> {
    let plain = |&method: &Method| Choice { name: method.name(), label: method.label(), help: method.help(), method };
    let switched = |switch: &Switch| {
        let Switch { name, label, help, .. } = *switch;
        Choice { name, label, help, method: Method::Lora }
    };
    let mut choices: Vec<Choice> = Method::ALL.iter().map(plain).collect();
    let behind = choices.iter().position(|choice| choice.method == Method::Lora).map_or(0, |lora| lora + 1);
    choices.splice(behind..behind, switches().map(switched));
    choices
}

/// LoRA's switches that are choices; how the model is loaded is settled before there is a method.
fn switches() -> impl Iterator<Item = &'static Switch> {
    RunConfig::switches().iter().filter(|switch| switch.field != LOAD_IN_4BIT)
}

/// The name of the choice that a config came from.
pub(super) fn chosen(config: &RunConfig) -> &'static str {
    let fields = config.to_json();
    let switch = switches().find(|switch| fields[switch.field] == true);
    switch.map_or(config.method.name(), |switch| switch.name)
}

/// "learning_rate" to "Learning rate".
fn label(name: &str) -> String {
    match name {
        "r" => "Rank".into(),
        "init_r" => "Rank at first".into(),
        "target_r" => "Rank at last".into(),
        "tinit" => "Steps before ranks go".into(),
        "tfinal" => "Steps after ranks went".into(),
        "total_step" => "Steps planned for".into(),
        "delta_t" => "Steps between choices".into(),
        "beta1" => "Memory of importance".into(),
        "beta2" => "Memory of uncertainty".into(),
        "orth_reg_weight" => "Orthogonality".into(),
        "bottleneck_size" => "Adapter width".into(),
        "non_linearity" => "Non-linearity".into(),
        "encoder_reparameterization_type" => "Encoder".into(),
        "encoder_hidden_size" => "Encoder width".into(),
        "encoder_num_layers" => "Encoder layers".into(),
        "prefix_projection" => "Prefix through a network".into(),
        "max_length" => "Longest example".into(),
        "max_steps" => "Steps".into(),
        "samples" => "Questions along the way".into(),
        "raw" => "Texts as they are".into(),
        "lora_alpha" => "LoRA alpha".into(),
        "lora_dropout" => "LoRA dropout".into(),
        "num_virtual_tokens" => "Virtual tokens".into(),
        "per_device_train_batch_size" => "Batch size".into(),
        "lr_scheduler_type" => "Schedule".into(),
        "num_generations" => "Answers to a prompt".into(),
        "max_completion_length" => "Longest answer".into(),
        "generation_batch_size" => "Answers at once".into(),
        "num_iterations" => "Times each is learnt from".into(),
        "vf_coef" => "Weight of the values".into(),
        "cliprange_value" => "Range of the values".into(),
        "lam" => "Lambda".into(),
        "kl_estimator" => "KL estimator".into(),
        "missing_eos_penalty" => "Penalty for no end".into(),
        "mask_truncated_completions" => "Skip answers that were cut".into(),
        "use_bias_correction_kl" => "Weigh the distance by the ratio".into(),
        "metric_for_best_model" => "Best by".into(),
        "early_stopping_patience" => "Patience".into(),
        "early_stopping_threshold" => "Least gain".into(),
        "cpo_alpha" => "CPO alpha".into(),
        "simpo_gamma" => "SimPO gamma".into(),
        _ => {
            let words = name.replace('_', " ");
            words[..1].to_uppercase() + &words[1..]
        }
    }
}

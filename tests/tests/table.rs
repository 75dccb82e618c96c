//! Rows that are handed over once, and read a few at a time.

use std::cell::Cell;

use tunesmith::data::import::{ImportReader, import_jsonl};
use tunesmith::data::prompts::{PromptReader, import_prompts};
use tunesmith::model::Model;
use tunesmith::settings::config::{Method, Objective, RewardKind, RunConfig};
use tunesmith::train::{Row, Table, prepare, questions};
use tunesmith_tests::models;

const EXAMPLES: &str = "{\"prompt\":\"a\",\"completion\":\"bc\"}\n{\"text\":\"d e f\"}\n{\"input_ids\":[3,4,5]}\n";
const PAIRS: &str = "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n{\"prompt\":\"d\",\"completion\":\"e\",\"label\":true}\n\
    {\"prompt\":\"f\",\"chosen\":\"gh\",\"rejected\":\"i\"}\n";
const PROMPTS: &str = "{\"prompt\":\"a\",\"answer\":\"4\"}\n{\"prompt\":\"b c\",\"answer\":\"x\"}\n";

fn model() -> Model {
    models::load(&models::context(), "nano")
}

/// A table of a text's rows, under the numbers 7, 14, 21 and so on.
fn table(text: &str, prompts: bool) -> (Table, Vec<u32>) {
    let rows: Vec<Row> = match prompts {
        true => import_prompts("p", text).0.into_iter().map(Row::Prompt).collect(),
        false => import_jsonl("p", text).examples.into_iter().map(|(_, example)| Row::Example(example)).collect(),
    };
    let mut table = Table::new("examples");
    let ids: Vec<u32> = (1..=rows.len() as u32).map(|index| 7 * index).collect();
    ids.iter().zip(rows).for_each(|(id, row)| table.put(*id, Ok(row)));
    (table, ids)
}

#[test]
fn a_table_gives_what_a_file_does() {
    let model = model();
    for (objective, text) in [(Objective::Sft, EXAMPLES), (Objective::Kto, PAIRS)] {
        let config = RunConfig::defaults(Method::Lora, objective);
        let (mut table, ids) = table(text, false);
        let want = prepare(&model, &config, "p", &import_jsonl("p", text).examples).unwrap();
        assert_eq!(table.sequences(&model, &config, &ids).unwrap(), want);
        let report = table.report(&model, &config, &ids).unwrap();
        assert_eq!(report.tokens, want.iter().map(|one| one.ids.len()).sum::<usize>());
        assert_eq!(report.targets, want.iter().map(|one| one.target_tokens()).sum::<usize>());
        assert!(report.bad.is_empty() && report.truncated == 0);
        // In the order that is asked for.
        let turned: Vec<u32> = ids.iter().rev().copied().collect();
        assert_ne!(table.sequences(&model, &config, &turned).unwrap(), want);
    }
    let mut config = RunConfig::defaults(Method::Lora, Objective::Grpo);
    (config.max_completion_length, config.reward) = (8, vec![RewardKind::Json]);
    let (mut table, ids) = table(PROMPTS, true);
    let (want, _) = questions(&model, &config, "p", &import_prompts("p", PROMPTS).0);
    let got = table.questions(&model, &config, &ids).unwrap();
    assert_eq!(got.iter().map(|one| &one.ids).collect::<Vec<_>>(), want.iter().map(|one| &one.ids).collect::<Vec<_>>());
    assert_eq!(got[1].columns["answer"], "x");
}

#[test]
fn rows_are_read_a_few_at_a_time_and_once() {
    let (model, config) = (model(), RunConfig::defaults(Method::Lora, Objective::Sft));
    let (mut table, ids) = table(EXAMPLES, false);
    let asked = Cell::new(0);
    let only = |most: usize| {
        asked.set(0);
        let asked = &asked;
        move || {
            asked.set(asked.get() + 1);
            asked.get() <= most
        }
    };
    assert_eq!(table.read(&model, &config, &ids, only(2)).unwrap(), 2);
    assert_eq!(table.read(&model, &config, &ids, only(9)).unwrap(), 3);
    assert_eq!(asked.get(), 1, "two were read before");
    assert_eq!(table.read(&model, &config, &ids, only(0)).unwrap(), 3);
    // Another row in the place of one, other settings, another model.
    table.put(ids[0], Ok(Row::Example(import_jsonl("p", EXAMPLES).examples.remove(1).1)));
    assert_eq!(table.read(&model, &config, &ids, only(0)).unwrap(), 0);
    table.read(&model, &config, &ids, || true).unwrap();
    let mut shorter = config.clone();
    shorter.max_length = 8;
    assert_eq!(table.read(&model, &shorter, &ids, only(0)).unwrap(), 0);
    assert_eq!(table.read(&model, &config, &ids, only(0)).unwrap(), 3);
    table.forget();
    assert_eq!(table.read(&model, &config, &ids, only(0)).unwrap(), 0);
    table.remove(ids[1]);
    assert!(table.sequences(&model, &config, &ids).unwrap_err().to_string().contains("no row of number 14"));
}

#[test]
fn what_is_wrong_with_a_row_is_told_of_its_place() {
    let model = model();
    let config = RunConfig::defaults(Method::Lora, Objective::Sft);
    let (mut pairs, ids) = table(PAIRS, false);
    let report = pairs.report(&model, &config, &ids).unwrap();
    assert_eq!(report.bad.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
    let error = pairs.sequences(&model, &config, &[7]).unwrap_err().to_string();
    assert!(error.contains("examples, line 1: it has a chosen and a rejected answer"), "{error}");
    let (mut examples, mut ids) = table(EXAMPLES, false);
    examples.put(1, Err(import_jsonl("examples", "{\"foo\":1}").errors.remove(0)));
    ids.push(1);
    let error = examples.sequences(&model, &config, &ids).unwrap_err().to_string();
    assert!(error.starts_with("examples, line 4:"), "{error}");
    assert!(examples.sequences(&model, &config, &[]).unwrap_err().to_string().contains("no rows"));
    let mut config = RunConfig::defaults(Method::Lora, Objective::Grpo);
    (config.max_completion_length, config.reward) = (8, vec![RewardKind::Number("answer".into())]);
    let (mut prompts, ids) = table(PROMPTS, true);
    let report = prompts.report(&model, &config, &ids).unwrap();
    assert_eq!(report.bad.len(), 1);
    assert!(report.bad[0].0 == 14 && report.bad[0].1.to_string().contains("no number in it"), "{:?}", report.bad);
}

#[test]
fn a_file_in_pieces_is_the_file() {
    let text = format!("\u{feff}{EXAMPLES}\n{{\"foo\":1}}\n{{\"text\":\"a\",\"txt\":1}}\n");
    let whole = import_jsonl("p", &text);
    let mut reader = ImportReader::new("p");
    let (mut examples, mut errors) = (Vec::new(), Vec::new());
    for line in text.split_inclusive('\n') {
        reader.read(line);
        let (more, wrong) = reader.take();
        examples.extend(more);
        errors.extend(wrong);
    }
    let rest = reader.finish();
    errors.extend(rest.errors);
    let told = |errors: &[tunesmith::Error]| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!((examples, told(&errors)), (whole.examples, told(&whole.errors)));
    assert_eq!((rest.warnings.len(), rest.warnings), (1, whole.warnings));
    assert!(told(&errors)[0].starts_with("p, line 5"), "{errors:?}");
    let mut reader = PromptReader::new("p");
    let rows: Vec<usize> =
        PROMPTS.split_inclusive('\n').flat_map(|line| reader.read(line).0).map(|row| row.line).collect();
    assert_eq!(rows, [1, 2]);
    assert!(reader.finish().is_none() && PromptReader::new("p").finish().is_some());
}

//! The forms of work for GPUs give the same bits, and the fastest is what is used once it was found.

use pollster::block_on;
use tunesmith::bench::{Shape, synthetic};
use tunesmith::data::batch::Size;
use tunesmith::format::ggml::GgmlType;
use tunesmith::gpu::{Context, Features, Form, Tunable};
use tunesmith::model::Model;
use tunesmith::peft;
use tunesmith::settings::config::{Method, RunConfig};
use tunesmith::train::untuned;
use tunesmith_tests::models;
use tunesmith_tests::one_pass::one_pass;

/// Loss and gradients of one pass in every form, in bits.
fn bits(context: &Context, form: Option<Form>, in_4bit: bool) -> Vec<u32> {
    context.force_form(form);
    let model = if in_4bit {
        let gguf = synthetic::gguf(&Shape::named("nano").unwrap(), GgmlType::F16).unwrap();
        block_on(Model::load_as(context, &gguf, true, |_, _| {})).unwrap()
    } else {
        models::load(context, "nano")
    };
    let (loss, gradients) = one_pass(context, &model, &RunConfig::new(Method::Lora));
    context.force_form(None);
    [loss].iter().chain(&gradients).map(|value| value.to_bits()).collect()
}

#[test]
fn tiles_change_no_bit() {
    let plain = block_on(Context::with(Features::Plain)).unwrap();
    for in_4bit in [false, true] {
        let expected = bits(&plain, Some(Form::Plain), in_4bit);
        for form in [Form::Tile, Form::Small] {
            assert!(expected == bits(&plain, Some(form), in_4bit), "{form:?}, {in_4bit}");
        }
    }
}

#[test]
fn the_fastest_form_is_found_and_used() {
    let context = block_on(Context::with(Features::Plain)).unwrap();
    let model = models::load(&context, "nano");
    let adapter = block_on(peft::create(&model, &RunConfig::new(Method::Lora))).unwrap();
    let size = Size { rows: 64, targets: 64 };
    let work = untuned(&model, adapter.as_ref(), size).unwrap();
    assert!(work.len() >= 8, "{work:?}");
    // One product is enough: each form of each takes long to compile in software.
    let mut tried = Vec::new();
    block_on(tunesmith::ops::tune(&context, &work[..1], f64::INFINITY, |done, all, piece| {
        assert_eq!((done, all), (1, 1));
        tried.push(piece.clone());
    }))
    .unwrap();
    let forms: Vec<Form> = tried[0].forms.iter().map(|&(form, _)| form).collect();
    assert_eq!(forms, [Form::Plain, Form::Tile, Form::Small], "a device without subgroups");
    assert!(tried[0].forms.iter().all(|&(_, ms)| ms > 0.0 && ms.is_finite()));
    let choices = context.forms();
    assert_eq!(choices.get(&work[0].class()).copied(), tried[0].fastest());
    assert_eq!(untuned(&model, adapter.as_ref(), size).unwrap().len(), work.len() - 1);
    // Attention's three kernels have forms, too.
    let (attention, rest): (Vec<_>, Vec<_>) =
        work[1..].iter().cloned().partition(|piece| matches!(piece, Tunable::Attention { .. }));
    block_on(tunesmith::ops::tune(&context, &attention, f64::INFINITY, |_, all, piece| {
        let forms: Vec<Form> = piece.forms.iter().map(|&(form, _)| form).collect();
        assert_eq!((all, forms), (3, vec![Form::Tile, Form::Small]));
    }))
    .unwrap();
    assert_eq!(untuned(&model, adapter.as_ref(), size).unwrap(), rest);
    let choices = context.forms();
    // As a file has them.
    let text = serde_json::to_string(&choices).unwrap();
    let other = block_on(Context::with(Features::Plain)).unwrap();
    other.choose_forms(serde_json::from_str(&text).unwrap());
    assert_eq!(other.forms(), choices);
    // A limit that has passed leaves the rest alone.
    block_on(tunesmith::ops::tune(&context, &rest, -1.0, |_, _, _| panic!("none is tried"))).unwrap();
}

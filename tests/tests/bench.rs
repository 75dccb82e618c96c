//! Made-up weights: they load, are the same every time, and know nothing.

use pollster::block_on;
use tunesmith::bench::synthetic::{self, ENCODINGS};
use tunesmith::bench::{self, Measurement, Part, Settings, Shape};
use tunesmith::format::ggml::GgmlType;
use tunesmith::model::Model;
use tunesmith_tests::check_op::context;

/// The losses of the second step and of the forward pass after it.
fn losses(encoding: GgmlType) -> [f64; 2] {
    let gguf = synthetic::gguf(&Shape::named("nano").unwrap(), encoding).unwrap();
    let model = block_on(Model::load(&context(), &gguf, |_, _| {})).unwrap();
    let settings = Settings { tokens: vec![64], steps: 1, r: 4, tune: false, parts: vec![Part::Step] };
    let mut losses = Vec::new();
    let tell = |measurement: Measurement| {
        match measurement {
            Measurement::Step(cost) | Measurement::Forward { cost, .. } => losses.push(cost.loss),
            _ => {}
        }
        Ok(())
    };
    block_on(bench::run(&model, &settings, tell)).unwrap();
    losses.try_into().expect("a step and a forward pass")
}

#[test]
fn a_model_that_knows_nothing_loses_the_logarithm_of_its_vocabulary() {
    for (name, encoding) in ENCODINGS {
        for loss in losses(encoding) {
            assert!((loss - 512f64.ln()).abs() < 0.1, "{name}: {loss}");
        }
    }
    assert_eq!(losses(GgmlType::Q4_1), losses(GgmlType::Q4_1));
}

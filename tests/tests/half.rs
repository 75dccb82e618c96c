//! Products in half precision, where the adapter has matrix units for it; where it has none, that is said.

use pollster::block_on;
use tunesmith::Error;
use tunesmith::gpu::{Context, Features};
use tunesmith::settings::config::{Method, RunConfig};
use tunesmith_tests::models;
use tunesmith_tests::one_pass::one_pass;

/// Loss and gradients of one pass over the small model, with every linear layer's adapter.
fn pass(context: &Context) -> (f32, Vec<f32>) {
    let mut config = RunConfig::new(Method::Lora);
    config.set("target_modules", "all-linear").unwrap();
    one_pass(context, &models::load(context, "nano"), &config)
}

#[test]
fn halves_are_near_or_refused() {
    let half = match block_on(Context::with(Features::Half)) {
        Ok(context) => context,
        Err(Error::Config { field, what, help }) => {
            assert_eq!(field, "fp16");
            assert!(what.contains("matrix units") && help.contains("leave it out"), "{what}; {help}");
            return;
        }
        Err(other) => panic!("{other}"),
    };
    let exact = block_on(Context::new()).unwrap();
    assert!(half.half() && !exact.half());
    let ((loss, gradients), (expected, exact)) = (pass(&half), pass(&exact));
    // A half has 11 bits: products are off by one part in some thousand, and sums by less.
    assert!((loss / expected - 1.0).abs() < 1e-3, "{loss}, and {expected} in f32");
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>();
    let off = square(&mut gradients.iter().zip(&exact).map(|(a, b)| a - b)) / square(&mut exact.iter().copied());
    assert!(off > 0.0, "no product was made in halves");
    assert!(off.sqrt() < 1e-2, "gradients are off by {}", off.sqrt());
}

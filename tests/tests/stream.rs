//! Files that are made while they are written: byte for byte what the safetensors library makes of all the values at once.

use pollster::block_on;
use safetensors::tensor::{Dtype, TensorView};
use tunesmith::model::Model;
use tunesmith::peft;
use tunesmith::peft::io::{self, TENSORS};
use tunesmith::settings::config::{Method, RunConfig};
use tunesmith_tests::models;

/// The file of a new adapter in its parts, which together are what they should be.
fn parts(model: &Model, method: Method) -> Vec<Vec<u8>> {
    let adapter = block_on(peft::create(model, &RunConfig::new(method))).unwrap();
    let files = block_on(io::files(adapter.as_ref(), model, None)).unwrap();
    let mut file = files.into_iter().find(|file| file.name == TENSORS).expect("an adapter has tensors");
    let parts: Vec<_> = std::iter::from_fn(|| block_on(file.next()).unwrap()).collect();

    let params = adapter.params();
    let values = block_on(params.read()).unwrap();
    let views = params.tensors.iter().zip(&values).map(|(tensor, values)| {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytemuck::cast_slice(values)).unwrap();
        (tensor.name.as_str(), view)
    });
    let whole = safetensors::serialize(views, Some([("format".into(), "pt".into())].into())).unwrap();
    assert!(parts.concat() == whole, "another file");
    parts
}

#[test]
fn a_file_in_parts_is_the_file_that_the_library_makes() {
    let context = models::context();
    let nano = models::load(&context, "nano");
    assert_eq!(parts(&nano, Method::Lora).len(), 2);
    // The embedding alone is of 28 million values; rows of q and k lie in another order on the device.
    let parts = parts(&models::load(&context, "cut"), Method::Full);
    let largest = parts.iter().map(Vec::len).max();
    assert!(parts.len() > 8 && largest < Some(16 << 20), "{} parts, {largest:?} bytes at most", parts.len());
}

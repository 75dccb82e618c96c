//! Tokenization beside llama.cpp's own test vectors, by hand: for each vocabulary `V.gguf` with `V.gguf.inp` and `V.gguf.out`
//! beside it, in llama.cpp's folder `models`, how many of its texts come to the same ids.
//!
//!     cargo run -p tunesmith-tests --example vocabularies -- llama.cpp/models/ggml-vocab-*.gguf

use std::path::Path;

use tunesmith::format::gguf::Gguf;
use tunesmith::format::source::FileSource;
use tunesmith::text::tokenizer::Tokenizer;

/// What stands between two texts.
const BETWEEN: &str = "\n__ggml_vocab_test__\n";

fn main() {
    for path in std::env::args().skip(1) {
        let beside = |kind: &str| std::fs::read_to_string(format!("{path}.{kind}"));
        let (Ok(texts), Ok(ids)) = (beside("inp"), beside("out")) else { continue };
        let tokenizer = FileSource::open(Path::new(&path))
            .and_then(|source| Gguf::open(Box::new(source)))
            .and_then(|gguf| Tokenizer::from_gguf(&gguf));
        let tokenizer = match tokenizer {
            Ok(tokenizer) => tokenizer,
            Err(error) => {
                println!("{path}: {error}");
                continue;
            }
        };
        let (mut same, mut all) = (0, 0);
        for (text, ids) in texts.split(BETWEEN).zip(ids.lines()) {
            let want: Vec<u32> = ids.split_whitespace().map(|id| id.parse().expect("ids are numbers")).collect();
            let found = tokenizer.encode(text, false).expect("a text is encoded");
            all += 1;
            if found == want {
                same += 1;
            } else {
                println!("  {text:?}: {found:?}, and llama.cpp has {want:?}");
            }
        }
        println!("{path}: {same} of {all}");
    }
}

//! Damaged and made-up input for all that parses what people bring: whatever comes of it, no panic, no hang, and no more memory
//! than the input calls for. `tests/tests/fuzz.rs` tries some of it with every change, `cargo xtask fuzz` a million a target.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use pollster::block_on;
use tunesmith::format::gguf::{Array, Gguf, Value};
use tunesmith::format::gguf_write::GgufWriter;
use tunesmith::format::quant;
use tunesmith::format::source::MemorySource;
use tunesmith::gpu::Context;
use tunesmith::model::Model;
use tunesmith::peft::io;
use tunesmith::settings::config::{Method, RunConfig};
use tunesmith::text::Message;
use tunesmith::text::template::ChatTemplate;
use tunesmith::text::tokenizer::Tokenizer;

use crate::models;

/// Counts what is allocated: a program that fuzzes has it as its global allocator.
pub struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is the system allocator's own, with what it was given.
#[expect(unsafe_code, reason = "an allocator is unsafe by its trait")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

/// Bytes that a run may take beside four times its input.
const ALLOWANCE: usize = 16 << 20;
/// Seconds that a run may take, in a debug build on a slow machine.
const LIMIT: f64 = 20.0;

/// Numbers that a seed decides (SplitMix64).
pub struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `end`, or 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Integers at which counts go wrong.
const EDGES: [u64; 12] =
    [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 61, i64::MAX as u64, u64::MAX];

/// A change to `bytes`, or a few, of which some put a word of the target's in.
fn damaged(random: &mut Random, bytes: &[u8], words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) * random.below(2) {
        let at = random.below(bytes.len());
        let end = (at + 1 + random.below(32)).min(bytes.len());
        match random.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = *random.one_of(&[0, 1, 0x7f, 0x80, 0xff]),
            2 | 3 => {
                let size = *random.one_of(&[4, 8]);
                let edge = random.one_of(&EDGES).to_le_bytes();
                let end = (at + size).min(bytes.len());
                bytes[at..end].copy_from_slice(&edge[..end - at]);
            }
            4 => drop(bytes.drain(at..end)),
            5 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            6 if random.below(8) == 0 => bytes.truncate(at),
            _ if !words.is_empty() => {
                let word = random.one_of(words).iter().copied();
                let end = if random.below(2) == 0 { at } else { end };
                bytes.splice(at..end, word);
            }
            _ => {}
        }
    }
    bytes
}

/// Something that parses what people bring.
pub struct Target {
    /// What it is called.
    pub name: &'static str,
    /// Makes an input.
    make: fn(&mut Random, &Seeds) -> Vec<u8>,
    /// Parses it, and says whether it was taken.
    run: fn(&Seeds, &[u8]) -> bool,
}

/// All of them.
pub const TARGETS: [Target; 4] = [
    Target { name: "gguf", make: |random, seeds| damaged(random, &seeds.gguf, &[]), run: load },
    Target { name: "tokenizer", make: made_up_vocabulary, run: tokenize },
    Target { name: "template", make: made_up_template, run: render },
    Target { name: "adapter", make: made_up_adapter, run: read_adapter },
];

/// What inputs are made of.
pub struct Seeds {
    /// The device with nothing on it, and the nano model there.
    model: Model,
    /// A model file.
    gguf: Vec<u8>,
    /// `adapter_config.json` and `adapter_model.safetensors` of several methods.
    adapters: Vec<[Vec<u8>; 2]>,
}

impl Seeds {
    /// # Panics
    /// Without an adapter.
    pub fn new() -> Self {
        let context = models::context();
        let model = models::load(&context, "nano");
        let adapters = [Method::Lora, Method::Ia3, Method::Prompt, Method::LnTuning, Method::BitFit].map(|method| {
            let adapter = block_on(tunesmith::peft::create(&model, &RunConfig::new(method))).expect("an adapter");
            let files = block_on(io::save(adapter.as_ref(), &model, None)).expect("its files");
            [0, 1].map(|file: usize| files[file].bytes.clone())
        });
        Self { model: model.rehearsal(), gguf: small_model().finish(), adapters: adapters.into() }
    }
}

impl Default for Seeds {
    fn default() -> Self {
        Self::new()
    }
}

/// A llama of one block and 16 channels.
fn small_model() -> GgufWriter {
    let mut file = GgufWriter::new("llama");
    let number = |value: u32| Value::U32(value);
    for (key, value) in [
        ("block_count", 1),
        ("context_length", 64),
        ("embedding_length", 16),
        ("feed_forward_length", 16),
        ("attention.head_count", 1),
    ] {
        file.set(&format!("llama.{key}"), number(value));
    }
    file.set("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    models::set_vocabulary(&mut file);
    let vocab = crate::golden::nano::VOCAB as u64;
    file.tensor_f32("token_embd.weight", &[16, vocab], &vec![0.5; 16 * vocab as usize]);
    for name in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] {
        file.tensor_f32(&format!("blk.0.{name}.weight"), &[16, 16], &[0.5; 256]);
    }
    for name in ["blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"] {
        file.tensor_f32(&format!("{name}.weight"), &[16], &[1.0; 16]);
    }
    file
}

/// Loads a model, as far as that goes without a device, and unpacks its tensors.
fn load(seeds: &Seeds, bytes: &[u8]) -> bool {
    let Ok(gguf) = Gguf::open(Box::new(MemorySource::new("fuzz.gguf", bytes.to_vec()))) else { return false };
    let context: &Context = &seeds.model.context;
    let loaded = block_on(Model::load(context, &gguf, |_, _| {}));
    for tensor in gguf.tensors() {
        let _ = gguf.read_tensor_chunks(tensor, 1 << 16, |_, bytes| quant::pack(tensor.ty, bytes).map(|_| ()));
    }
    loaded.is_ok()
}

/// A file with a vocabulary of a few tokens, and whatever else belongs to one.
fn made_up_vocabulary(random: &mut Random, _: &Seeds) -> Vec<u8> {
    const PIECES: [&str; 14] =
        ["a", "b", "ab", "Ġ", "▁", "▁a", "<0x41>", "<0xZZ>", "<s>", "</s>", "é", "\u{0}", "", "<|im_end|>"];
    let mut file = GgufWriter::new("llama");
    let text = |random: &mut Random| (0..random.below(3)).map(|_| *random.one_of(&PIECES)).collect::<String>();
    let count = random.below(40);
    let near = |random: &mut Random, count: usize| {
        count + *random.one_of(&[0, 0, 0, 0, 1]) - usize::from(count > 0 && random.below(6) == 0)
    };
    let tokens: Vec<String> = (0..count).map(|_| text(random)).collect();
    let kinds = (0..near(random, count)).map(|_| *random.one_of(&[1, 1, 1, 3, 4, 5, 6, 2, -1, i32::MAX])).collect();
    let scored = near(random, count);
    let scores = (0..scored).map(|_| *random.one_of(&[0.0, -1.0, -2.5, 1e30, f32::NAN, f32::NEG_INFINITY])).collect();
    let joined = |random: &mut Random| match random.below(5) {
        0 => text(random),
        1 => format!("{} {} {}", text(random), text(random), text(random)),
        _ => format!("{} {}", text(random), text(random)),
    };
    let merges = (0..random.below(12)).map(|_| joined(random)).collect();
    let names = ["gpt2", "llama", "bert", "t5", ""];
    file.set("tokenizer.ggml.model", Value::String((*random.one_of(&names)).into()));
    let splitters = ["smollm", "default", "qwen2", "llama-bpe", "gpt-2", "falcon", "command-r", "mpt", ""];
    file.set("tokenizer.ggml.pre", Value::String((*random.one_of(&splitters)).into()));
    file.set("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)));
    file.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    file.set("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
    file.set("tokenizer.ggml.merges", Value::Array(Array::String(merges)));
    for key in ["bos", "eos", "eot", "padding", "unknown"] {
        if random.below(2) == 0 {
            let id = *random.one_of(&[0, 1, 2, 39, u32::MAX]);
            file.set(&format!("tokenizer.ggml.{key}_token_id"), Value::U32(id));
        }
    }
    for key in ["add_bos_token", "add_eos_token", "add_space_prefix"] {
        if random.below(2) == 0 {
            file.set(&format!("tokenizer.ggml.{key}"), Value::Bool(random.below(2) == 0));
        }
    }
    file.finish()
}

/// Reads a vocabulary and takes some texts through it.
fn tokenize(_: &Seeds, bytes: &[u8]) -> bool {
    let Ok(gguf) = Gguf::open(Box::new(MemorySource::new("fuzz.gguf", bytes.to_vec()))) else { return false };
    let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) else { return false };
    for text in ["", " ", "a ab<s>b", "▁Ġé 漢字 \u{0}\u{200d}🙂 12345", "<|im_end|>\n\n  x"] {
        for special in [false, true] {
            if let Ok(ids) = tokenizer.encode(text, special) {
                let _ = tokenizer.decode(&ids);
            }
        }
    }
    true
}

/// Pieces of a template: what real ones are made of, and what has no end.
const TEMPLATE: &[&[u8]] = &[
    b"{% for message in messages %}",
    b"{% endfor %}",
    b"{{ message['content'] }}",
    b"{{ message.role }}",
    b"{% if loop.first %}",
    b"{% elif message.role == 'user' %}",
    b"{% else %}",
    b"{% endif %}",
    b"{% set x = [1] %}",
    b"{% set ns = namespace(a=1) %}",
    b"{% set ns.a = ns %}",
    b"{% set x = x + x %}",
    b"{% set x = x ~ x %}",
    b"{% macro m(x) %}",
    b"{{ m(x) }}",
    b"{{ m(m(x)) }}",
    b"{% endmacro %}",
    b"{% call m(1) %}",
    b"{% endcall %}",
    b"{{ raise_exception('no') }}",
    b"{{ strftime_now('%Y') }}",
    b"{{ 'a' * 999999999 }}",
    b"{{ range(999999999) }}",
    b"{{ messages | tojson }}",
    b"{{ x | length }}",
    b"{{ x | join(', ') }}",
    b"{{ x | trim }}",
    b"{%- ",
    b" -%}",
    b"{{",
    b"}}",
    b"{% generation %}",
    b"{% endgeneration %}",
    b"{% raw %}",
    b"{% endraw %}",
    b"{# ",
    b" #}",
    b"{% filter upper %}",
    b"{% endfilter %}",
    b"{{ bos_token }}",
    b"{{ add_generation_prompt }}",
    b"{{ tools }}",
    b"{{ x[::-1] }}",
    b"{{ x.items() }}",
    b"{{ 1 // 0 }}",
    b"{{ 2 ** 99999 }}",
    b"{{ (((((((((((((((( }}",
    b"{% for a in range(99999) %}{% for b in range(99999) %}",
    b"{% for x in x recursive %}{{ loop(x) }}",
    b"\xf0\x9f\x99\x82",
    b"\n",
    b" ",
];

fn made_up_template(random: &mut Random, seeds: &Seeds) -> Vec<u8> {
    let mut source: Vec<u8> = seeds.model.template_source.clone().unwrap_or_default().into_bytes();
    if random.below(2) == 0 {
        source = (0..random.below(12)).flat_map(|_| random.one_of(TEMPLATE).to_vec()).collect();
    }
    damaged(random, &source, TEMPLATE)
}

fn render(_: &Seeds, bytes: &[u8]) -> bool {
    let source = String::from_utf8_lossy(bytes);
    let Ok(template) = ChatTemplate::new(&source, "<s>", "</s>") else { return false };
    let message = |role: &str, content: &str| Message { role: role.into(), content: content.into() };
    let messages = [message("system", "be\nbrief"), message("user", "hi"), message("assistant", "<|im_end|>")];
    let _ = template.render_marked(&messages, false);
    template.render(&messages, true).is_ok()
}

/// The two files of an adapter behind each other, with the length of the first in front.
fn made_up_adapter(random: &mut Random, seeds: &Seeds) -> Vec<u8> {
    const WORDS: &[&[u8]] = &[
        b"\"r\":",
        b"-1",
        b"0",
        b"1e999",
        b"99999999999999999999",
        b"null",
        b"[]",
        b"{}",
        b"\"LORA\"",
        b"\"IA3\"",
        b"\"F32\"",
        b"\"F8_E4M3\"",
        b"\"shape\":[0]",
        b"\"data_offsets\":[8,0]",
        b"\"data_offsets\":[0,18446744073709551615]",
        b"\"__metadata__\":",
        b",",
        b"\xff",
    ];
    let [config, tensors] = random.one_of(&seeds.adapters).clone();
    let [config, tensors] = match random.below(3) {
        0 => [damaged(random, &config, WORDS), tensors],
        1 => {
            // Where the header is, most of all.
            let head = tensors.len().min(1024);
            let changed = damaged(random, &tensors[..head], WORDS);
            [config, [changed.as_slice(), &tensors[head..]].concat()]
        }
        _ => [damaged(random, &config, WORDS), damaged(random, &tensors, WORDS)],
    };
    [&(config.len() as u32).to_le_bytes()[..], &config, &tensors].concat()
}

fn read_adapter(seeds: &Seeds, bytes: &[u8]) -> bool {
    let (length, files) = bytes.split_at(4);
    let (config, tensors) = files.split_at(u32::from_le_bytes(length.try_into().expect("four bytes")) as usize);
    let _ = io::describe("folder", tensors);
    block_on(io::load(&seeds.model, "folder", config, tensors)).is_ok()
}

/// Runs a target `count` times, on the inputs that `seed` decides; gives how many of them it took.
///
/// # Panics
/// When the target does, takes too long, or takes more memory than the input calls for, where [`Counting`] counts it. Before
/// that the input is written into the folder of temporary files, and named.
pub fn fuzz(target: &Target, seeds: &Seeds, count: usize, seed: u64) -> usize {
    let mut taken = 0;
    for number in 0..count {
        let mut random = Random(seed.wrapping_add((number as u64) << 20));
        let input = (target.make)(&mut random, seeds);
        let before = NOW.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        let start = Instant::now();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (target.run)(seeds, &input)));
        let (seconds, bytes) = (start.elapsed().as_secs_f64(), MOST.load(Ordering::Relaxed) - before);
        let most = 4 * input.len() + ALLOWANCE;
        let wrong = match outcome {
            Err(_) => "panicked".into(),
            Ok(_) if seconds > LIMIT => format!("took {seconds:.1} s"),
            Ok(_) if bytes > most => format!("took {bytes} bytes, and at most {most} were expected"),
            Ok(is_taken) => {
                taken += usize::from(is_taken);
                continue;
            }
        };
        let path = std::env::temp_dir().join(format!("tunesmith-fuzz-{}-{seed}-{number}", target.name));
        let kept =
            std::fs::write(&path, &input).map_or_else(|error| error.to_string(), |()| path.display().to_string());
        panic!("{}, seed {seed}, number {number}: {wrong}; the input: {kept}", target.name);
    }
    taken
}

// A small llama with made-up weights, as a GGUF file, as two, and as a folder of Hugging Face's: for what takes another file than the
// default model's.

const SHAPE = { layers: 2, hidden: 64, heads: 4, kvHeads: 2, headDim: 16, ffn: 96 };
const TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}";

/** GGUF's numbers for the types of its metadata, and ggml's for those of tensors. */
const [U32, I32, F32, STRING, ARRAY] = [4, 5, 6, 8, 9];
export const TYPES = { F32: 0, F16: 1, Q8_0: 8 };

const vocabulary = () => ['<|endoftext|>', ...alphabet()];

/** The file's bytes; its linear layers are of `type`, all else is in F32. */
export const madeUpModel = (type) => gguf(metadata(), tensorsOf(type));

/** The same in two files. */
export function madeUpParts(type) {
  const tensors = tensorsOf(type);
  return [tensors.slice(0, 7), tensors.slice(7)].map((own, part) => {
    const split = [['split.no', U32, part], ['split.count', U32, 2], ['split.tensors.count', U32, tensors.length]];
    return { name: `small-0000${part + 1}-of-00002.gguf`, mimeType: 'application/octet-stream', buffer: gguf([...(part ? [] : metadata()), ...split], own) };
  });
}

/** As a folder, in 16 bits: the files by name. */
export function madeUpFolder() {
  const { layers, hidden, heads, kvHeads, headDim, ffn } = SHAPE;
  const tokens = vocabulary();
  const names = { attn_norm: 'input_layernorm', attn_q: 'self_attn.q_proj', attn_k: 'self_attn.k_proj', attn_v: 'self_attn.v_proj', attn_output: 'self_attn.o_proj',
    ffn_norm: 'post_attention_layernorm', ffn_gate: 'mlp.gate_proj', ffn_up: 'mlp.up_proj', ffn_down: 'mlp.down_proj', token_embd: 'embed_tokens', output_norm: 'norm' }; // prettier-ignore
  const header = {};
  let at = 0;
  const data = tensorsOf(TYPES.F16, TYPES.F16).map(({ name, dims, data }) => {
    const path = name.replace(/^blk/, 'layers').replace(/[a-z]+_[a-z]+/, (own) => names[own]);
    header[`model.${path}`] = { dtype: 'F16', shape: dims.toReversed(), data_offsets: [at, (at += data.length)] };
    return data;
  });
  const head = Buffer.from(JSON.stringify(header));
  const config = {
    model_type: 'llama', num_hidden_layers: layers, hidden_size: hidden, num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: headDim,
    intermediate_size: ffn, max_position_embeddings: 1024, rms_norm_eps: 1e-5, rope_theta: 1e4, vocab_size: tokens.length, tie_word_embeddings: true,
    hidden_act: 'silu', eos_token_id: 0,
  }; // prettier-ignore
  const tokenizer = {
    version: '1.0',
    added_tokens: [{ id: 0, content: tokens[0], special: true, normalized: false, single_word: false, lstrip: false, rstrip: false }],
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges: [] },
  };
  return {
    'config.json': JSON.stringify(config),
    'tokenizer.json': JSON.stringify(tokenizer),
    'tokenizer_config.json': JSON.stringify({ eos_token: tokens[0], chat_template: TEMPLATE }),
    'model.safetensors': Buffer.concat([u64(head.length), head, ...data]),
    'README.md': 'This is read by people alone.',
  };
}

function metadata() {
  const tokens = vocabulary();
  return [
    ['general.architecture', STRING, 'llama'],
    ['llama.block_count', U32, SHAPE.layers],
    ['llama.context_length', U32, 1024],
    ['llama.embedding_length', U32, SHAPE.hidden],
    ['llama.feed_forward_length', U32, SHAPE.ffn],
    ['llama.attention.head_count', U32, SHAPE.heads],
    ['llama.attention.head_count_kv', U32, SHAPE.kvHeads],
    ['llama.attention.key_length', U32, SHAPE.headDim],
    ['llama.attention.layer_norm_rms_epsilon', F32, 1e-5],
    ['tokenizer.ggml.model', STRING, 'gpt2'],
    ['tokenizer.ggml.tokens', ARRAY, [STRING, tokens]],
    ['tokenizer.ggml.token_type', ARRAY, [I32, tokens.map((_, id) => (id === 0 ? 3 : 1))]],
    ['tokenizer.ggml.merges', ARRAY, [STRING, []]],
    ['tokenizer.ggml.eos_token_id', U32, 0],
    ['tokenizer.chat_template', STRING, TEMPLATE],
  ];
}

/** Every tensor; the linear layers are of `type`, all else of `other`. */
function tensorsOf(type, other = TYPES.F32) {
  return shapes(vocabulary().length).map(([name, rows, cols]) => {
    const values = name.endsWith('norm.weight') ? new Array(cols).fill(1) : random(name, rows * cols, 1 / Math.sqrt(cols));
    const own = name.startsWith('blk.') && rows > 1 ? type : other;
    return { name, dims: rows > 1 ? [cols, rows] : [cols], type: own, data: numbers(values, own) };
  });
}

function gguf(metadata, tensors) {
  const header = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(metadata.length)];
  for (const [key, kind, value] of metadata) header.push(string(key), u32(kind), encoded(kind, value));
  let at = 0;
  for (const { name, dims, type, data } of tensors) {
    header.push(string(name), u32(dims.length), ...dims.map(u64), u32(type), u64(at));
    at += aligned(data.length);
  }
  const parts = [Buffer.concat(header), ...tensors.map(({ data }) => data)];
  return Buffer.concat(parts.map((part) => Buffer.concat([part], aligned(part.length))));
}

function shapes(vocabulary) {
  const { layers, hidden, heads, kvHeads, headDim, ffn } = SHAPE;
  const [q, kv] = [heads * headDim, kvHeads * headDim];
  const block = (n) =>
    [
      ['attn_norm', 1, hidden],
      ['attn_q', q, hidden],
      ['attn_k', kv, hidden],
      ['attn_v', kv, hidden],
      ['attn_output', hidden, q],
      ['ffn_norm', 1, hidden],
      ['ffn_gate', ffn, hidden],
      ['ffn_up', ffn, hidden],
      ['ffn_down', hidden, ffn],
    ].map(([name, rows, cols]) => [`blk.${n}.${name}.weight`, rows, cols]);
  const blocks = Array.from({ length: layers }, (_, n) => block(n)).flat();
  return [['token_embd.weight', vocabulary, hidden], ...blocks, ['output_norm.weight', 1, hidden]];
}

/** The characters that stand for the 256 bytes in GPT-2's vocabulary. */
function alphabet() {
  const printed = (byte) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let other = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printed(byte) ? byte : other++));
}

/** Uniform numbers, the same for a name every time. */
function random(name, count, bound) {
  let state = [...name].reduce((hash, letter) => Math.imul(hash ^ letter.charCodeAt(0), 16777619), 2166136261);
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) * bound;
  });
}

function numbers(values, type) {
  if (type === TYPES.F32) return Buffer.from(Float32Array.from(values).buffer);
  if (type === TYPES.F16) return Buffer.from(Uint16Array.from(values, half).buffer);
  const blocks = Array.from({ length: values.length / 32 }, (_, block) => {
    const part = values.slice(32 * block, 32 * block + 32);
    const scale = Math.max(...part.map(Math.abs)) / 127;
    return Buffer.concat([Buffer.from(Uint16Array.of(half(scale)).buffer), Buffer.from(Int8Array.from(part, (value) => Math.round(value / scale)).buffer)]);
  });
  return Buffer.concat(blocks);
}

/** The bits of a small number in 16-bit floating point, rounded to zero. */
function half(value) {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0];
  const exponent = ((bits >>> 23) & 255) - 112;
  return exponent <= 0 ? 0 : ((bits >>> 16) & 0x8000) | (exponent << 10) | ((bits >>> 13) & 1023);
}

const aligned = (length) => Math.ceil(length / 32) * 32;
const bytes = (size, write) => {
  const buffer = Buffer.alloc(size);
  write(buffer);
  return buffer;
};
const u32 = (value) => bytes(4, (buffer) => buffer.writeUInt32LE(value));
const u64 = (value) => bytes(8, (buffer) => buffer.writeBigUInt64LE(BigInt(value)));
const string = (text) => Buffer.concat([u64(Buffer.byteLength(text)), Buffer.from(text)]);

function encoded(kind, value) {
  if (kind === STRING) return string(value);
  if (kind === F32) return bytes(4, (buffer) => buffer.writeFloatLE(value));
  if (kind !== ARRAY) return u32(value);
  const [element, list] = value;
  return Buffer.concat([u32(element), u64(list.length), ...list.map((one) => encoded(element, one))]);
}

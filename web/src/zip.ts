import { Zip, ZipPassThrough } from 'fflate';
import type { NamedFile } from './engine';

/** The adapter folder as a zip. Weights do not compress: stored as they are, and not copied, for they may be a whole model. */
export function adapterZip(files: readonly NamedFile[]): Blob {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  const zip = new Zip((error, piece) => {
    if (error) throw error;
    pieces.push(piece as Uint8Array<ArrayBuffer>);
  });
  for (const { name, bytes } of files) {
    const entry = new ZipPassThrough(name);
    zip.add(entry);
    entry.push(bytes, true);
  }
  zip.end();
  return new Blob(pieces, { type: 'application/zip' });
}

/** The lines that load the adapter in Python, to write or to score. An adapter fits the base that it was trained over. */
export function loadsWith(base: string, in4bit: boolean, scores: boolean): string {
  const auto = scores ? 'AutoModelForSequenceClassification' : 'AutoModelForCausalLM';
  return `from transformers import ${in4bit ? `(\n    ${auto}, BitsAndBytesConfig)` : auto}
from peft import PeftModel

base = ${auto}.from_pretrained(
    ${JSON.stringify(base)}${scores ? ',\n    num_labels=1' : ''}${in4bit ? `,
    quantization_config=BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True)` : ''})
model = PeftModel.from_pretrained(
    base, "tunesmith-adapter")`;
}

/** The command that asks a model with the adapter, or that has answers scored. */
export const asksWith = (in4bit: boolean, scores: boolean): string => `tunesmith ${scores ? 'score' : 'generate'} \\
    --model path/to/the/model.gguf \\${in4bit ? '\n    --load-in-4bit \\' : ''}
    --adapter tunesmith-adapter \\
    ${scores ? '--data preferences.jsonl' : '--prompt "Hello"'}`;

/** The command that runs a merged model. */
export const runsWith = (outtype: string): string => `llama-cli -m tunesmith-merged.${outtype}.gguf \\
    -p "Hello"`;

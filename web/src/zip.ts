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

/** The lines that load the adapter in Python. */
export const loadsWith = (base: string): string => `from transformers import AutoModelForCausalLM
from peft import PeftModel

base = AutoModelForCausalLM.from_pretrained(
    ${JSON.stringify(base)})
model = PeftModel.from_pretrained(
    base, "tunesmith-adapter")`;

/** The command that asks a model with the adapter. */
export const asksWith = `tunesmith generate \\
    --model path/to/the/model.gguf \\
    --adapter tunesmith-adapter \\
    --prompt "Hello"`;

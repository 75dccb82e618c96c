import { zipSync } from 'fflate';
import type { NamedFile } from './engine';

/** The adapter folder as a zip. Weights do not compress: stored as they are. */
export function adapterZip(files: readonly NamedFile[]): Blob {
  const tree = Object.fromEntries(files.map(({ name, bytes }) => [name, bytes]));
  return new Blob([zipSync(tree, { level: 0 })], { type: 'application/zip' });
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

import { zipSync } from 'fflate';
import type { NamedFile } from './engine';

/** The adapter folder as a zip. Weights do not compress: stored as they are. */
export function adapterZip(files: readonly NamedFile[]): Blob {
  const tree = Object.fromEntries(files.map(({ name, bytes }) => [name, bytes]));
  return new Blob([zipSync(tree, { level: 0 })], { type: 'application/zip' });
}

/** The base model's name as the adapter's own config gives it. */
export function baseOf(files: readonly NamedFile[], otherwise: string): string {
  const config = files.find(({ name }) => name === 'adapter_config.json');
  if (!config) return otherwise;
  const { base_model_name_or_path: base } = JSON.parse(new TextDecoder().decode(config.bytes)) as Record<string, unknown>;
  return typeof base === 'string' && base ? base : otherwise;
}

/** The lines that load the adapter in Python. */
export const loadsWith = (base: string): string => `from transformers import AutoModelForCausalLM
from peft import PeftModel

base = AutoModelForCausalLM.from_pretrained(
    ${JSON.stringify(base)})
model = PeftModel.from_pretrained(
    base, "tunesmith-adapter")`;

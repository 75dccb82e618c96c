// Looks into a downloaded adapter as PEFT would: the files of the zip, the config, the tensors.

import { inflateRawSync } from 'node:zlib';

const END = 0x06054b50;
const ENTRY = 0x02014b50;

/** The files of a zip, by name. */
export function unzip(bytes) {
  let end = bytes.length - 22;
  while (end >= 0 && bytes.readUInt32LE(end) !== END) end--;
  if (end < 0) throw new Error('the download is not a zip');
  const files = new Map();
  let at = bytes.readUInt32LE(end + 16);
  for (let left = bytes.readUInt16LE(end + 10); left > 0; left--) {
    if (bytes.readUInt32LE(at) !== ENTRY) throw new Error('the zip is damaged');
    const [method, packed] = [bytes.readUInt16LE(at + 10), bytes.readUInt32LE(at + 20)];
    const [name, extra, comment] = [28, 30, 32].map((field) => bytes.readUInt16LE(at + field));
    const local = bytes.readUInt32LE(at + 42);
    const start = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    const data = bytes.subarray(start, start + packed);
    files.set(bytes.toString('utf8', at + 46, at + 46 + name), method === 8 ? inflateRawSync(data) : data);
    at += 46 + name + extra + comment;
  }
  return files;
}

/** The config and the tensors' names and shapes of a PEFT adapter; throws when something is missing. */
export function readAdapter(bytes) {
  const files = unzip(bytes);
  const find = (name) => {
    const path = [...files.keys()].find((path) => path === name || path.endsWith(`/${name}`));
    if (!path) throw new Error(`the adapter has no ${name}, only ${[...files.keys()].join(', ')}`);
    return files.get(path);
  };
  const config = JSON.parse(find('adapter_config.json').toString());
  const weights = find('adapter_model.safetensors');
  const { __metadata__, ...tensors } = JSON.parse(weights.toString('utf8', 8, 8 + Number(weights.readBigUInt64LE(0))));
  return { config, tensors, readme: find('README.md').toString() };
}

/** Throws unless the tensors are LoRA pairs that were trained: B starts at zero and must have moved. */
export function checkLora(bytes) {
  const { config, tensors, readme } = readAdapter(bytes);
  const names = Object.keys(tensors);
  const a = names.filter((name) => name.endsWith('.lora_A.weight'));
  const b = names.filter((name) => name.endsWith('.lora_B.weight'));
  if (config.peft_type !== 'LORA') throw new Error(`peft_type is ${config.peft_type}`);
  if (!a.length || a.length !== b.length || a.length + b.length !== names.length) {
    throw new Error(`the tensors are not pairs of LoRA: ${names.slice(0, 4).join(', ')} ...`);
  }
  const weights = [...unzip(bytes)].find(([name]) => name.endsWith('adapter_model.safetensors'))[1];
  const body = 8 + Number(weights.readBigUInt64LE(0));
  const moved = b.filter((name) => {
    const [start, end] = tensors[name].data_offsets;
    return weights.subarray(body + start, body + end).some((byte) => byte !== 0);
  });
  if (moved.length !== b.length) throw new Error(`${b.length - moved.length} of ${b.length} matrices B were never trained`);
  return { config, pairs: a.length, readme };
}

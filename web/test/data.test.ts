import { describe, expect, it } from 'vitest';
import type { Example, RunConfig } from '../src/engine';
import { isBlank, pair, row, split, summary, toJsonl, view, withPart } from '../src/examples';
import { toProblem } from '../src/protocol';
import { ofRow } from '../src/format';
import { firstSettings, keepsBest, ordered, parse, toConfig, toTrials } from '../src/settings';
import { banner, nameOf, software } from '../src/states';
import { startersOf } from '../src/starters';
import { sizeOf } from '../src/traffic';
import { adapterZip, asksWith, loadsWith } from '../src/zip';
import { unzipSync } from 'fflate';
import { RowsReader, Session, defaults } from './fake-engine';

const every: Example[] = [
  pair('Line\nbreak "quoted"', 'émoji 🙂 \u2028 end'),
  { prompt: 'p', completion: 'c' },
  { text: 'plain' },
  { input_ids: [1, 2, 3], labels: [-100, 2, 3] },
  { messages: [{ role: 'system', content: 's' }, { role: 'user', content: 'u' }, { role: 'assistant', content: 'a' }, { role: 'user', content: 'u2' }, { role: 'assistant', content: 'a2' }] },
];

describe('examples', () => {
  it('survive the way to JSONL and back', async () => {
    const text = toJsonl(every.map(row));
    expect(text.trimEnd().split('\n')).toHaveLength(every.length);
    expect(new RowsReader('x', false).read(text)).toEqual({ examples: every, errors: [] });
  });

  it('show as pairs where they are, and keep their shape when edited', () => {
    expect(every.map((example) => view(example).kind)).toEqual(['pair', 'pair', 'text', 'json', 'json']);
    expect(withPart({ prompt: 'p', completion: 'c' }, 'answer', 'x')).toEqual({ prompt: 'p', completion: 'x' });
    const system: Example = { messages: [{ role: 'system', content: 's' }, { role: 'user', content: 'u' }, { role: 'assistant', content: 'a' }] };
    expect(withPart(system, 'question', 'x')).toEqual({ messages: [{ role: 'system', content: 's' }, { role: 'user', content: 'x' }, { role: 'assistant', content: 'a' }] });
    expect(view(system)).toEqual({ kind: 'pair', system: 's', question: 'u', answer: 'a' });
  });

  it('know when nothing was typed', () => {
    expect(isBlank(pair(' ', '\n'))).toBe(true);
    expect(isBlank(pair('a', ''))).toBe(false);
    expect(summary(pair('a\n  b', 'c'))).toBe('a b');
  });

  it('split evenly, the same every time, and never leave nothing to train on', () => {
    const rows = Array.from({ length: 20 }, (_, i) => row(pair(`${i}`, 'x')));
    const { train, held } = split(rows, 0.2);
    expect(held).toHaveLength(4);
    expect(train).toHaveLength(16);
    expect(new Set([...train, ...held]).size).toBe(20);
    expect(split(rows, 0.2).held).toEqual(held);
    expect(split(rows.slice(0, 1), 0.9)).toEqual({ train: rows.slice(0, 1), held: [] });
    expect(split([], 0.2)).toEqual({ train: [], held: [] });
    expect(split(rows, 0).held).toEqual([]);
  });

  it('come in starter sets of unlike, short rows', () => {
    for (const { examples } of startersOf.examples) {
      expect(examples.length).toBeGreaterThanOrEqual(8);
      expect(new Set(examples.map((example) => summary(example))).size).toBe(examples.length);
      for (const example of examples) expect(JSON.stringify(example).length).toBeLessThan(260);
    }
  });
});

describe('what is wrong with a row', () => {
  it('is said without the place that the engine was given it at', () => {
    expect(ofRow('examples, line 1: it has no answer')).toBe('it has no answer');
    expect(ofRow('the device was lost')).toBe('the device was lost');
  });
});

describe('the run config', () => {
  const settings = { ...firstSettings, method: 'prompt', changed: { lora: { r: '8' }, prompt: { max_steps: '12', learning_rate: '1e-2' } } };

  it('holds the method’s own fields, defaults and changes, and nothing of another method', () => {
    const { config, errors } = toConfig(defaults(), settings);
    expect(errors).toEqual({});
    expect(config).toMatchObject({ method: 'prompt', max_steps: 12, learning_rate: 0.01, num_virtual_tokens: 16, packing: true });
    expect(config).not.toHaveProperty('r');
    const lora = toConfig(defaults(), { ...settings, method: 'lora' }).config;
    expect(lora).toMatchObject({ r: 8, learning_rate: 2e-4, max_steps: 40 });
    expect(lora).not.toHaveProperty('num_virtual_tokens');
  });

  it('goes by what is held out, where it keeps the best, a tenth of the run at a time', () => {
    const { config } = toConfig(defaults(), settings);
    const keepingBest = (config: RunConfig) => ordered(config, settings, 3);
    expect(ordered(config, settings, 0)).toBe(config);
    expect(keepingBest({ ...config, eval_steps: 0 })).toEqual({ ...config, eval_steps: 2, load_best_model_at_end: true, early_stopping_patience: 3 });
    expect(keepingBest({ ...config, eval_steps: 5, early_stopping_patience: 1 })).toMatchObject({ eval_steps: 5, early_stopping_patience: 1 });
    expect([settings, { ...settings, teach: 'prompts' } as const, { ...settings, keepBest: false }].map(keepsBest)).toEqual([true, false, false]);
  });

  it('names what cannot be used', () => {
    const typed = { ...settings, changed: { prompt: { max_steps: '1.5', learning_rate: 'fast', num_virtual_tokens: '0' } } };
    expect(toConfig(defaults(), typed).errors).toEqual({
      max_steps: 'Steps is a whole number.',
      learning_rate: 'Learning rate is a number.',
      num_virtual_tokens: 'Virtual tokens is at least 1.',
    });
  });

  it('makes a lab’s runs of each method’s own settings, for the lab’s steps, in the order of the list', () => {
    const lab = { methods: ['prompt', 'lora'], steps: '' };
    const made = toTrials(defaults(), { ...settings, lab });
    expect(made.errors).toEqual([]);
    expect(made.trials.map(({ method }) => method)).toEqual(['lora', 'prompt']);
    expect(made.trials.map(({ config }) => config)).toMatchObject([{ method: 'lora', r: 8, max_steps: 40 }, { method: 'prompt', learning_rate: 0.01, max_steps: 40 }]);
    const short = toTrials(defaults(), { ...settings, lab: { ...lab, steps: '3' } });
    expect(short.trials.map(({ config }) => config.max_steps)).toEqual([3, 3]);
    expect(toTrials(defaults(), { ...settings, lab: { ...lab, steps: 'many' } }).errors).toEqual(['Steps is a number.']);
    const typed = { ...settings, changed: { lora: { r: '0' } }, lab };
    expect(toTrials(defaults(), typed).errors).toEqual(['LoRA: Rank is at least 1.']);
  });

  it('reads lists as one keyword or many names', () => {
    const field = defaults().fields.find(({ name }) => name === 'target_modules')!;
    expect(parse(field, 'all-linear')).toEqual({ value: 'all-linear' });
    expect(parse(field, 'q_proj, v_proj')).toEqual({ value: ['q_proj', 'v_proj'] });
  });
});

describe('problems', () => {
  it('keep the crate’s words, and give others a way out', () => {
    expect(toProblem({ code: 'format', message: 'm', help: 'h' })).toEqual({ code: 'format', message: 'm', help: 'h' });
    expect(toProblem(new Error('unreachable'))).toMatchObject({ code: 'crashed', message: expect.stringContaining('unreachable') });
    expect(toProblem(new DOMException('x', 'AbortError')).code).toBe('crashed');
  });

  it('have a banner with a fix for each state that stops the engine, and none for the others', () => {
    const of = (code: string) => banner({ code, message: 'm', help: 'h' });
    const codes = ['insecure', 'no-webgpu', 'no-adapter', 'limit', 'device-lost', 'out-of-memory', 'crashed'];
    expect(new Set(codes.map((code) => of(code)?.title)).size).toBe(codes.length);
    for (const code of codes) expect(of(code)?.fix).toBeTruthy();
    expect(of('format')).toBeNull();
  });

  it('say how slow software is once that is known', () => {
    const device = { name: 'SwiftShader', backend: 'webgpu', software: true, limits: {}, features: [] };
    expect(software(device, 3.14).body).toContain('3.1 tokens a second');
    expect(software(device, null).body).not.toMatch(/\d/);
  });

  it('do without the name of a device where the browser keeps it', () => {
    const device = { name: '', backend: 'webgpu', software: true, limits: {}, features: [] };
    expect(software(device, null).body).not.toContain('(');
    expect(software({ ...device, name: 'SwiftShader' }, null).body).toContain('(SwiftShader)');
    expect([nameOf(device), nameOf({ ...device, software: false })]).toEqual(['Software', 'GPU']);
  });
});

describe('what leaves and what is taken along', () => {
  it('measures bodies', () => {
    expect(sizeOf('é')).toBe(2);
    expect(sizeOf(new Uint8Array(5))).toBe(5);
    expect(sizeOf(new Blob(['abc']))).toBe(3);
    expect(sizeOf(new URLSearchParams({ a: 'b' }))).toBe(3);
    expect(sizeOf(null)).toBe(0);
  });

  it('names the model class and the command that a scoring adapter needs', () => {
    expect(loadsWith('base', false, false)).toMatch(/^base = AutoModelForCausalLM\.from_pretrained\(\n {4}"base"\)$/m);
    expect(loadsWith('base', true, true)).toMatch(/^base = AutoModelForSequenceClassification\.from_pretrained\(\n {4}"base",\n {4}num_labels=1,\n {4}quantization_config/m);
    expect(asksWith(false, true)).toMatch(/^tunesmith score .*--data preferences\.jsonl$/s);
    expect(asksWith(true, false)).toMatch(/^tunesmith generate .*--load-in-4bit .*--prompt "Hello"$/s);
  });

  it('zips the adapter as it is', async () => {
    const files = (await Session.create()).exportPeft(1).map((file) => ({ ...file, bytes: file.bytes.slice(0, 1000) }));
    const zip = unzipSync(new Uint8Array(await adapterZip(files).arrayBuffer()));
    expect(Object.keys(zip)).toEqual(['adapter_config.json', 'adapter_model.safetensors', 'README.md']);
    expect(zip['adapter_model.safetensors']).toEqual(files[1]!.bytes);
  });
});

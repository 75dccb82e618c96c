import { beforeEach, describe, expect, it, vi } from 'vitest';
import { zipSync } from 'fflate';
import type { Adapter } from '../src/engine';
import { noRun } from '../src/run';
import * as store from '../src/store';
import { readAdapter } from '../src/worker/adapters';
import { pace } from './fake-engine';
import { failures, gguf, reopen, session, tick } from './fake-session';
import { put } from './fake-rows';

Object.assign(pace, { step: 0, token: 0, load: 0 });

vi.mock('../src/actions/session', () => import('./fake-session'));

const { addAdapter, followAdapters, removeAdapter, useAdapter } = await import('../src/actions/adapters');
const { loadFiles } = await import('../src/actions/model');

const text = (words: string) => new TextEncoder().encode(words);
const LORA = '{"peft_type":"LORA"}';
const zip = (name: string, files: Record<string, string>) => new File([zipSync(Object.fromEntries(Object.entries(files).map(([path, words]) => [path, text(words)])))], name);
const adapterZip = (name: string, config = LORA) => zip(name, { 'adapter_config.json': config, 'adapter_model.safetensors': 'tensors' });
const names = () => store.adapters.value.map(store.adapterLabel);
const chosen = () => store.adapter.value && store.adapterLabel(store.adapter.value);

async function train(): Promise<void> {
  store.run.value = { ...noRun, state: 'starting' };
  await session.startTraining({ method: 'lora', max_steps: 1, learning_rate: 1e-3 }, put(session, [{ text: 'a' }]), new Uint32Array(), {});
  store.run.value = { ...noRun, state: 'running' };
  await tick();
  await session.step();
  store.run.value = { ...noRun, state: 'done' };
  await tick();
}

followAdapters();

beforeEach(async () => {
  await reopen();
  await loadFiles(gguf('a.F16.gguf'));
  await tick();
});

describe('the files of an adapter', () => {
  const read = async (...files: File[]) => {
    const { name, config, tensors } = await readAdapter(files);
    return [name, new TextDecoder().decode(config), new TextDecoder().decode(tensors)];
  };

  it('are found in a zip, in whatever folder, and taken as two files', async () => {
    expect(await read(adapterZip('mine.zip'))).toEqual(['mine.zip', LORA, 'tensors']);
    const deep = { 'out/adapter_config.json': LORA, 'out/adapter_model.safetensors': 't', 'out/README.md': '' };
    expect(await read(zip('deep.zip', deep))).toEqual(['deep.zip', LORA, 't']);
    const two = [new File(['t'], 'adapter_model (1).safetensors'), new File([LORA], 'adapter_config (1).json')];
    expect(await read(...two)).toEqual(['adapter_model (1).safetensors', LORA, 't']);
  });

  it('are told by name where one is missing, there twice or damaged', async () => {
    const fails = (what: string, ...files: File[]) => expect(readAdapter(files)).rejects.toMatchObject({ code: 'adapter', message: expect.stringContaining(what), help: expect.stringMatching(/^(give|download)/) });
    await fails('a.zip: there is no adapter_model.safetensors', zip('a.zip', { 'adapter_config.json': LORA }));
    await fails('x.safetensors: there is no adapter_config.json', new File(['t'], 'x.safetensors'));
    await fails('2 files called adapter_config.json', zip('b.zip', { 'a/adapter_config.json': '', 'b/adapter_config.json': '', 'a/adapter_model.safetensors': '' }));
    await fails('c.zip: this is no whole zip', new File(['not a zip'], 'c.zip'));
  });
});

describe('the adapters that are kept', () => {
  it('are those of runs and of files, and the newest is chosen', async () => {
    expect([names(), chosen()]).toEqual([[], null]);
    await train();
    expect(chosen()).toMatch(/^LoRA, \d\d:\d\d:\d\d$/);
    await addAdapter([adapterZip('mine.zip')]);
    expect(chosen()).toBe('mine.zip');
    expect(names()).toHaveLength(2);
  });

  it('answer when they are chosen; another’s answer goes', async () => {
    await addAdapter([adapterZip('a.zip')]);
    await addAdapter([adapterZip('b.zip')]);
    store.answers.value = { ...store.answers.value, tuned: { ...store.noAnswer, state: 'done', text: 'of b' } };
    useAdapter(store.adapters.value[0]!);
    expect(chosen()).toBe('a.zip');
    expect(store.answers.value.tuned.text).toBe('');
  });

  it('stay chosen when another goes, and leave the newest when they go themselves', async () => {
    for (const name of ['a.zip', 'b.zip', 'c.zip']) await addAdapter([adapterZip(name)]);
    const [a, b, c] = store.adapters.value as [Adapter, Adapter, Adapter];
    useAdapter(a);
    await removeAdapter(b);
    expect(chosen()).toBe('a.zip');
    await removeAdapter(a);
    expect(chosen()).toBe('c.zip');
    await removeAdapter(c);
    expect(chosen()).toBeNull();
  });

  it('are as they were when one cannot be read', async () => {
    await addAdapter([adapterZip('a.zip')]);
    await addAdapter([adapterZip('b.zip', '{}')]);
    expect([names(), chosen()]).toEqual([['a.zip'], 'a.zip']);
    expect(failures).toMatchObject([{ code: 'adapter', message: 'b.zip/adapter_config.json: peft_type is missing' }]);
  });

  it('go with their model, and not with one that could not be loaded', async () => {
    for (const name of ['a.zip', 'b.zip']) await addAdapter([adapterZip(name)]);
    useAdapter(store.adapters.value[0]!);
    await loadFiles({ files: [new File(['text'], 'no-model.gguf')], folder: null });
    await tick();
    expect([names(), chosen()]).toEqual([['a.zip', 'b.zip'], 'a.zip']);
    await loadFiles(gguf('other.gguf'));
    await tick();
    expect([names(), chosen()]).toEqual([[], null]);
  });
});

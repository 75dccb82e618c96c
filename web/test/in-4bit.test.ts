import { beforeEach, describe, expect, it, vi } from 'vitest';
import * as store from '../src/store';
import { pace } from './fake-engine';
import { failures, gguf, reopen } from './fake-session';

Object.assign(pace, { load: 0 });
vi.mock('../src/actions/session', () => import('./fake-session'));

const { loadFiles, loadRefused, reload } = await import('../src/actions/model');

beforeEach(async () => {
  await reopen();
  await loadFiles(gguf('a.F16.gguf'));
});

describe('a model in 4 bits', () => {
  const held = () => store.model.value.state === 'ready' && store.model.value.info.load_in_4bit;

  it('is held so where the person wants it, and the other way round at a press', async () => {
    store.in4bit.value = true;
    await loadFiles(gguf('b.F16.gguf'));
    expect([held(), failures]).toEqual([true, []]);
    await reload(false);
    expect([held(), store.in4bit.value]).toEqual([false, false]);
    await reload(true);
    expect(held()).toBe(true);
  });

  it('gives LoRA its name', async () => {
    expect(store.labelOf('lora')).toBe('LoRA');
    await reload(true);
    expect([store.labelOf('lora'), store.labelOf('ia3')]).toEqual(['QLoRA', 'IA3']);
    store.lab.value = { ...store.lab.value, names: { lora: store.labelOf('lora') } };
    await reload(false);
    expect([store.labelOf('lora'), store.trialLabel('lora'), store.trialLabel('ia3')]).toEqual(['LoRA', 'QLoRA', 'IA3']);
  });

  it('leaves a method out that cannot be had over it', async () => {
    store.sizes.value = { full: { code: 'config', message: 'no', help: 'no' }, lora: { trainable: 1, file_bytes: 4 } };
    expect(store.possible.value.map(({ id }) => id)).toEqual(['lora', 'ia3', 'prompt']);
  });

  it('cannot be made of quantized weights: the model before stays, and the file may be loaded as it is', async () => {
    store.in4bit.value = true;
    await loadFiles(gguf('c.gguf'));
    expect(store.refused.value).toMatchObject({ model: { name: 'c.gguf' }, problem: { code: 'config' } });
    expect(store.model.value).toMatchObject({ state: 'ready', info: { name: 'a.F16.gguf' } });
    await loadRefused();
    expect(store.model.value).toMatchObject({ state: 'ready', info: { name: 'c.gguf', load_in_4bit: false } });
    expect([store.refused.value, store.in4bit.value, failures]).toEqual([null, false, []]);
  });

  it('calls its setting by the name that it has on the page', () => {
    expect(store.inWords('load_in_4bit: no')).toBe('“Hold in 4 bits (QLoRA)”: no');
  });
});

// What the made-up engine writes of a run, and reads: the files that the page looks at, and none of the numbers.

import type { Event, RunConfig, RunStore, RunSummary } from '../src/engine';

const bytes = (value: unknown) => new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));
const read = async (store: RunStore, path: string) => {
  const found = await store.read(path);
  return found && new TextDecoder().decode(found);
};

export async function begin(store: RunStore, config: RunConfig, model: { name: string; hash: string }, about: Record<string, unknown>): Promise<void> {
  await store.write('metrics.jsonl', bytes(''));
  await store.write('record.json', bytes({ version: 1, begun: Date.now(), model: { ...model, file: `${model.name}.gguf`, load_in_4bit: false }, trainable: 4884480, ...about }));
  await store.write('run.json', bytes(config));
}

export async function append(store: RunStore, events: Event[]): Promise<void> {
  const measured = events.filter(({ event }) => event === 'step' || event === 'eval');
  if (measured.length) await store.append('metrics.jsonl', bytes(measured.map((event) => `${JSON.stringify(event)}\n`).join('')));
}

const steps = async (store: RunStore) =>
  (await store.entries()).flatMap((name) => (/^checkpoint-\d+$/.test(name) ? [Number(name.slice(11))] : [])).sort((one, other) => one - other);

export async function checkpoint(store: RunStore, step: number): Promise<void> {
  const draft = await store.openFolder(`checkpoint-${step}`);
  try {
    // In two parts, as a large file comes.
    for (const part of ['{ "step": ', `${step} }`]) await draft.write('progress.json', bytes(part));
    await draft.close();
  } catch (thrown) {
    await draft.abort();
    throw thrown;
  }
  for (const old of (await steps(store)).slice(0, -2)) await store.removeFolder(`checkpoint-${old}`);
}

/** `stopped`: the step that it was stopped at, if it did not come to its end. */
export async function end(store: RunStore, stopped: number | null): Promise<void> {
  await store.write('adapter_model.safetensors', bytes('weights'));
  if (stopped !== null) return checkpoint(store, stopped);
  for (const old of await steps(store)) await store.removeFolder(`checkpoint-${old}`);
}

/** The place of a run that is kept. */
export async function takeUp(store: RunStore): Promise<{ config: RunConfig; step: number; events: Event[] }> {
  const config = JSON.parse((await read(store, 'run.json'))!) as RunConfig;
  const step = (await steps(store)).at(-1) ?? 0;
  const lines = ((await read(store, 'metrics.jsonl')) ?? '').split('\n').filter(Boolean);
  const events = lines.map((line) => JSON.parse(line) as Extract<Event, { event: 'step' }>).filter((event) => event.step <= step);
  await store.write('metrics.jsonl', bytes(events.map((event) => `${JSON.stringify(event)}\n`).join('')));
  return { config, step, events };
}

export async function runSummary(store: RunStore): Promise<RunSummary | null> {
  const settings = await read(store, 'run.json');
  if (settings === null) return null;
  const config = JSON.parse(settings) as RunConfig;
  const events = ((await read(store, 'metrics.jsonl')) ?? '')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Extract<Event, { event: 'step' | 'eval' }>);
  const told = events.filter(({ event }) => event === 'step');
  const best = events.filter(({ event, loss }) => event === 'eval' && loss !== null).sort((one, other) => one.loss! - other.loss!)[0];
  const about = JSON.parse((await read(store, 'record.json')) ?? 'null') as RunSummary['about'];
  return {
    base: about?.model.name ?? '', method: String(config.method ?? 'lora'), steps: told.at(-1)?.step ?? 0, checkpoint: (await steps(store)).at(-1) ?? null, loss: told.at(-1)?.loss ?? null,
    best: best ? [best.step, best.loss!] : null, done: (await store.entries()).includes('adapter_model.safetensors'), bytes: await store.bytes(), config, about,
  };
}

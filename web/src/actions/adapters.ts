import { batch, computed, effect, untracked } from '@preact/signals';
import type { Adapter } from '../engine';
import { toProblem } from '../protocol';
import { adapter, adapterId, adapterLabel, adapters, announcement, merging, model, outtype, run, startOver } from '../store';
import { adapterZip } from '../zip';
import { download } from './download';
import { attempt, engine, fail } from './session';

/** Takes over the engine's list; what is new in it is chosen. */
export function take(list: Adapter[]): void {
  const newest = list.at(-1);
  const isNew = newest && !adapters.value.some(({ id }) => id === newest.id);
  batch(() => {
    adapters.value = list;
    if (isNew || !adapter.value) choose(newest?.id ?? null);
  });
}

export function choose(id: number | null): void {
  if (id === adapterId.value) return;
  adapterId.value = id;
  // What another one said is no part of its conversation.
  startOver('tuned');
}

/** Keeps the list in step with the model and the run: a run's adapter is there after its first step. */
export function followAdapters(): void {
  // A pause may stand in the middle of a step, which a question to the engine would end.
  const training = computed(() => (run.value.state === 'paused' ? 'running' : run.value.state));
  effect(() => {
    const { state } = model.value;
    if (state === 'none') untracked(() => take([]));
    if (state !== 'ready' || training.value === 'starting') return;
    engine()
      .ask('adapters', {})
      .then(take)
      .catch((thrown: unknown) => fail(toProblem(thrown)));
  });
}

export function useAdapter(chosen: Adapter): void {
  choose(chosen.id);
  announcement.value = `${adapterLabel(chosen)} is chosen.`;
}

export const addAdapter = (files: File[]) =>
  attempt(async () => {
    take(await engine().ask('addAdapter', { files }));
    if (adapter.value) announcement.value = `${adapterLabel(adapter.value)} is loaded.`;
  });

export const removeAdapter = (removed: Adapter) =>
  attempt(async () => {
    take(await engine().ask('removeAdapter', { id: removed.id }));
    announcement.value = `${adapterLabel(removed)} was removed.`;
  });

export const exportPeft = ({ id }: Adapter) =>
  attempt(async () => {
    download('tunesmith-adapter.zip', adapterZip(await engine().ask('exportPeft', { id })));
    announcement.value = 'The adapter was downloaded.';
  });

export const exportRun = ({ config }: Adapter) => download('run.json', new Blob([`${JSON.stringify(config, null, 2)}\n`], { type: 'application/json' }));

/** The model with the adapter merged in, as one file. */
export const exportGguf = ({ id }: Adapter) =>
  attempt(async () => {
    merging.value = { done: 0, total: 0 };
    try {
      const merged = await engine().ask('mergeGguf', { id, outtype: outtype.value });
      download(`tunesmith-merged.${outtype.value}.gguf`, merged);
      announcement.value = 'The merged model was downloaded.';
    } finally {
      merging.value = null;
    }
  });

export const stopMerging = () => attempt(() => engine().ask('cancelMerge', {}));

// Everything the screen shows, as signals. Actions (src/actions) change them; components read them.

import { computed, signal } from '@preact/signals';
import type { Defaults, Device, Estimate, ImportError, Preview, Problem } from './engine';
import { isBlank, type Row } from './examples';
import type { KeptModel, LoadPhase, Loaded, Manifest } from './protocol';
import { isBusy, noRun, type Run } from './run';
import { toConfig, type Settings } from './settings';

export type DeviceState =
  | { state: 'starting' }
  | { state: 'ready'; device: Device }
  | { state: 'blocked'; problem: Problem };

export type ModelState =
  | { state: 'none' }
  | { state: 'loading'; name: string; phase: LoadPhase; done: number; total: number }
  | ({ state: 'ready'; sha256: string | null } & Loaded);

export type AnswerState = 'idle' | 'waiting' | 'running' | 'done' | 'failed';

export interface Answer {
  state: AnswerState;
  text: string;
  note: string;
}

export const noAnswer: Answer = { state: 'idle', text: '', note: '' };

export const device = signal<DeviceState>({ state: 'starting' });
export const defaults = signal<Defaults | null>(null);

/** The latest failure of something the person asked for. */
export const problem = signal<Problem | null>(null);

/** What a screen reader is told; changes rarely. */
export const announcement = signal('');

/** The default model of this server, once asked for. */
export const offer = signal<{ manifest: Manifest; kept: KeptModel | null } | { problem: Problem } | null>(null);
export const model = signal<ModelState>({ state: 'none' });

export const rows = signal<Row[]>([]);
/** Earlier versions of the table, each with the words for going back to it. */
export const past = signal<{ rows: Row[]; what: string }[]>([]);
/** The starter set the table holds, as long as nothing in it was changed. */
export const starter = signal<string | null>(null);
export const importErrors = signal<{ name: string; added: number; errors: ImportError[] } | null>(null);
/** Rows the check before a run refused. */
export const rowErrors = signal<{ row: Row; problem: Problem }[] | null>(null);

export const selected = signal<number | null>(null);
export const preview = signal<{ row: number; preview: Preview } | { row: number; problem: Problem } | null>(null);

export const settings = signal<Settings>({ method: 'lora', changed: {}, holdOut: 0 });
export const speeds = signal<Record<string, number>>({});

export const run = signal<Run>(noRun);
/** How far the trying of kernels is, before the first run on a device. */
export const tuning = signal<{ done: number; all: number } | null>(null);
/** What the run as it is set needs on the GPU; null while that is not known. */
export const estimate = signal<Estimate | null>(null);
/** What the last check said of the examples in the run. */
export const dataset = signal<{ examples: number; held: number; tokens: number; targets: number; truncated: number } | null>(null);
/** The adapter's files, once a run has ended. */
export const adapter = signal<{ bytes: number; base: string } | null>(null);

export const question = signal('');
export const answerSettings = signal({ maxNewTokens: 64, temperature: 0, seed: 0 });
export const answers = signal<{ base: Answer; tuned: Answer }>({ base: noAnswer, tuned: noAnswer });
export const asking = signal(false);

/** Requests by host, and bytes handed to the network, of the page and its worker. */
export const traffic = signal<{ hosts: Record<string, { requests: number; bytes: number }>; sent: number; blocked: number }>({
  hosts: {},
  sent: 0,
  blocked: 0,
});

export const filled = computed(() => rows.value.filter(({ example }) => !isBlank(example)));

export const form = computed(() => (defaults.value ? toConfig(defaults.value, settings.value) : null));

export const busy = computed(() => isBusy(run.value.state));

/** Whether there is something trained to compare and to export. */
export const tuned = computed(() => run.value.points.length > 0 && run.value.state !== 'failed' && run.value.state !== 'idle');

/** Why Train cannot be pressed, or null. */
export const whyNotTrain = computed<string | null>(() => {
  if (device.value.state === 'blocked') return 'The engine is not running: see the note at the top.';
  if (model.value.state === 'loading') return 'The model is still loading.';
  if (model.value.state === 'none') return 'Load a model first (step 1).';
  if (filled.value.length === 0) return 'Add at least one example (step 2).';
  if (importErrors.value?.errors.length) return 'Look at the lines that could not be read (step 2).';
  const errors = Object.values(form.value?.errors ?? {});
  return errors[0] ?? null;
});

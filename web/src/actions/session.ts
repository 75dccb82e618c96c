// Starts and restarts the engine's worker, and folds what it says into the store.

import { batch } from '@preact/signals';
import { Client } from '../client';
import type { Event, Problem } from '../engine';
import { toProblem, type Notice, type RequestRecord } from '../protocol';
import { fold, noLab } from '../lab';
import { reduce, tokensPerSecond } from '../run';
import { DPO, GRPO } from '../settings';
import { banner, nameOf } from '../states';
import { announcement, beginFromId, copying, device, lab, merging, model, objectives, offer, ownModels, problem, reading, run, settings, speeds, told, traffic, tuning, wanted } from '../store';
import { noRun } from '../run';

declare global {
  interface Window {
    /** The events of every run since the page was opened, the latest of them where they are very many. */
    tunesmithEvents: Event[];
  }
}

let client: Client | null = null;

/** The worker. Started on first use. */
export function engine(): Client {
  client ??= new Client(hear, fail);
  return client;
}

/** Text of an answer as it comes in, by request. */
export const listeners = new Map<number, (piece: string, answer: number) => void>();

/** Rows of a file as they are read, by request. */
export const pieces = new Map<number, (piece: Extract<Notice, { notice: 'imported' }>) => void>();

/** Starts the engine, or says why it cannot run here. */
export async function open(): Promise<void> {
  device.value = { state: 'starting' };
  try {
    if (!isSecureContext) throw { code: 'insecure', message: 'not a secure context', help: '' } satisfies Problem;
    const opened = await engine().ask('open', {});
    batch(() => {
      told.value = opened.defaults;
      objectives.value = opened.objectives;
      device.value = { state: 'ready', device: opened.device };
      const known = opened.defaults.methods.some(({ id }) => id === settings.value.method);
      if (!known) settings.value = { ...settings.value, method: opened.defaults.methods[0]?.id ?? 'lora' };
      if (!opened.objectives.some(({ name }) => name === settings.value.prefer)) settings.value = { ...settings.value, prefer: DPO };
      if (!opened.objectives.some(({ name }) => name === settings.value.reinforce)) settings.value = { ...settings.value, reinforce: GRPO };
    });
  } catch (thrown) {
    fail(toProblem(thrown));
  }
  await askForOffer();
  await askForOwnModels();
}

/** Asks which of the person's own files are kept here. */
async function askForOwnModels(): Promise<void> {
  // Where there is no storage there are none.
  ownModels.value = await engine()
    .ask('ownModels', {})
    .catch(() => []);
}

/** Asks what the server offers, and how much of it is kept here. */
export async function askForOffer(): Promise<void> {
  if (!isSecureContext) return;
  try {
    offer.value = await engine().ask('manifest', {});
  } catch (thrown) {
    offer.value = { problem: toProblem(thrown) };
  }
}

/** A new worker with a new device. What was loaded and trained in the old one is gone. */
export async function restart(): Promise<void> {
  client?.close();
  client = null;
  batch(() => {
    model.value = { state: 'none' };
    run.value = noRun;
    // Rows that came are kept: they are numbers, and need no device.
    lab.value = lab.value.outcomes.length ? { ...lab.value, state: 'done', current: null } : noLab;
    problem.value = null;
    // Adapters are numbered anew.
    beginFromId.value = null;
  });
  await open();
}

/** Says whether it does something about a failure, which is then not shown. */
let mend: (failure: Problem) => boolean = () => false;

/** Asks somebody first whether a failure can be mended. */
export const mendWith = (one: typeof mend): void => void (mend = one);

/** Shows a failure where it belongs: those that stop the engine at the top, the others beside it. */
export function fail(failure: Problem): void {
  if (failure.code === 'cancelled' || failure.code === 'closed' || mend(failure)) return;
  const words = banner(failure);
  const stops = words !== null && failure.code !== 'limit';
  if (stops) device.value = { state: 'blocked', problem: failure };
  else problem.value = failure;
}

/** Runs an action and shows its failure. */
export async function attempt(action: () => Promise<void>): Promise<void> {
  problem.value = null;
  try {
    await action();
  } catch (thrown) {
    fail(toProblem(thrown));
  }
}

function hear(notice: Notice): void {
  switch (notice.notice) {
    case 'progress': {
      const current = model.value;
      if (current.state === 'loading') model.value = { ...current, phase: notice.phase, done: notice.done, total: notice.total };
      return;
    }
    case 'events':
      window.tunesmithEvents = [...(window.tunesmithEvents ?? []), ...notice.events].slice(-EVENTS);
      pending.push({ events: notice.events, active: notice.active });
      return schedule();
    case 'run':
      flush();
      tuning.value = null;
      if (notice.state !== 'running') wanted.value = null;
      return onRunState(notice);
    case 'lab':
      tuning.value = null;
      if (notice.state !== 'running') wanted.value = null;
      batch(() => {
        lab.value = fold(lab.value, notice);
        announcement.value = labSaid[notice.state] ?? announcement.value;
        if (notice.problem) fail(notice.problem);
      });
      return;
    case 'trial':
    case 'trialFailed':
      tuning.value = null;
      lab.value = fold(lab.value, notice);
      return;
    case 'tune':
      tuning.value = { done: notice.done, all: notice.all };
      return;
    case 'merge':
      merging.value = { done: notice.done, total: notice.total };
      return;
    case 'copying':
      copying.value = { done: notice.done, total: notice.total };
      return;
    case 'imported':
      return pieces.get(notice.request)?.(notice);
    case 'reading':
      reading.value = notice.done < notice.total ? { done: notice.done, total: notice.total } : null;
      return;
    case 'lost':
      return fail({ code: 'device-lost', message: 'the device was lost', help: '' });
    case 'text':
      return listeners.get(notice.request)?.(notice.piece, notice.answer);
    case 'traffic':
      return addTraffic('worker', notice.requests, notice.sent);
  }
}

const EVENTS = 20_000;

// Events are shown at most four times a second: the page must not compete with the GPU.
const EVERY = 250;
let pending: { events: Event[]; active: number }[] = [];
let timer: ReturnType<typeof setTimeout> | null = null;

function schedule(): void {
  timer ??= setTimeout(flush, EVERY);
}

function flush(): void {
  if (timer) clearTimeout(timer);
  timer = null;
  const batches = pending;
  pending = [];
  if (batches.length) run.value = batches.reduce((current, { events, active }) => reduce(current, events, active), run.value);
}

const said: Partial<Record<string, string>> = {
  running: 'Training.',
  paused: 'Training is paused.',
  done: 'Training is done. You can compare answers and download the adapter.',
  failed: 'Training failed.',
};

const labSaid: Partial<Record<string, string>> = {
  running: 'The lab is going.',
  paused: 'The lab is paused.',
  done: 'The lab is done. Its table is in step 3.',
  failed: 'The lab failed. The rows that came are kept.',
};

function onRunState({ state, problem: failure }: Extract<Notice, { notice: 'run' }>): void {
  batch(() => {
    run.value = { ...run.value, state, problem: failure };
    announcement.value = said[state] ?? announcement.value;
    if (failure) fail(failure);
    const measured = tokensPerSecond(run.value);
    if (device.value.state === 'ready' && measured !== null && state !== 'starting') {
      speeds.value = { ...speeds.value, [nameOf(device.value.device)]: measured };
    }
  });
}

const sentBy = new Map<string, number>();

/** Adds what one scope (the page, the worker) said over the network. */
export function addTraffic(scope: string, requests: RequestRecord[], sent: number): void {
  sentBy.set(scope, sent);
  const hosts = { ...traffic.value.hosts };
  for (const { url, bytes } of requests) {
    const { host } = new URL(url);
    const before = hosts[host] ?? { requests: 0, bytes: 0 };
    hosts[host] = { requests: before.requests + 1, bytes: before.bytes + bytes };
  }
  traffic.value = { ...traffic.value, hosts, sent: [...sentBy.values()].reduce((a, b) => a + b, 0) };
}

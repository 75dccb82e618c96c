// The dedicated worker: owns the wasm module and the GPU, answers the page's requests.

import init, { Session, Sha256, defaults, objectives } from 'tunesmith-engine';
import { toProblem, type FromWorker, type Loaded, type Manifest, type RequestName, type Requests, type RowReport, type ToWorker } from '../protocol';
import type { Example, LoadOptions, NamedFile, Problem, RunConfig, RunTools } from '../engine';
import { watchTraffic } from '../traffic';
import { readAdapter } from './adapters';
import { cancelled, fetchModel, forgetModel, keptModel } from './models';
import { Mutex } from './mutex';
import { OwnFunction } from './own-function';
import { clearOpfs, openSpill, opfs, type SpillFile } from './opfs';
import { Records } from './records';
import { RunFolders } from './run-store';
import { Runner, type TrainingLock } from './runner';
import { Training, type Order } from './training';
import { Trials } from './trials';

const post = (message: FromWorker, transfer: Transferable[] = []) => self.postMessage(message, { transfer });
watchTraffic((requests, sent) => post({ notice: 'traffic', requests, sent }));

const engine = new Mutex();
const store = opfs();
let session: Session | null = null;
let spill: SpillFile | null = null;
let loading = new AbortController();
let answering = { stop: false };
let merging = { stop: false };
const stopped: Problem = { code: 'cancelled', message: 'Merging was stopped.', help: 'Nothing was kept of it.' };

/** The models' addresses, from the page's own: the worker's script lies a folder deeper. */
const base = new URL(import.meta.env.DEV ? '/' : '../', self.location.href);

const lock: TrainingLock = () =>
  new Promise((got, failed) => {
    navigator.locks
      .request('tunesmith-training', { ifAvailable: true }, (held) => {
        if (!held) return got(null);
        return new Promise<void>((release) => got(release));
      })
      .catch(failed);
  });

const runner = new Runner(engine, lock);
/** What the lock of a run begins with, that is held while it goes. */
const GOING = 'tunesmith-run:';

async function going(): Promise<Set<string>> {
  const { held = [] } = await navigator.locks.query();
  return new Set(held.flatMap(({ name }) => (name?.startsWith(GOING) ? [name.slice(GOING.length)] : [])));
}

const records = new Records(RunFolders.open(), going);
let training: Training | null = null;

let opening: Promise<unknown> = Promise.resolve();

/** The session, once it has been started, or the reason why there is none. */
async function need(): Promise<Session> {
  await opening.catch(() => undefined);
  if (session) return session;
  throw { code: 'no-session', message: 'The engine has not started.', help: 'See the note at the top of the page.' } satisfies Problem;
}

/** Runs a job on the session when nothing else does. */
async function withSession<T>(job: (session: Session) => T | Promise<T>): Promise<T> {
  const session = await need();
  return engine.run(() => job(session));
}

/** At most four a second, and the last one always. */
function fourPerSecond(say: (done: number, total: number) => void): (done: number, total: number) => void {
  let last = -Infinity;
  return (done, total) => {
    const now = performance.now();
    if (done < total && now - last < 250) return;
    last = now;
    say(done, total);
  };
}

function progress(phase: 'check' | 'download' | 'load') {
  return fourPerSecond((done, total) => post({ notice: 'progress', phase, done, total }));
}

/** A model's file. */
interface ModelFile {
  name: string;
  blob: Blob;
  where: Loaded['where'];
}

/** That of the model that is loaded. */
let current: ModelFile | null = null;

async function load(file: ModelFile, options: LoadOptions, note: Problem | null = null): Promise<Loaded> {
  const { signal } = loading;
  const say = progress('load');
  const listen = (done: number, total: number) => {
    if (signal.aborted) throw cancelled;
    say(done, total);
  };
  const info = await withSession((session) => session.load(file.name, file.blob, listen, options));
  current = file;
  return { info, where: file.where, note };
}

/** What was found to be the fastest on this device. */
const FORMS = 'forms.json';

/** Keeps it for the next visit when it is news; where that fails, it is found again. */
async function keepForms(known: string): Promise<void> {
  const found = await withSession((session) => session.forms());
  if (found !== known) await store.then((files) => files?.writeText(FORMS, found)).catch(() => undefined);
}

/** Begins a run, or takes one up again, with the tools that any run needs; gives the id that it is kept under, if it is. */
async function begin(ownFunction: string | null, saveSteps: number, begin: Order['begin']): Promise<string | null> {
  const session = await need();
  const known = await withSession((session) => session.forms());
  spill ??= await openSpill();
  const own = ownFunction === null ? null : new OwnFunction(ownFunction);
  const tools: RunTools = { ...(spill && { spill }), ...(own && { judge: own.judge }) };
  const begun = new Training(session, { begin, tools, saveSteps }, post);
  try {
    await runner.start(begun);
    training = begun;
    if (begun.keptAs !== null) void navigator.locks.request(GOING + begun.keptAs, () => runner.finished);
  } catch (thrown) {
    own?.close();
    throw thrown;
  }
  void runner.finished.then(() => {
    training = null;
    spill?.clear();
    own?.close();
  });
  void keepForms(known);
  return begun.keptAs;
}

const handlers: { [N in RequestName]: (args: Requests[N]['args'], id: number) => Requests[N]['result'] | Promise<Requests[N]['result']> } = {
  open() {
    const started = start();
    opening = started;
    return started;
  },

  async manifest() {
    const manifest = await readManifest();
    const files = await store;
    const kept = files && (await keptModel(files, manifest.file));
    return {
      manifest,
      kept: kept && { file: manifest.file, bytes: kept.bytes, complete: kept.sha256 === manifest.sha256 },
    };
  },

  async loadDefault({ manifest }) {
    await need();
    loading = new AbortController();
    const phases = { check: progress('check'), download: progress('download'), load: progress('load') };
    const { blob, kept, note } = await fetchModel({
      manifest,
      url: new URL(`models/${manifest.file}`, base).href,
      store: await store,
      hasher: () => new Sha256(),
      fetch: (url, options) => fetch(url, options),
      progress: (phase, done, total) => phases[phase](done, total),
      signal: loading.signal,
    });
    if (loading.signal.aborted) throw cancelled;
    return load({ name: manifest.name, blob, where: kept ? 'kept' : 'memory' }, {}, note);
  },

  loadFile({ file, options }) {
    loading = new AbortController();
    return load({ name: file.name, blob: file, where: 'file' }, options);
  },

  reload({ options }) {
    if (!current) throw { code: 'no-model', message: 'No model is loaded.', help: 'Load one first.' } satisfies Problem;
    loading = new AbortController();
    return load(current, options);
  },

  cancelLoad: () => loading.abort(),

  async deleteModel({ file }) {
    const files = await store;
    if (files) await forgetModel(files, file);
  },

  import: ({ name, text }) => withSession((session) => session.import(name, text)),

  importPrompts: ({ name, text }) => withSession((session) => session.importPrompts(name, text)),

  async judge({ config, row, answers, ownFunction }) {
    const own = ownFunction === null ? null : new OwnFunction(ownFunction);
    try {
      return await withSession((session) => session.judge(config, row, answers, own?.judge));
    } finally {
      own?.close();
    }
  },

  preview: ({ example, config }) => withSession((session) => session.preview(example, config)),

  check: ({ examples, config }) => withSession((session) => examples.map((example) => report(session, example, config))),

  estimate: ({ config, examples, evalExamples }) => withSession((session) => session.estimate(config, examples, evalExamples)),

  size: ({ config }) => withSession((session) => session.size(config)),

  async start({ config, examples, evalExamples, notes }) {
    return begin(notes.ownFunction ?? null, Number(config.save_steps) || 0, async (session, tools) => {
      const { folder, rows, problem } = await records.create(examples, evalExamples);
      try {
        const events = await session.startTraining(config, examples, evalExamples, { ...tools, ...(folder && { store: folder }), about: { notes, ...(rows && { rows }) } });
        return { events: problem ? [...events, { event: 'warning', code: 'not-kept', message: problem }] : events, keptAs: folder?.name ?? null };
      } catch (thrown) {
        if (folder) await records.remove(folder.name);
        throw thrown;
      }
    });
  },

  runs: () => records.list(),
  openRun: ({ id }) => records.open(id),

  async continueRun({ id }) {
    const { summary, notes } = await records.one(id);
    await begin(notes.ownFunction ?? null, Number(summary.config.save_steps) || 0, async (session, tools) => {
      const { examples, evalExamples } = await records.open(id);
      const store = await records.folder(id);
      const events = await session.resumeTraining(examples, evalExamples, { ...tools, store });
      const at = summary.checkpoint;
      return { events: at === null ? events : [...events, { event: 'checkpoint', step: at }], keptAs: id };
    });
  },

  useRun: ({ id }) =>
    withSession(async (session) => {
      await session.adapterOfRun(await records.folder(id));
      return session.adapters();
    }),

  noteRun: ({ id, notes }) => records.note(id, notes),
  removeRun: ({ id }) => records.remove(id),
  exportRun: ({ id }) => records.files(id),
  importRun: ({ file }) => withSession((session) => records.import(file, session)),
  keepSoon: () => training?.keepSoon(),

  async startLab(order) {
    const session = await need();
    const known = await withSession((session) => session.forms());
    await runner.start(new Trials(session, order, post));
    void runner.finished.then(() => keepForms(known));
  },

  pause: () => runner.pause(),
  resume: () => runner.resume(),
  stop: () => runner.stop(),

  generate({ messages, options }, id) {
    const mine = (answering = { stop: false });
    return withSession((session) =>
      session.generate(messages, options, (piece, answer) => {
        post({ notice: 'text', request: id, answer, piece });
        return !mine.stop;
      }),
    );
  },
  cancelGenerate: () => {
    answering.stop = true;
  },

  adapters: () => withSession((session) => session.adapters()),

  async addAdapter({ files }) {
    const { name, config, tensors } = await readAdapter(files);
    return withSession(async (session) => {
      await session.addAdapter(name, config, tensors);
      return session.adapters();
    });
  },

  removeAdapter: ({ id }) =>
    withSession((session) => {
      session.removeAdapter(id);
      return session.adapters();
    }),

  agreement: ({ adapter, rows }) => withSession((session) => session.agreement(adapter, rows)),

  neutralLoss: ({ adapter }) => withSession((session) => session.neutralLoss(adapter)),

  exportPeft: ({ id }) => withSession((session) => session.exportPeft(id)),

  async mergeGguf({ id, outtype }) {
    const mine = (merging = { stop: false });
    const say = fourPerSecond((done, total) => post({ notice: 'merge', done, total }));
    const pieces: Blob[] = [];
    const take = (bytes: Uint8Array<ArrayBuffer>, done: number, total: number) => {
      if (mine.stop) throw stopped;
      // The bytes of a blob are the browser's to keep, on its disk where they are many.
      pieces.push(new Blob([bytes]));
      say(done, total);
    };
    try {
      await withSession((session) => session.mergeGguf(id, outtype, take));
    } catch (thrown) {
      throw mine.stop ? stopped : thrown;
    }
    return new Blob(pieces);
  },
  cancelMerge: () => {
    merging.stop = true;
  },

  async forget() {
    runner.stop();
    await runner.finished;
    spill?.close();
    spill = null;
    await clearOpfs();
  },
};

/** Starts the engine, and tells apart why it cannot be. */
async function start(): Promise<Requests['open']['result']> {
  // A browser without WebGPU and a browser that finds no adapter need different advice.
  if (!('gpu' in navigator)) throw { code: 'no-webgpu', message: 'navigator.gpu does not exist.', help: '' };
  const gpu = navigator.gpu as { requestAdapter(): Promise<object | null> };
  if (!(await gpu.requestAdapter())) throw { code: 'no-adapter', message: 'requestAdapter() found nothing.', help: '' };
  await init();
  session = await Session.create();
  void session.lost().then(() => post({ notice: 'lost' }));
  const kept = await store.then((files) => files?.blob(FORMS)).catch(() => null);
  if (kept) session.chooseForms(await kept.text());
  return { defaults: defaults(), objectives: objectives(), device: session.device() };
}

function report(session: Session, example: Example, config: RunConfig): RowReport {
  try {
    const { total, targets, truncated } = session.preview(example, config);
    return { tokens: total, targets, truncated, problem: null };
  } catch (thrown) {
    const problem = toProblem(thrown);
    // A broken engine is no fault of the row, and neither is a setting.
    if (problem.code === 'crashed' || problem.code === 'config') throw thrown;
    return { tokens: 0, targets: 0, truncated: false, problem };
  }
}

async function readManifest(): Promise<Manifest> {
  const url = new URL('models/default.json', base);
  const response = await fetch(url).catch(() => null);
  const manifest = response?.ok ? ((await response.json().catch(() => null)) as Partial<Manifest> | null) : null;
  const { name, file, bytes, sha256 } = manifest ?? {};
  if (!name || !file || !bytes || !sha256 || !/^[\w.-]+$/.test(file)) {
    throw {
      code: 'no-default-model',
      message: 'This server offers no default model.',
      help: 'Choose a GGUF file of your own instead, or start the page with `cargo xtask start`.',
    } satisfies Problem;
  }
  return { name, file, bytes, sha256 };
}

self.onmessage = async ({ data }: MessageEvent<ToWorker>) => {
  const { id, name, args } = data;
  try {
    const handler = handlers[name] as (args: unknown, id: number) => unknown;
    const result = await handler(args, id);
    // A file may be as large as a model: it is handed over, not copied.
    post({ id, result }, name === 'exportPeft' || name === 'exportRun' ? (result as NamedFile[]).map(({ bytes }) => bytes.buffer) : []);
  } catch (thrown) {
    post({ id, problem: toProblem(thrown) });
  }
};

// The dedicated worker: owns the wasm module and the GPU, answers the page's requests.

import init, { RowsReader, Session, Sha256, defaults, objectives } from 'tunesmith-engine';
import { toProblem, type FromWorker, type Loaded, type Manifest, type RequestName, type Requests, type ToWorker } from '../protocol';
import type { Example, LoadOptions, NamedFile, Problem, RunConfig, RunTools } from '../engine';
import type { Files, ModelFiles } from '../model-files';
import { watchTraffic } from '../traffic';
import { readAdapter } from './adapters';
import { readFile } from './import';
import { cancelled, fetchModel, forgetModel, keptModel } from './models';
import { Mutex } from './mutex';
import { OwnFunction } from './own-function';
import { OwnModels } from './own-models';
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
const ownModels = OwnModels.open();
let session: Session | null = null;
let spill: SpillFile | null = null;
let loading = new AbortController();
let answering = { stop: false };
let merging = { stop: false };
let copying = new AbortController();
let importing = new AbortController();
let reading = new AbortController();
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
/** Milliseconds of work: time in which it was held does not count. */
let worked = () => performance.now();
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

/** Milliseconds that rows are read at a time: others may have the engine then. */
const SLICE = 50;

/** Reads rows as a run does, where that was not done yet. One reading at a time: another ends it. */
async function readRows(config: RunConfig, rows: Uint32Array): Promise<void> {
  reading.abort();
  const { signal } = (reading = new AbortController());
  const say = fourPerSecond((done, total) => post({ notice: 'reading', done, total }));
  for (let done = 0; done < rows.length; ) {
    if (signal.aborted) throw cancelled;
    done += await withSession((session) => session.readRows(config, rows.subarray(done), SLICE));
    say(done, rows.length);
    // Lets messages in.
    await new Promise((resume) => setTimeout(resume, 0));
  }
}

const both = (rows: Uint32Array, heldOut: Uint32Array): Uint32Array => Uint32Array.from([...rows, ...heldOut]);

/** Numbers of rows that the page knows nothing of: its own are small. */
let own = 2 ** 31;

/** Hands rows over for as long as a job lasts. */
async function withRows<T>(session: Session, lists: Example[][], job: (...ids: Uint32Array[]) => Promise<T>): Promise<T> {
  const ids = lists.map((rows) => Uint32Array.from(rows, () => own++));
  lists.forEach((rows, index) => session.putRows(ids[index]!, rows));
  try {
    return await job(...ids);
  } finally {
    ids.forEach((list) => session.dropRows(list));
  }
}

const noModel: Problem = { code: 'no-model', message: 'No model is loaded.', help: 'Load one first.' };

/** A model's files, and where they are. */
interface Source extends ModelFiles {
  where: Loaded['where'];
}

/** That of the model that is loaded. */
let current: Source | null = null;

async function load(source: Source, options: LoadOptions, note: Problem | null = null): Promise<Loaded> {
  const { signal } = loading;
  const say = progress('load');
  const listen = (done: number, total: number) => {
    if (signal.aborted) throw cancelled;
    say(done, total);
  };
  const { name, files, where } = source;
  const info = await withSession((session) => session.load(name, files, listen, options));
  current = source;
  return { info, file: name, bytes: files.reduce((sum, { size }) => sum + size, 0), where, note };
}

/** What was found to be the fastest on this device. */
const FORMS = 'forms.json';

/** Keeps it for the next visit when it is news; where that fails, it is found again. */
async function keepForms(known: string): Promise<void> {
  const found = await withSession((session) => session.forms());
  if (found !== known) await store.then((files) => files?.writeText(FORMS, found)).catch(() => undefined);
}

/** Puts the reward adapters that a run learns from beside the model, where they are those of runs that are kept. */
async function scorersOf(session: Session, { reward }: RunConfig): Promise<void> {
  for (const name of Array.isArray(reward) ? reward.map(String) : []) {
    const run = /^model:(.+)$/.exec(name)?.[1];
    if (run === undefined || session.adapters().some((one) => one.run === run || String(one.id) === run)) continue;
    // One that is gone is told by the engine.
    const folder = await records.folder(run).catch(() => null);
    if (folder) await session.adapterOfRun(folder);
  }
}

/** Begins a run, or takes one up again, with the tools that any run needs; gives the id that it is kept under, if it is. */
async function begin(ownFunction: string | null, saveSteps: number, begin: Order['begin']): Promise<string | null> {
  const session = await need();
  const known = await withSession((session) => session.forms());
  spill ??= await openSpill();
  const own = ownFunction === null ? null : new OwnFunction(ownFunction);
  const tools: RunTools = { ...(spill && { spill }), ...(own && { judge: own.judge }) };
  const begun = new Training(session, { begin, tools, saveSteps }, post, worked);
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
    const files: Files = [new File([blob], manifest.file)];
    return load({ name: manifest.name, files, where: kept ? 'kept' : 'memory' }, {}, note);
  },

  loadFiles({ name, files, options }) {
    loading = new AbortController();
    return load({ name, files, where: 'file' }, options);
  },

  ownModels: () => ownModels.list(),

  async keepOwnModel() {
    if (!current) throw noModel;
    const { name, files } = current;
    const say = fourPerSecond((done, total) => post({ notice: 'copying', done, total }));
    copying = new AbortController();
    await ownModels.keep(name, files, say, copying.signal);
    return ownModels.list();
  },

  async removeOwnModel({ file }) {
    await ownModels.remove(file);
    return ownModels.list();
  },

  async loadOwnModel({ file, options }) {
    loading = new AbortController();
    const files = await ownModels.files(file);
    if (!files) throw { code: 'no-model', message: `There is no copy of ${file} in this browser any more.`, help: 'Choose the file again.' } satisfies Problem;
    return load({ name: file, files, where: 'copy' }, options);
  },

  reload({ options }) {
    if (!current) throw noModel;
    loading = new AbortController();
    return load(current, options);
  },

  cancelLoad() {
    loading.abort();
    copying.abort();
  },

  async deleteModel({ file }) {
    const files = await store;
    if (files) await forgetModel(files, file);
  },

  async import({ name, file, prompts }, id) {
    await need();
    importing = new AbortController();
    return readFile(file, new RowsReader(name, prompts), (piece, done, total) => post({ notice: 'imported', request: id, ...piece, done, total }), importing.signal);
  },
  cancelImport: () => importing.abort(),

  putRows: ({ ids, examples }) => withSession((session) => session.putRows(ids, examples)),
  dropRows: ({ ids }) => withSession((session) => session.dropRows(ids)),

  async judge({ config, row, answers, ownFunction }) {
    const own = ownFunction === null ? null : new OwnFunction(ownFunction);
    try {
      return await withSession((session) => session.judge(config, row, answers, own?.judge));
    } finally {
      own?.close();
    }
  },

  preview: ({ example, config }) => withSession((session) => session.preview(example, config)),

  async check({ rows, config }) {
    await readRows(config, rows);
    return withSession((session) => session.checkRows(config, rows));
  },
  cancelReading: () => reading.abort(),

  async estimate({ config, rows, heldOut, beginFrom }) {
    await readRows(config, both(rows, heldOut));
    return withSession(async (session) => session.estimate(beginFrom === null ? config : await session.configFrom(config, beginFrom), rows, heldOut));
  },

  size: ({ config }) => withSession((session) => session.size(config)),

  async start({ config, rows, heldOut, beginFrom, notes }) {
    return begin(notes.ownFunction ?? null, Number(config.save_steps) || 0, async (session, tools) => {
      const { folder, hashes, problem } = await records.create(session.rowLines(rows), session.rowLines(heldOut));
      try {
        const about = { notes, ...(hashes && { rows: hashes }) };
        const events = await session.startTraining(config, rows, heldOut, { ...tools, ...(beginFrom !== null && { beginFrom }), ...(folder && { store: folder }), about });
        return { events: problem ? [...events, { event: 'warning', code: 'not-kept', message: problem }] : events, keptAs: folder?.name ?? null };
      } catch (thrown) {
        if (folder) await records.remove(folder.name);
        throw thrown;
      }
    });
  },

  runs: () => records.list(),
  async openRun({ id }) {
    const { events, heldOut } = await records.open(id);
    return { events, heldOut };
  },

  async continueRun({ id }) {
    const { summary, notes } = await records.one(id);
    await begin(notes.ownFunction ?? null, Number(summary.config.save_steps) || 0, async (session, tools) => {
      const { rows, heldOut } = await records.open(id);
      const store = await records.folder(id);
      await scorersOf(session, summary.config);
      const events = await withRows(session, [rows, heldOut], (given, held) => session.resumeTraining(given!, held!, { ...tools, store }));
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
  importRun: ({ file }) => records.import(file),
  keepSoon: () => training?.keepSoon(),

  async startLab(order) {
    const session = await need();
    const known = await withSession((session) => session.forms());
    await runner.start(new Trials(session, order, post, worked));
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
  const turns = session.turns();
  runner.turns = turns;
  worked = () => performance.now() - turns.heldMs();
  void session.lost().then(() => post({ notice: 'lost' }));
  const kept = await store.then((files) => files?.blob(FORMS)).catch(() => null);
  if (kept) session.chooseForms(await kept.text());
  return { defaults: defaults(), objectives: objectives(), device: session.device() };
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

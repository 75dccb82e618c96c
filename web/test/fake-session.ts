// What stands in for src/actions/session where actions are tested: no worker, and the made-up engine behind every request.

import { modelFiles, type Chosen, type ModelFiles } from '../src/model-files';
import { toProblem, type Notice, type RequestName, type Requests } from '../src/protocol';
import { noRun } from '../src/run';
import { firstFunction } from '../src/rewards';
import { agreement, answers as shownAnswers, dataset, duel, in4bit, made, model, noAnswer, noDuel, objectives as known, ownFunction, question, refused, rowErrors, run, settings, shownStep, tables, told, tried, verdicts } from '../src/store';
import { readAdapter } from '../src/worker/adapters';
import { readFile } from '../src/worker/import';
import { firstSettings } from '../src/settings';
import { RowsReader, Session, defaults, objectives } from './fake-engine';

export let session: Session;
/** What went wrong, in the order it was shown. */
export const failures: unknown[] = [];

const load = async ({ name, files }: ModelFiles, options: Requests['reload']['args']['options']) => ({
  info: await session.load(name, files, () => undefined, options),
  file: name,
  bytes: files.reduce((sum, { size }) => sum + size, 0),
  where: 'file',
  note: null,
});

const answers: Partial<Record<RequestName, (args: never) => unknown>> = {
  adapters: () => session.adapters(),
  addAdapter: async ({ files }: Requests['addAdapter']['args']) => {
    const { name, config } = await readAdapter(files);
    await session.addAdapter(name, config);
    return session.adapters();
  },
  removeAdapter: ({ id }: Requests['removeAdapter']['args']) => {
    session.removeAdapter(id);
    return session.adapters();
  },
  loadFiles: ({ options, ...own }: Requests['loadFiles']['args']) => load(own, options),
  reload: ({ options }: Requests['reload']['args']) => load(modelFiles(gguf('a.F16.gguf')), options),
  putRows: ({ ids, examples }: Requests['putRows']['args']) => session.putRows(ids, examples),
  dropRows: ({ ids }: Requests['dropRows']['args']) => session.dropRows(ids),
  judge: ({ config, row, answers, ownFunction }: Requests['judge']['args']) => session.judge(config, row, answers, async (list) => list.map(() => (ownFunction ? 1 : null))),
  preview: ({ example, config }: Requests['preview']['args']) => session.preview(example, config),
  check: ({ rows, config }: Requests['check']['args']) => session.checkRows(config, rows),
  start: (order: Requests['start']['args']) => {
    started.push(order);
    return null;
  },
  cancelImport: () => importing.abort(),
  generate: ({ messages, options }: Requests['generate']['args']) => {
    asks.push(options);
    asked.push(messages);
    return session.generate(messages, options, () => true);
  },
  neutralLoss: ({ adapter }: Requests['neutralLoss']['args']) => session.neutralLoss(adapter),
  agreement: ({ adapter, rows }: Requests['agreement']['args']) => session.agreement(adapter, rows),
};

/** The runs that were asked for, and the options of every question. */
export const started: Requests['start']['args'][] = [];
/** What was said to the model, question by question. */
export const asked: Requests['generate']['args']['messages'][] = [];
export const asks: Requests['generate']['args']['options'][] = [];

let request = 0;
let importing = new AbortController();
const client = {
  ask(name: RequestName, args: never) {
    const id = ++request;
    return Object.assign((async () => (name === 'import' ? read(args, id) : answers[name]!(args)))(), { id });
  },
};
export const engine = () => client;

/** Reads a file as the worker does. */
async function read({ name, file, prompts }: Requests['import']['args'], id: number) {
  importing = new AbortController();
  // The page listens once it knows the request's number.
  await tick();
  return readFile(file, new RowsReader(name, prompts), (piece, done, total) => pieces.get(id)?.({ notice: 'imported', request: id, ...piece, done, total }), importing.signal);
}

export const listeners = new Map<number, (piece: string, answer: number) => void>();
export const pieces = new Map<number, (piece: Extract<Notice, { notice: 'imported' }>) => void>();

export const attempt = (action: () => Promise<void>) => action().catch((thrown: unknown) => fail(toProblem(thrown)));

export const fail = (problem: unknown): void => void failures.push(problem);

export const askForOffer = async () => undefined;

/** A file that the made-up engine takes for a model. */
export const gguf = (name: string): Chosen => ({ files: [new File(['GGUF'], name)], folder: null });

export const tick = () => new Promise((done) => setTimeout(done, 5));

/** A page that was just opened. */
export async function reopen(): Promise<void> {
  session = await Session.create();
  told.value = defaults();
  known.value = objectives();
  settings.value = firstSettings;
  for (const { rows, past, starter, importErrors, importWarnings, selected } of Object.values(tables)) {
    rows.value = [];
    past.value = [];
    importWarnings.value = [];
    [starter.value, importErrors.value, selected.value, made.value, rowErrors.value] = [null, null, null, null, null];
  }
  shownAnswers.value = { base: noAnswer, tuned: noAnswer };
  [duel.value, dataset.value, agreement.value, question.value] = [noDuel, null, null, ''];
  [ownFunction.value, tried.value, verdicts.value, shownStep.value] = [firstFunction, ['', ''], null, null];
  in4bit.value = false;
  refused.value = null;
  run.value = noRun;
  model.value = { state: 'none' };
  await tick();
  failures.length = started.length = asks.length = 0;
}

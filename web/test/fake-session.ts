// What stands in for src/actions/session where actions are tested: no worker, and the made-up engine behind every request.

import { toProblem, type RequestName, type Requests } from '../src/protocol';
import { noRun } from '../src/run';
import { firstFunction } from '../src/rewards';
import { agreement, answers as shownAnswers, dataset, duel, in4bit, made, model, noAnswer, noDuel, objectives as known, ownFunction, question, refused, rowErrors, run, settings, shownStep, tables, told, tried, verdicts } from '../src/store';
import { readAdapter } from '../src/worker/adapters';
import { firstSettings } from '../src/settings';
import { Session, defaults, objectives } from './fake-engine';

export let session: Session;
/** What went wrong, in the order it was shown. */
export const failures: unknown[] = [];

const load = async (file: File, options: Requests['reload']['args']['options']) => ({
  info: await session.load(file.name, file, () => undefined, options),
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
  loadFile: ({ file, options }: Requests['loadFile']['args']) => load(file, options),
  reload: ({ options }: Requests['reload']['args']) => load(gguf('a.F16.gguf'), options),
  import: ({ name, text }: Requests['import']['args']) => session.import(name, text),
  importPrompts: ({ name, text }: Requests['importPrompts']['args']) => session.importPrompts(name, text),
  judge: ({ config, row, answers, ownFunction }: Requests['judge']['args']) => session.judge(config, row, answers, async (list) => list.map(() => (ownFunction ? 1 : null))),
  preview: ({ example, config }: Requests['preview']['args']) => session.preview(example, config),
  check: ({ examples, config }: Requests['check']['args']) =>
    examples.map((example) => {
      try {
        const { total, targets, truncated } = session.preview(example, config);
        return { tokens: total, targets, truncated, problem: null };
      } catch (thrown) {
        return { tokens: 0, targets: 0, truncated: false, problem: toProblem(thrown) };
      }
    }),
  start: (order: Requests['start']['args']) => {
    started.push(order);
    return null;
  },
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
export const engine = () => ({
  ask: (name: RequestName, args: never) => Object.assign((async () => answers[name]!(args))(), { id: ++request }),
});

export const listeners = new Map<number, (piece: string, answer: number) => void>();

export const attempt = (action: () => Promise<void>) => action().catch((thrown: unknown) => fail(toProblem(thrown)));

export const fail = (problem: unknown): void => void failures.push(problem);

export const askForOffer = async () => undefined;

/** A file that the made-up engine takes for a model. */
export const gguf = (name: string) => new File(['GGUF'], name);

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

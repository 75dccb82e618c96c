// Everything the screen shows, as signals. Actions (src/actions) change them; components read them.

import { computed, signal, type Signal } from '@preact/signals';
import type { Adapter, Agreement, Defaults, Device, Earned, Estimate, ImportError, Message, Objective, OutType, Preview, Problem, Prompt, Size } from './engine';
import { isBlank, isPrompt, split, type Row } from './examples';
import { when } from './format';
import { noLab, type Lab } from './lab';
import type { ModelFiles } from './model-files';
import type { KeptModel, KeptRun, LoadPhase, Loaded, Manifest, OwnModel } from './protocol';
import { isOpinion, suggestedShare, usedBy, writer } from './preferences';
import { firstFunction, rewardLabel, rewardName } from './rewards';
import { isBusy, noRun, type Run } from './run';
import { firstSettings, objectiveOf, REWARD, toConfig, toTrials, type Settings, type Teach } from './settings';

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
  /** What was asked, and what was said before that: a system prompt, earlier turns. */
  prompt: string;
  before: Message[];
  text: string;
  note: string;
  /** Whether it would have gone on. */
  cut: boolean;
  /** The row that a thumb made of it. */
  judged: number | null;
}

export const noAnswer: Answer = { state: 'idle', prompt: '', before: [], text: '', note: '', cut: false, judged: null };

/** A held-out row, and what the model says to it before and after; null where it was not asked yet. */
export interface HeldOutRow {
  /** What is said before the question, if anything is. */
  system: string | null;
  question: string;
  expected: string;
  base: string | null;
  tuned: string | null;
}

/** All of them, and how surprised the model is by ordinary text before and after. */
export interface HeldOut {
  rows: HeldOutRow[];
  state: 'asking' | 'done' | 'stopped';
  neutral: { base: number; tuned: number } | null;
}

/** Two answers to one prompt, side by side without names. */
export interface Duel {
  /** `same`: they came out alike, or one was empty, as often as they were sampled. */
  state: 'idle' | 'sampling' | 'open' | 'same' | 'stopped';
  answers: [Answer, Answer];
  /** Who gave each. */
  by: [string, string];
  /** The pair that was made of them, and which was chosen. */
  made: { row: number; chosen: 0 | 1 } | null;
  /** What there is to say of them. */
  note: string;
}

export const noDuel: Duel = { state: 'idle', answers: [noAnswer, noAnswer], by: ['', ''], made: null, note: '' };

/** What a press made in a table that may be out of sight: in words, with the rows that would go with an undo. */
export interface Made {
  /** Where the press was. */
  at: 'teach' | 'try';
  words: string;
  table: Teach;
  rows: number[];
}

export const device = signal<DeviceState>({ state: 'starting' });
/** The methods and fields as the engine told them. */
export const told = signal<Defaults | null>(null);
/** What can be learnt, as the engine told it. */
export const objectives = signal<Objective[]>([]);

/** While the page takes back a GPU that went away, or was out of memory: whether a run went, and the step that it goes on from, where one is kept. */
export const mending = signal<{ memory: boolean; step: number | null; trains: boolean } | null>(null);

/** The latest failure of something the person asked for. */
export const problem = signal<Problem | null>(null);

/** What a screen reader is told; changes rarely. */
export const announcement = signal('');

/** The default model of this server, once asked for. */
export const offer = signal<{ manifest: Manifest; kept: KeptModel | null } | { problem: Problem } | null>(null);
export const model = signal<ModelState>({ state: 'none' });
/** Whether the person's next file is to be held in 4 bits. */
export const in4bit = signal(false);
/** Copies of the person's own model files that the browser keeps. */
export const ownModels = signal<OwnModel[]>([]);
/** Bytes of one that are copied, while one is. */
export const copying = signal<{ done: number; total: number } | null>(null);
/** A model that could not be loaded in 4 bits, and why. */
export const refused = signal<{ model: ModelFiles; problem: Problem } | null>(null);

/** The methods and fields, under the names that they have on the model at hand. */
export const defaults = computed<Defaults | null>(() => {
  if (!told.value || model.value.state !== 'ready' || !model.value.info.load_in_4bit) return told.value;
  return { ...told.value, methods: told.value.methods.map((method) => ({ ...method, ...method.in_4bit })) };
});

/** A table that a person fills in step 2; `page` is how many rows it shows at once, for there may be many. */
export class Table {
  rows = signal<Row[]>([]);
  /** Earlier versions, each with the words for going back to it. */
  past = signal<{ rows: Row[]; what: string }[]>([]);
  /** The starter set it holds, as long as nothing in it was changed. */
  starter = signal<string | null>(null);
  importErrors = signal<{ name: string; added: string; errors: ImportError[] } | null>(null);
  /** What is to know of rows that came in. */
  importWarnings = signal<string[]>([]);
  /** Rows that it shows. */
  limit: Signal<number>;
  /** The row that is shown as the model sees it. */
  selected = signal<number | null>(null);
  /** The rows that something was typed into. */
  filled = computed(() => this.rows.value.filter(({ example }) => !isBlank(example)));

  constructor(readonly page: number) {
    this.limit = signal(page);
  }
}

export const tables: Record<Teach, Table> = { examples: new Table(40), preferences: new Table(10), prompts: new Table(10) };

/** The table that a row belongs in. */
export const tableOf = ({ example }: Pick<Row, 'example'>): Teach => (isPrompt(example) ? 'prompts' : isOpinion(example) ? 'preferences' : 'examples');

/** What a row of each is called. */
export const nouns: Record<Teach, string> = { examples: 'example', preferences: 'preference', prompts: 'prompt' };

/** A file of rows that is read: bytes of it that are done. */
export const importing = signal<{ name: string; done: number; total: number } | null>(null);
/** Whether the rows are checked before a run or a lab. */
export const checking = signal(false);
/** Rows that were read as the model will see them, while some are. */
export const reading = signal<{ done: number; total: number } | null>(null);
/** Rows the check before a run or a lab refused, and how to go on without them. */
export const rowErrors = signal<{ rows: { row: Row; problem: Problem }[]; goOn: () => void } | null>(null);
/** The latest that a press made in a table out of sight. */
export const made = signal<Made | null>(null);

/** `unused`: the objective learns nothing from the row. */
export const preview = signal<{ row: number; preview: Preview } | { row: number; problem: Problem } | { row: number; unused: true } | null>(null);

export const settings = signal<Settings>(firstSettings);
export const speeds = signal<Record<string, number>>({});

/** The table of the tab that is chosen. */
export const table = computed(() => tables[settings.value.teach]);

/** What the run learns; null before the engine has told what there is. */
export const objective = computed(() => objectives.value.find(({ name }) => name === objectiveOf(settings.value)) ?? null);

/** What it takes. */
export const takes = computed(() => objective.value?.rows ?? ({ examples: 'examples', preferences: 'pairs', prompts: 'prompts' } as const)[settings.value.teach]);

/** The table's rows that it learns from. */
export const used = computed(() => usedBy(takes.value, table.value.filled.value));

/** The share of them that is held out. */
export const share = computed(() => {
  const { teach, holdOut, holdOutPreferences, holdOutPrompts } = settings.value;
  return { examples: holdOut, preferences: holdOutPreferences ?? suggestedShare(used.value.length), prompts: holdOutPrompts }[teach];
});

/** Those to train on, and those held out. */
export const parts = computed(() => split(used.value, share.value));

/** Makes rows in the shape that the model at hand takes. */
export const write = computed(() => writer(model.value.state !== 'ready' || model.value.info.chat_template !== null));

/** The person's own function, as a text. */
export const ownFunction = signal(firstFunction);
/** What of it the rewards need: nothing where they do not name it. */
export const ownSource = computed(() => (settings.value.teach === 'prompts' && settings.value.rewards.some(({ kind }) => kind === 'function') ? ownFunction.value : null));
/** Two answers that the rewards are tried on. */
export const tried = signal<[string, string]>(['', '']);
/** What the rewards made of them, as answers to this prompt; null before that was asked, or where something was changed since. */
export const verdicts = signal<'asking' | { row: Prompt; earned: Earned[] } | { problem: Problem } | null>(null);

export const run = signal<Run>(noRun);
/** The id that the run which is shown is kept under; null where it is not kept. */
export const runId = signal<string | null>(null);
/** The runs that the browser keeps, the latest first; null while that is not known. */
export const runs = signal<KeptRun[] | null>(null);
/** A run that is deleted unless the person takes that back. */
export const leaving = signal<KeptRun | null>(null);
/** Ids of the runs that are compared. */
export const compared = signal<string[]>([]);
/** Bytes that the page keeps in this browser, those that it may, and whether the browser has promised to keep them. */
export const storage = signal<{ usage: number; quota: number; persisted: boolean } | null>(null);
/** What the person asked of the run or the lab, until it is done: a step in hand is finished first. */
export const wanted = signal<'pause' | 'stop' | null>(null);
/** What was held out, asked before and after; null before that was asked. */
export const heldOut = signal<HeldOut | null>(null);
/** The step whose answers are shown; null for the newest. */
export const shownStep = signal<number | null>(null);
/** How far the trying of kernels is, before the first run on a device. */
export const tuning = signal<{ done: number; all: number } | null>(null);
/** What the run as it is set needs on the GPU, or why it cannot be; null while that is not known. */
export const estimate = signal<Estimate | Problem | null>(null);
/** How large each method is on this model as it is set, or why it cannot be, as far as that is known. */
export const sizes = signal<Record<string, Size | Problem>>({});

/** What step 3 shows: one run, or several methods side by side. */
export const tab = signal<'train' | 'lab' | 'runs'>('train');
export const lab = signal<Lab>(noLab);
/** Whether the lab's table was copied a moment ago. */
export const justCopied = signal(false);
/** What the last check said of the rows in the run, and those that are held out. */
export const dataset = signal<{ teach: Teach; trained: string; held: Row[]; tokens: number; targets: number; truncated: number } | null>(null);
/** How many of the held-out pairs the run's adapter agrees with, and the base (null: it has no score); null before that is asked. */
export const agreement = signal<{ tuned: Agreement; base: Agreement | null } | 'asking' | null>(null);
/** The adapters that are kept: of runs, and from files. */
export const adapters = signal<Adapter[]>([]);
/** The id of the one that answers, and is exported. */
export const adapterId = signal<number | null>(null);
export const adapter = computed(() => adapters.value.find(({ id }) => id === adapterId.value) ?? null);
/** The id of the adapter that the person wants the next run to begin from; null for a new one. */
export const beginFromId = signal<number | null>(null);
/** Those that it can begin from: an adapter that scores goes on scoring, and one that writes writing. */
export const beginnings = computed(() => adapters.value.filter(({ scores, training }) => !training && scores === (objectiveOf(settings.value) === REWARD)));
export const beginFrom = computed(() => beginnings.value.find(({ id }) => id === beginFromId.value) ?? null);
/** Bytes of a merged model that are made, while one is. */
export const merging = signal<{ done: number; total: number } | null>(null);
export const outtype = signal<OutType>('f16');

export const question = signal('');
export const answerSettings = signal({ maxNewTokens: 64, temperature: 0, seed: 0, strength: 1 });
/** The latest question's; `turns` has those of the questions before it. */
export const answers = signal<{ base: Answer; tuned: Answer }>({ base: noAnswer, tuned: noAnswer });
/** What was asked and answered before the latest question, the first first. */
export const turns = signal<{ base: Answer; tuned: Answer }[]>([]);
/** What both models are told before the conversation. */
export const systemPrompt = signal('');
export const asking = signal(false);
/** What step 4 shows: before and after, or two answers to choose from. */
export const tryTab = signal<'ask' | 'duel'>('ask');
export const duel = signal<Duel>(noDuel);
/** `from`: the adapter that is chosen, the model as it came, or one answer of each. */
export const duelSettings = signal<{ maxNewTokens: number; temperature: number; from: 'tuned' | 'base' | 'both' }>({ maxNewTokens: 128, temperature: 1, from: 'tuned' });

/** Requests by host, and bytes handed to the network, of the page and its worker. */
export const traffic = signal<{ hosts: Record<string, { requests: number; bytes: number }>; sent: number; blocked: number }>({
  hosts: {},
  sent: 0,
  blocked: 0,
});

export const form = computed(() => (defaults.value ? toConfig(defaults.value, settings.value) : null));

/** Whether a lab is going. */
export const labBusy = computed(() => isBusy(lab.value.state));

export const busy = computed(() => isBusy(run.value.state) || labBusy.value);

/** The methods that can be had on this model, as far as that is known. */
export const possible = computed(() => (defaults.value?.methods ?? []).filter(({ id }) => !(sizes.value[id] && 'code' in sizes.value[id])));

/** The label of a method. */
export const labelOf = (method: string): string => defaults.value?.methods.find(({ id }) => id === method)?.name ?? method;

/** The label of a method in the lab's table, whose model may be another one. */
export const trialLabel = (method: string): string => lab.value.names[method] ?? labelOf(method);

/** What the page calls the field of a run that says how the model is loaded; it stands in step 1. */
export const IN_4BIT = 'Hold in 4 bits (QLoRA)';

/** What an adapter is called: by its file, as the person called its run, or by its method and when it was trained. */
export function adapterLabel({ file, run, method, made }: Adapter): string {
  const kept = runs.value?.find(({ id }) => id === run);
  return file ?? (kept?.notes.title || `${labelOf(method)}, ${when(kept?.summary.about?.begun ?? made)}`);
}

/** What a reward names an adapter by: its run, which is there in the next visit, too, or else its number. */
export const scorerKey = ({ run, id }: Adapter): string => run ?? String(id);

/** A reward that settings or events name, in plain words; a reward adapter is called as in step 4. */
export function rewardWords(name: string): string {
  const scorer = adapters.value.find((one) => name === rewardName({ kind: 'model', argument: scorerKey(one) }));
  return scorer ? `Score of ${adapterLabel(scorer)}` : rewardLabel(name);
}

/** Whether an adapter writes answers: one that was trained to score them does not. */
export const writes = ({ scores }: Adapter): boolean => !scores;

/** The engine’s words, with fields called as the form calls them; a name without an underscore may be a plain word. */
export const inWords = (text: string): string =>
  [...(defaults.value?.fields ?? []), { name: 'load_in_4bit', label: IN_4BIT }].reduce(
    (words, { name, label }) => (name.includes('_') ? words.replaceAll(new RegExp(`\\b${name}\\b`, 'g'), `“${label}”`) : words),
    text,
  );

export const labForm = computed(() => (defaults.value ? toTrials(defaults.value, settings.value) : null));

/** The share that a lab holds out: the person's, or as little as can be told from nothing. */
export const labShare = computed(() => settings.value.holdOut || 1 / (defaults.value?.lab_least ?? 5));

/** The lab's examples, as they would be split now. */
export const labParts = computed(() => split(tables.examples.filled.value, labShare.value));

/** Why nothing can be trained yet, or null. */
const whyNot = computed<string | null>(() => {
  if (device.value.state === 'blocked') return 'The engine is not running: see the note at the top.';
  if (model.value.state === 'loading') return 'The model is still loading.';
  if (model.value.state === 'none') return 'Load a model first (step 1).';
  if (importing.value) return 'A file is being read (step 2): wait for it, or stop it.';
  if (checking.value) return 'The rows are being checked.';
  if (merging.value) return 'A merged model is being made (step 4): wait for it, or stop it.';
  if (used.value.length === 0) return `Add at least one ${takes.value === 'pairs' ? 'pair' : nouns[settings.value.teach]} (step 2).`;
  if (table.value.importErrors.value?.errors.length) return 'Look at the lines that could not be read (step 2).';
  return null;
});

/** Why Train cannot be pressed, or null. */
export const whyNotTrain = computed<string | null>(() => whyNot.value ?? Object.values(form.value?.errors ?? {})[0] ?? null);

/** Why the lab cannot start, or null. */
export const whyNotLab = computed<string | null>(() => {
  if (settings.value.teach !== 'examples') return 'The lab compares methods on examples, and step 2 is at another tab. Choose its tab Examples to use the lab.';
  if (whyNot.value) return whyNot.value;
  const least = defaults.value?.lab_least ?? 5;
  const n = tables.examples.filled.value.length;
  if (n < least) return `The lab holds some examples out to measure on, and needs ${least} for that: there ${n === 1 ? 'is' : 'are'} ${n}. Add ${least - n} more (step 2).`;
  if (!labForm.value?.trials.length) return 'Choose at least one method.';
  return labForm.value.errors[0] ?? null;
});

/** Begins the conversation of step 4 anew, for both or for the tuned model alone: then what the base said to the latest stays. */
export function startOver(side: 'both' | 'tuned' = 'both'): void {
  turns.value = [];
  answers.value = { base: side === 'both' ? noAnswer : answers.value.base, tuned: noAnswer };
}

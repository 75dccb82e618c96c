// What the page and its worker say to each other. The worker owns the wasm module and the GPU; the
// page only ever sends requests, and gets one answer to each plus a stream of notices.

import type { ModelFiles } from './model-files';
import type { Teach } from './settings';
import type {
  Adapter,
  Agreement,
  Defaults,
  Device,
  Earned,
  Estimate,
  Event,
  Example,
  Generated,
  GenerateOptions,
  ImportError,
  LoadOptions,
  Message,
  ModelInfo,
  NamedFile,
  Objective,
  OutType,
  Preview,
  Problem,
  Prompt,
  RowsReport,
  RunConfig,
  RunSummary,
  Size,
  TrialProgress,
} from './engine';

/** The default model, as the server describes it at `models/default.json`. */
export interface Manifest {
  name: string;
  file: string;
  bytes: number;
  sha256: string;
}

/** A model the browser keeps for this page. */
export interface KeptModel {
  file: string;
  bytes: number;
  complete: boolean;
}

/** A copy of the person's own model file that the browser keeps for this page. */
export interface OwnModel {
  file: string;
  bytes: number;
}

export interface Loaded {
  info: ModelInfo;
  /** What its files are called together. */
  file: string;
  /** Of all of them. */
  bytes: number;
  /** Where they are now: kept by the browser, in memory until the tab closes, the person's own file, or a copy of that. */
  where: 'kept' | 'memory' | 'file' | 'copy';
  /** Why the file could not be kept, when it could not. */
  note: Problem | null;
}

/** A method to try in the lab, under the name that its row will have. */
export interface TrialPlan {
  method: string;
  config: RunConfig;
}

/** What the page says of a run in its record, beside what the engine knows. A run from the command line has nothing of it. */
export interface RunNotes {
  /** What the person called it; empty where they did not. */
  title?: string;
  teach?: Teach;
  /** What it learns from, in words, and how many rows are held out. */
  rows?: string;
  held?: number;
  /** The adapter that it began from, as the page called it. */
  begunFrom?: string | null;
  tokens?: number;
  targets?: number;
  truncated?: number;
  /** The person's function, where the rewards name it. */
  ownFunction?: string | null;
  /** The hash of the model's file, where the server offers it. */
  sha256?: string | null;
  /** What ended it, where that was a failure. */
  problem?: Problem | null;
  /** Whether the person does not want to be asked to continue it. */
  setAside?: boolean;
}

/** A run that the browser keeps. */
export interface KeptRun {
  id: string;
  summary: RunSummary;
  notes: RunNotes;
  /** Whether it is going now, here or in another tab. */
  going: boolean;
}

export interface Requests {
  open: { args: Record<never, never>; result: { defaults: Defaults; objectives: Objective[]; device: Device } };
  manifest: { args: Record<never, never>; result: { manifest: Manifest; kept: KeptModel | null } };
  loadDefault: { args: { manifest: Manifest }; result: Loaded };
  /** The person's own files. */
  loadFiles: { args: ModelFiles & { options: LoadOptions }; result: Loaded };
  /** Copies of the person's own files; the result of the next two is the new list. */
  ownModels: { args: Record<never, never>; result: OwnModel[] };
  /** Keeps a copy of the file whose model is loaded. */
  keepOwnModel: { args: Record<never, never>; result: OwnModel[] };
  removeOwnModel: { args: { file: string }; result: OwnModel[] };
  loadOwnModel: { args: { file: string; options: LoadOptions }; result: Loaded };
  /** The model that is loaded, from its file once more. */
  reload: { args: { options: LoadOptions }; result: Loaded };
  cancelLoad: { args: Record<never, never>; result: void };
  deleteModel: { args: { file: string }; result: void };
  /** Reads JSONL; the rows come before the result, in notices. */
  import: { args: { name: string; file: Blob; prompts: boolean }; result: { errors: ImportError[]; warnings: string[] } };
  cancelImport: { args: Record<never, never>; result: void };
  /** Hands rows over, each under a number: what asks for rows below is given these. */
  putRows: { args: { ids: Uint32Array; examples: Example[] }; result: void };
  dropRows: { args: { ids: Uint32Array }; result: void };
  /** What the rewards say of answers, without a run. `ownFunction`: the person's, where the rewards name it, here as for a run. */
  judge: { args: { config: RunConfig; row: Prompt; answers: string[]; ownFunction: string | null }; result: Earned[] };
  preview: { args: { example: Example; config: RunConfig }; result: Preview };
  check: { args: { rows: Uint32Array; config: RunConfig }; result: RowsReport };
  /** Ends a check that is going, and an estimate that reads rows. */
  cancelReading: { args: Record<never, never>; result: void };
  /** `beginFrom`: the id of the adapter that the run begins from, here as for a run; null for a new one. */
  estimate: { args: { config: RunConfig; rows: Uint32Array; heldOut: Uint32Array; beginFrom: number | null }; result: Estimate[] };
  size: { args: { config: RunConfig }; result: Size };
  /** The result is the id that the run is kept under; null where it is not. */
  start: { args: { config: RunConfig; rows: Uint32Array; heldOut: Uint32Array; beginFrom: number | null; notes: RunNotes }; result: string | null };
  /** Every run that is kept, the latest first. */
  runs: { args: Record<never, never>; result: KeptRun[] };
  /** What is kept of one: its events so far, and the rows that are held out. */
  openRun: { args: { id: string }; result: { events: Event[]; heldOut: Example[] } };
  /** Takes it up where its newest checkpoint is, on the model that is loaded. */
  continueRun: { args: { id: string }; result: void };
  /** Puts its adapter beside the model that is loaded; the result is the new list of adapters. */
  useRun: { args: { id: string }; result: Adapter[] };
  /** Changes what the page says of it. */
  noteRun: { args: { id: string; notes: RunNotes }; result: void };
  removeRun: { args: { id: string }; result: void };
  /** Its folder, as the command line has it. */
  exportRun: { args: { id: string }; result: NamedFile[] };
  /** A zip of a run's folder; the result is the id that it is kept under. */
  importRun: { args: { file: File }; result: string };
  /** Writes a checkpoint of the run that is going, if there is one, as soon as its step is done. */
  keepSoon: { args: Record<never, never>; result: void };
  /** `config` says how the examples are rendered, for every method alike. */
  startLab: { args: { config: RunConfig; trials: TrialPlan[]; rows: Uint32Array; heldOut: Uint32Array }; result: void };
  /** Of the run or the lab that is going. */
  pause: { args: Record<never, never>; result: void };
  resume: { args: Record<never, never>; result: void };
  stop: { args: Record<never, never>; result: void };
  generate: { args: { messages: Message[]; options: GenerateOptions }; result: Generated[] };
  cancelGenerate: { args: Record<never, never>; result: void };
  adapters: { args: Record<never, never>; result: Adapter[] };
  /** A zip of an adapter's folder, or its two files; the result is the new list, as it is of the next. */
  addAdapter: { args: { files: File[] }; result: Adapter[] };
  removeAdapter: { args: { id: number }; result: Adapter[] };
  /** `adapter`: an adapter's id; null for the model alone. */
  agreement: { args: { adapter: number | null; rows: Example[] }; result: Agreement };
  /** How surprised the model is by ordinary text, in nats a token, with an adapter or alone. */
  neutralLoss: { args: { adapter: number | null }; result: number };
  exportPeft: { args: { id: number }; result: NamedFile[] };
  mergeGguf: { args: { id: number; outtype: OutType }; result: Blob };
  cancelMerge: { args: Record<never, never>; result: void };
  forget: { args: Record<never, never>; result: void };
}

export type RequestName = keyof Requests;

/** The states of a run. `starting` builds the plan; `finishing` waits for the step in flight. */
export type RunState = 'idle' | 'starting' | 'running' | 'paused' | 'finishing' | 'done' | 'failed';

export type LoadPhase = 'check' | 'download' | 'load';

/** What the worker says unasked. */
export type Notice =
  | { notice: 'progress'; phase: LoadPhase; done: number; total: number }
  /** Bytes of a model's file that are copied. */
  | { notice: 'copying'; done: number; total: number }
  /** `active`: milliseconds spent in steps since the run began, pauses left out. */
  | { notice: 'events'; events: Event[]; active: number }
  /** Rows of a file that is read, those that could not be, and bytes of it that are read. */
  | { notice: 'imported'; request: number; examples: Example[]; errors: ImportError[]; done: number; total: number }
  /** Rows are read as the model will see them. */
  | { notice: 'reading'; done: number; total: number }
  /** The GPU went away. */
  | { notice: 'lost' }
  /** Kernels are tried on this GPU, before its first run. */
  | { notice: 'tune'; done: number; all: number }
  | { notice: 'run'; state: RunState; problem: Problem | null }
  | { notice: 'lab'; state: RunState; problem: Problem | null }
  /** A method of the lab begins (no progress yet) or goes on; `active`: milliseconds spent on it so far. */
  | { notice: 'trial'; method: string; progress: TrialProgress | null; active: number }
  /** A method of the lab could not be tried, or not to its end. The lab goes on. */
  | { notice: 'trialFailed'; method: string; problem: Problem }
  /** Bytes of the merged model that are made. */
  | { notice: 'merge'; done: number; total: number }
  /** More of an answer, of which a request may have several. */
  | { notice: 'text'; request: number; answer: number; piece: string }
  | { notice: 'traffic'; requests: RequestRecord[]; sent: number };

/** One network request, as the browser's own resource timing reports it. */
export interface RequestRecord {
  url: string;
  bytes: number;
}

export type ToWorker = { [N in RequestName]: { id: number; name: N; args: Requests[N]['args'] } }[RequestName];

export type FromWorker = Notice | { id: number; result: unknown } | { id: number; problem: Problem };

/** Any thrown thing as a problem in words; what has no code of its own broke the worker. */
export function toProblem(thrown: unknown): Problem {
  if (typeof thrown === 'object' && thrown !== null && 'code' in thrown && 'message' in thrown) {
    const { code, message } = thrown;
    // A DOMException's `code` is a number; the crate's is a word.
    if (typeof code === 'string') {
      return { code, message: String(message), help: 'help' in thrown ? String(thrown.help) : '' };
    }
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return {
    code: 'crashed',
    message: `Something unexpected happened: ${message}`,
    help: 'Start the engine again. Your examples and settings are kept.',
  };
}

// The surface of the wasm crate, as wasm-bindgen makes it at src/pkg/tunesmith.js. The bundler
// resolves "tunesmith-engine" to that file; the types live here so that the page can be checked
// before the crate is built, and so that nothing is `any`.

/** What every function below throws: a stable code, what is wrong, and what to do. */
export interface Problem {
  code: string;
  message: string;
  help: string;
}

/** `rewards` and their weights are no plain fields: the page has an editor for them. */
export type FieldType = 'int' | 'float' | 'bool' | 'choice' | 'text' | 'list' | 'numbers' | 'rewards';
/** Patterns of layers with a number each are an object in a run's settings, and a text in a form. */
export type FieldValue = number | boolean | string | string[] | number[] | Record<string, number> | null;

/**
 * One field of the run config, from the table in the crate: the form is made from it. A name may stand more than once, each
 * time for other objectives: with another default, or other choices.
 */
export interface Field {
  name: string;
  label: string;
  type: FieldType;
  default: FieldValue;
  min?: number;
  max?: number;
  choices?: string[];
  help: string;
  group: string;
  /** The methods that know this field; absent: all. */
  methods?: string[];
  /** The objectives that know this field; empty: all. */
  objectives: string[];
  /** Defaults that differ by method. */
  defaults?: Record<string, FieldValue>;
}

/** A tuning method, or LoRA with a switch that has a name of its own: `method` of a config may be any `id`. */
export interface Method {
  id: string;
  name: string;
  help: string;
  /** Whether Hugging Face's PEFT has it, and so reads its files. */
  in_peft: boolean;
  /** What it is called over a model that was loaded in 4 bits, where it has a name of its own there. */
  in_4bit: { name: string; help: string } | null;
}

/** What a run learns from its rows. */
export interface Objective {
  /** `objective` of a config. */
  name: string;
  label: string;
  help: string;
  /** What it takes. Pairs are verdicts, too: two each. Prompts are answered by the model itself. */
  rows: 'examples' | 'pairs' | 'verdicts' | 'prompts';
}

/** A run, exactly as run.json holds it. */
export type RunConfig = { method?: string; objective?: string } & Record<string, FieldValue | undefined>;

export interface Defaults {
  fields: Field[];
  methods: Method[];
  config: RunConfig;
  /** The fields that decide an adapter's shape: a run that begins from one has these of it. */
  shape: string[];
  /** Fewest examples of which a lab can hold one out. */
  lab_least: number;
}

export interface Message {
  role: string;
  content: string;
}

/** A prompt or an answer: as it is, or as messages that the model's chat template is for. */
export type Side = string | Message[];

/** One row to learn from, in the shape of its JSONL. */
export type Example =
  | { messages: Message[] }
  | { prompt: Side; completion: Side }
  | { text: string }
  | { input_ids: number[]; labels?: number[] }
  | Preference
  | Verdict
  | Prompt;

/** Two answers, of which one was chosen; without a prompt, both have it inside. */
export type Preference =
  | { prompt?: Side; chosen: Side; rejected: Side; margin?: number }
  | { prompt_ids: number[]; chosen_ids: number[]; rejected_ids: number[]; margin?: number };

/** What the model answers itself, and what stood beside it in its line of JSONL: rewards may read that. */
export interface Prompt {
  prompt: Side;
  columns: Record<string, unknown>;
}

/** One answer, and whether it is good. */
export type Verdict = { prompt: Side; completion: Side; label: boolean } | { prompt_ids: number[]; completion_ids: number[]; label: boolean };

export interface Device {
  name: string;
  backend: string;
  software: boolean;
  limits: Record<string, number>;
  features: string[];
}

export interface ModelInfo {
  name: string;
  architecture: string;
  layers: number;
  hidden: number;
  heads: number;
  kv_heads: number;
  ffn: number;
  vocab: number;
  context_length: number;
  parameters: number;
  /** Of its weights: another file with the same ones has the same. */
  hash: string;
  /** The file's. */
  quantization: string;
  /** Whether the blocks' linear layers were quantized to NF4. */
  load_in_4bit: boolean;
  file_bytes: number;
  gpu_bytes: number;
  chat_template: string | null;
}

export interface LoadOptions {
  /** Quantize the blocks' linear layers to NF4 on the way, from F16, BF16 or F32: QLoRA's base. A run then has it in its config. */
  load_in_4bit?: boolean;
}

export interface ImportError {
  line: number | null;
  message: string;
  help: string;
}

/** What rows come to, as a run reads them. */
export interface RowsReport {
  /** Of the rows that can be used. */
  tokens: number;
  /** Those of them that are learnt. */
  targets: number;
  /** Rows of which something was cut off. */
  truncated: number;
  /** The rows that cannot be used, by their numbers. */
  bad: { row: number; problem: Problem }[];
}

export interface PreviewToken {
  text: string;
  target: boolean;
  special: boolean;
}

/** A row as the model will see it; a pair has two sides, and what is compared are their targets. */
export type Preview = Counts & ({ tokens: PreviewToken[] } | { chosen: PreviewToken[]; rejected: PreviewToken[] } | { pieces: PreviewToken[]; label: boolean });

/** Of all that a row shows. */
export interface Counts {
  total: number;
  targets: number;
  truncated: boolean;
}

/** What an objective tells beside its loss, by TRL's names: `rewards/margins`, `logps/chosen`, … */
export type Metrics = Record<string, number>;

/** The event stream, the same as the command line's `--json`. */
export type Event =
  | {
      event: 'start';
      model: Record<string, unknown>;
      method: Record<string, unknown>;
      device: Record<string, unknown>;
      trainable: number;
      config: RunConfig;
    }
  | {
      event: 'step';
      step: number;
      /** The mean of the steps since the last such event; all else is the last step's. */
      loss: number;
      learning_rate: number;
      /** Null when the gradient was not finite and the step was skipped. */
      grad_norm: number | null;
      tokens: number;
      target_tokens: number;
      ms: number;
      metrics?: Metrics;
    }
  /** The loss is null where prompts were answered: the metrics say what that earned. */
  | { event: 'eval'; step: number; loss: number | null; tokens: number; best?: boolean; metrics?: Metrics }
  /** An answer that the model wrote, and that steps from this one on learn from. A reward that had nothing to say gave null. */
  | { event: 'rollout'; step: number; prompt: string; completion: string; rewards: Record<string, number | null>; advantage: number; tokens: number }
  | { event: 'sample'; step: number; prompt: string; text: string }
  | { event: 'checkpoint'; step: number; path?: string }
  | { event: 'warning'; code: string; message: string }
  /** `best`: the evaluation whose adapter was kept, where that is not the last step's. */
  | { event: 'done'; steps: number; path?: string; loss: number; best?: { step: number; value: number; waited: number } }
  | { event: 'error'; code: string; message: string; hint: string };

/** Bytes that a run needs on the GPU, with one way to recompute. */
export interface Estimate {
  recompute: 'none' | 'gate-up' | 'block';
  /** Rows of the largest batch. */
  rows: number;
  model: number;
  adapter: number;
  activations: number;
  /** All of that, and what is small beside it. */
  total: number;
  /** Whether that is within the run's memory_limit. */
  fits: boolean;
  /** What to do where it is not. */
  advice: string;
}

/** How large a method or an adapter is. */
export interface Size {
  trainable: number;
  /** Bytes of the tensors in its file. */
  file_bytes: number;
}

/** An adapter of the model that is loaded: of a run, or read from files. */
export interface Adapter extends Size {
  /** No other of the session has it. */
  id: number;
  /** The file that it was read from; null for one that was trained here. */
  file: string | null;
  /** The id that its run is kept under; null for one that is not. */
  run: string | null;
  /** When it came, in milliseconds since 1970. */
  made: number;
  /** The id of its method. */
  method: string;
  /** Whether it is the run's that is going. */
  training: boolean;
  /** The settings of the run, as run.json holds them; null for one from a file. */
  config: RunConfig | null;
  /** What it takes on the GPU while it is kept. */
  gpu_bytes: number;
  /** Whether it scores answers, and so writes none. */
  scores: boolean;
  /** Why it has no strength but its own; null where it has any. */
  why_no_strength: string | null;
  /** Why it cannot be merged into the model; null where it can. */
  why_no_merge: string | null;
}

/** The encoding of what a merge changes. */
export type OutType = 'f16' | 'f32';

/** What one method came to in the lab, as the command line's `trial` event. */
export interface TrialRow extends Size {
  method: string;
  learning_rate: number;
  /** Of training, evaluations not counted. */
  seconds: number;
  /** Bytes on the GPU that the run needed at a time. */
  peak_bytes: number;
  /** The base model's loss on the held-out examples, in nats a token. */
  loss_before: number;
  loss_after: number;
  /** Held-out answers that came word for word, of `answers`. */
  exact: number;
  answers: number;
}

/** What the lab did last: evaluate the base model, train, evaluate again, ask. */
export type Stage = 'before' | 'train' | 'after' | 'answer';

export interface TrialProgress {
  stage: Stage;
  /** Pieces of the stage that are done, of `all`. */
  done: number;
  all: number;
  /** After the last piece of the last stage. */
  row: TrialRow | null;
}

/** An answer that is to be judged, as the person's function gets it. */
export interface ToJudge {
  prompt: string;
  completion: string;
  columns: Record<string, unknown>;
}

/** Judges answers: a number for each, or null where there is nothing to say. What it rejects with is told as it is. */
export type JudgeFunction = (answers: ToJudge[]) => Promise<(number | null)[]>;

/** What a reward made of some answers, or why it could not judge them. */
export type Earned = { name: string } & ({ earned: (number | null)[] } | { problem: Problem });

/** A file of the browser's own storage: both say how many bytes went. */
export interface Spill {
  write(bytes: Uint8Array, at: number): number;
  read(into: Uint8Array, at: number): number;
}

/** How often a model, or a reward adapter, is of a person's mind. */
export interface Agreement {
  pairs: number;
  /** Pairs whose chosen answer has the higher log-probability a token in the mean, or the higher score. */
  agrees: number;
}

export interface GenerateOptions {
  /** An adapter's id; null for the model alone. */
  adapter: number | null;
  /** How much of the adapter counts, from 0 to 1; 1 where it is not given. */
  adapter_scale?: number;
  /** Answers, written side by side. */
  count: number;
  max_new_tokens: number;
  temperature: number;
  top_p: number;
  seed: number;
}

export interface Generated {
  text: string;
  tokens: number;
  stop: 'end' | 'length' | 'cancelled';
  tokens_per_second: number;
}

export interface NamedFile {
  name: string;
  bytes: Uint8Array<ArrayBuffer>;
}

/** A folder that is being written: its files one after the other, each in parts. */
export interface FolderDraft {
  /** The next part of a file. With the first one of another file, what came before is on the disk. */
  write(name: string, part: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Nothing more comes. */
  close(): Promise<void>;
  /** It is given up, and removed: half of a folder takes room and is of no use. */
  abort(): Promise<void>;
}

/** A folder of the browser's own storage with the record of one run: what the crate's `Store` asks of it. */
export interface RunStore {
  /** What messages call it. */
  readonly name: string;
  /** The names of the files and folders in it. */
  entries(): Promise<string[]>;
  /** Bytes of all its files. */
  bytes(): Promise<number>;
  /** A file, by its name, behind that of a folder and a slash where it lies in one; null where there is none. */
  read(path: string): Promise<Uint8Array | null>;
  /** Writes a file in the place of the one of this name: whenever that ends, one of the two is there, whole. */
  write(name: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  append(name: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Begins to write a folder in the place of the one of this name. */
  openFolder(name: string): Promise<FolderDraft>;
  removeFolder(name: string): Promise<void>;
}

/** What a run is given beside its settings and rows. */
export interface RunTools {
  /** Hears of kernels that are tried, which happens once on a device. */
  onTune?: (done: number, all: number) => void;
  /** Where what the run's memory does not hold goes. */
  spill?: Spill;
  /** The person's function, where the rewards name it. */
  judge?: JudgeFunction;
  /** The id of the adapter that the run begins from; a new one, where there is none. */
  beginFrom?: number;
  /** Where the run is kept; it is not, where there is none. */
  store?: RunStore;
  /** What the page has to say of the run in its record. */
  about?: Record<string, unknown>;
}

/** A run in a few lines, from what is kept of it. */
export interface RunSummary {
  /** The model under it. */
  base: string;
  /** The id of its method. */
  method: string;
  /** Steps that were reported. */
  steps: number;
  /** Steps of its newest checkpoint, from which it can go on. */
  checkpoint: number | null;
  /** Of the last step that was reported. */
  loss: number | null;
  /** The step of the lowest loss on what is held out, and that loss. */
  best: [number, number] | null;
  /** Whether it came to its end, where the adapter is. */
  done: boolean;
  bytes: number;
  config: RunConfig;
  /** What `record.json` holds. */
  about: RunAbout | null;
}

/** SHA-256 of the rows of a run, and of those that are held out, as their files hold them. */
export interface RowsHash {
  data: string;
  held_out?: string;
}

export interface RunAbout {
  version: number;
  /** In milliseconds since 1970. */
  begun: number;
  model: { name: string; file: string; hash: string; load_in_4bit: boolean };
  trainable: number;
  rows?: RowsHash;
  [more: string]: unknown;
}

/** What is kept of a run; null where nothing has begun there. */
export function runSummary(store: RunStore): Promise<RunSummary | null>;

/** Loads and starts the wasm module. */
export default function init(input?: { module_or_path: URL | string }): Promise<unknown>;

export function defaults(): Defaults;

/** What can be learnt, the supervised objective first. */
export function objectives(): Objective[];

/** Every kernel in every form, as the browser is given it. */
export function kernels(): { name: string; wgsl: string }[];

export class Sha256 {
  constructor();
  update(bytes: Uint8Array): void;
  hex(): string;
  free(): void;
}

/** Reads JSONL that comes in pieces: examples, or prompts. */
export class RowsReader {
  constructor(name: string, prompts: boolean);
  /** The lines that come next, each whole; every bad one is named. */
  read(text: string): { examples: Example[]; errors: ImportError[] };
  /** Of all of them: that there are none, and columns that nobody reads, which a person should know. It cannot be used any more. */
  finish(): { errors: ImportError[]; warnings: string[] };
  free(): void;
}

/** Leaves the work of a session's device between two submits, and takes it up again, also while a step is going. */
export class Turns {
  private constructor();
  /** Comes with true when the device has nothing to do any more, and with false where `release` came first. */
  hold(): Promise<boolean>;
  release(): void;
  /** Milliseconds for which work was held so far. */
  heldMs(): number;
}

export class Session {
  private constructor();
  /** Asks for an adapter and a device. */
  static create(): Promise<Session>;
  device(): Device;
  turns(): Turns;
  /** Settles when the device is lost, also while nothing is asked of it. */
  lost(): Promise<void>;
  /** `onProgress` throws to stop; the model that was loaded before stays. */
  load(
    name: string,
    files: File[],
    onProgress: (done: number, total: number) => void,
    options?: LoadOptions,
  ): Promise<ModelInfo>;
  /** Hands rows over, each under a number, in the place of the one of that number: what asks for rows below is given these. */
  putRows(ids: Uint32Array, rows: Example[]): void;
  dropRows(ids: Uint32Array): void;
  /** Reads rows as a run does, for so many milliseconds, where that was not done yet; gives how many of them, from the first on, are read. */
  readRows(config: RunConfig, rows: Uint32Array, ms: number): number;
  checkRows(config: RunConfig, rows: Uint32Array): RowsReport;
  /** Rows as JSONL. */
  rowLines(rows: Uint32Array): string;
  /** What the config's rewards say of answers to a prompt, without a run. `judge`: the function, where they name it. */
  judge(config: RunConfig, row: Prompt, answers: string[], judge?: JudgeFunction): Promise<Earned[]>;
  /** An example as the model will see it. */
  preview(example: Example, config: RunConfig): Preview;
  /** What a run would need, with each way to recompute that the config allows, the fastest first. */
  estimate(config: RunConfig, rows: Uint32Array, heldOut: Uint32Array): Promise<Estimate[]>;
  /** How large a method is; nothing is allocated. */
  size(config: RunConfig): Promise<Size>;
  /** What was found to be the fastest on this device, as text to keep. */
  forms(): string;
  /** Takes up what was kept; of another device or version it counts for nothing. */
  chooseForms(kept: string): void;
  /** Gives the run's first events, of which `start` comes first; its adapter is the last of `adapters()`. */
  startTraining(config: RunConfig, rows: Uint32Array, heldOut: Uint32Array, tools: RunTools): Promise<Event[]>;
  /** Takes up a run where its newest checkpoint is, with the rows that it began with; gives its events up to there. */
  resumeTraining(rows: Uint32Array, heldOut: Uint32Array, tools: RunTools): Promise<Event[]>;
  /** The settings of a run that begins from an adapter, as `RunTools.beginFrom` has it. */
  configFrom(config: RunConfig, adapterId: number): Promise<RunConfig>;
  /** One optimizer step; the last one's events end with `done`. */
  step(): Promise<Event[]>;
  /** Writes a checkpoint of the run that is going; gives what came with that. */
  keepRun(): Promise<Event[]>;
  /** Stops here and keeps what was trained. */
  finish(): Promise<Event[]>;
  /** Prepares for several methods on the same examples, rendered as the config says. */
  openLab(config: RunConfig, rows: Uint32Array, heldOut: Uint32Array): void;
  /** Takes up a method, under the name that its row will have. */
  beginTrial(method: string, config: RunConfig, onTune: (done: number, all: number) => void): Promise<void>;
  /** One piece of its work: an evaluation, a step, or an answer. */
  advanceTrial(): Promise<TrialProgress>;
  /** Ends the lab and gives its memory back. */
  closeLab(): void;
  /** `onText` is told which answer a piece belongs to, and returns false to stop that one. */
  generate(messages: Message[], options: GenerateOptions, onText: (piece: string, answer: number) => boolean): Promise<Generated[]>;
  /** Of the pairs among the rows, how many an adapter agrees with; null is the model alone. */
  agreement(adapterId: number | null, rows: Example[]): Promise<Agreement>;
  /** How surprised the model is by ordinary text, in nats a token, with an adapter; null is the model alone. */
  neutralLoss(adapterId: number | null): Promise<number>;
  /** Every adapter of the model that is loaded, in the order they came. Another model has none. */
  adapters(): Adapter[];
  /** Reads an adapter from the bytes of PEFT's two files, and gives its id. */
  addAdapter(name: string, config: Uint8Array, tensors: Uint8Array): Promise<number>;
  /** Reads the adapter of a run that is kept, which is the last of `adapters()` then, and gives its id. */
  adapterOfRun(store: RunStore): Promise<number>;
  /** Gives up an adapter, and its memory. */
  removeAdapter(id: number): void;
  exportPeft(id: number): Promise<NamedFile[]>;
  /** The model with an adapter merged in, as the pieces of a GGUF file, one after another; `onPiece` throws to stop. */
  mergeGguf(id: number, outtype: OutType, onPiece: (bytes: Uint8Array<ArrayBuffer>, done: number, total: number) => void): Promise<void>;
}

// The surface of the wasm crate, as wasm-bindgen makes it at src/pkg/tunesmith.js. The bundler
// resolves "tunesmith-engine" to that file; the types live here so that the page can be checked
// before the crate is built, and so that nothing is `any`.

/** What every function below throws: a stable code, what is wrong, and what to do. */
export interface Problem {
  code: string;
  message: string;
  help: string;
}

export type FieldType = 'int' | 'float' | 'bool' | 'choice' | 'text' | 'list';
export type FieldValue = number | boolean | string | string[] | null;

/** One field of the run config, from the table in the crate: the form is made from it. */
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
  /** Defaults that differ by method. */
  defaults?: Record<string, FieldValue>;
}

export interface Method {
  id: string;
  name: string;
  help: string;
}

/** A run, exactly as run.json holds it. */
export type RunConfig = { method?: string } & Record<string, FieldValue | undefined>;

export interface Defaults {
  fields: Field[];
  methods: Method[];
  config: RunConfig;
}

export interface Message {
  role: string;
  content: string;
}

/** One training example, in the shape of its JSONL row. */
export type Example =
  | { messages: Message[] }
  | { prompt: string; completion: string }
  | { text: string }
  | { input_ids: number[]; labels?: number[] };

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
  /** The file's. */
  quantization: string;
  /** Whether the blocks' linear layers were quantized to NF4. */
  load_in_4bit: boolean;
  file_bytes: number;
  gpu_bytes: number;
  chat_template: string | null;
}

export interface LoadOptions {
  /** Quantize the blocks' linear layers to NF4 on the way, from F16 or F32: QLoRA's base. A run then has it in its config. */
  load_in_4bit?: boolean;
}

export interface ImportError {
  line: number | null;
  message: string;
  help: string;
}

export interface Imported {
  examples: Example[];
  errors: ImportError[];
}

export interface PreviewToken {
  text: string;
  target: boolean;
  special: boolean;
}

export interface Preview {
  tokens: PreviewToken[];
  total: number;
  targets: number;
  truncated: boolean;
}

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
      loss: number;
      learning_rate: number;
      /** Null when the gradient was not finite and the step was skipped. */
      grad_norm: number | null;
      tokens: number;
      target_tokens: number;
      ms: number;
    }
  | { event: 'eval'; step: number; loss: number; tokens: number }
  | { event: 'sample'; step: number; prompt: string; text: string }
  | { event: 'checkpoint'; step: number; path?: string }
  | { event: 'warning'; code: string; message: string }
  | { event: 'done'; steps: number; path?: string; loss: number }
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
}

/** A file of the browser's own storage: both say how many bytes went. */
export interface Spill {
  write(bytes: Uint8Array, at: number): number;
  read(into: Uint8Array, at: number): number;
}

export interface GenerateOptions {
  adapter: boolean;
  /** How much of the adapter counts, from 0 to 1; 1 where it is not given. */
  adapter_scale?: number;
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

/** Loads and starts the wasm module. */
export default function init(input?: { module_or_path: URL | string }): Promise<unknown>;

export function defaults(): Defaults;

export class Sha256 {
  constructor();
  update(bytes: Uint8Array): void;
  hex(): string;
  free(): void;
}

export class Session {
  private constructor();
  /** Asks for an adapter and a device. */
  static create(): Promise<Session>;
  device(): Device;
  load(
    name: string,
    file: Blob,
    onProgress: (done: number, total: number) => void,
    options?: LoadOptions,
  ): Promise<ModelInfo>;
  /** JSONL to examples, with every bad line named. */
  import(name: string, text: string): Imported;
  /** An example as the model will see it. */
  preview(example: Example, config: RunConfig): Preview;
  /** What a run would need, with each way to recompute that the config allows, the fastest first. */
  estimate(config: RunConfig, examples: Example[], evalExamples: Example[]): Promise<Estimate[]>;
  /** What was found to be the fastest on this device, as text to keep. */
  forms(): string;
  /** Takes up what was kept; of another device or version it counts for nothing. */
  chooseForms(kept: string): void;
  /** `onTune` hears of kernels that are tried, which happens once on a device. */
  startTraining(
    config: RunConfig,
    examples: Example[],
    evalExamples: Example[],
    onTune: (done: number, all: number) => void,
    /** Where what the run's memory does not hold goes. */
    spill?: Spill,
  ): Promise<Event>;
  /** One optimizer step; the last one's events end with `done`. */
  step(): Promise<Event[]>;
  /** Stops here and keeps what was trained. */
  finish(): Promise<Event[]>;
  /** `onText` returns false to stop. */
  generate(messages: Message[], options: GenerateOptions, onText: (piece: string) => boolean): Promise<Generated>;
  exportPeft(): Promise<NamedFile[]>;
  /** The model with the adapter merged in, as the pieces of a GGUF file, one after another. */
  mergeGguf(outtype: 'f32' | 'f16', onPiece: (bytes: Uint8Array, done: number, total: number) => void): Promise<void>;
}

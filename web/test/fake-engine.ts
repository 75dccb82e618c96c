// A made-up engine with the interface of the wasm one: for unit tests, and for work on the screens.
// Its numbers look like a run's, and mean nothing. It is never part of a real build.

import type * as Engine from '../src/engine';
import { append, begin, checkpoint, end, takeUp } from './fake-record';
import { FakeRows } from './fake-rows';
import type { Event, Example, Field, JudgeFunction, Message, Metrics, Problem, Prompt, RunConfig, Side } from '../src/engine';

export { runSummary } from './fake-record';
export { RowsReader } from './fake-rows';

export default async function init(): Promise<void> {}

const field = (f: Partial<Field> & Pick<Field, 'name' | 'label' | 'type' | 'default' | 'group'>): Field => ({ help: '', objectives: [], ...f });

const modules = 'q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj';

export function defaults(): Engine.Defaults {
  return {
    methods: [
      { id: 'lora', name: 'LoRA', help: 'Trains small matrices beside the model’s own. The usual choice.', in_peft: true, in_4bit: { name: 'QLoRA', help: 'LoRA over a model that is loaded in 4 bits.' } },
      { id: 'ia3', name: 'IA3', help: 'Trains one factor for each key, value and feed-forward number.', in_peft: true, in_4bit: null },
      { id: 'full', name: 'Full fine-tuning', help: 'Trains every weight of the model.', in_peft: false, in_4bit: null },
      { id: 'prompt', name: 'Prompt tuning', help: 'Trains a few made-up tokens put before every prompt. Tiny, and learns less.', in_peft: true, in_4bit: null },
    ],
    config: { method: 'lora' },
    lab_least: 5,
    shape: ['r', 'lora_alpha', 'target_modules', 'num_virtual_tokens'],
    fields: [
      field({ name: 'max_steps', label: 'Steps', type: 'int', default: 40, min: 1, group: 'Training', help: 'How many times the weights are updated.' }),
      field({ name: 'learning_rate', label: 'Learning rate', type: 'float', default: 2e-4, min: 0, group: 'Training', help: 'How far each step goes.', defaults: { lora: 2e-4, prompt: 3e-2 }, objectives: ['sft'] }),
      field({ name: 'learning_rate', label: 'Learning rate', type: 'float', default: 1e-5, min: 0, group: 'Training', help: 'How far each step goes.', objectives: ['dpo', 'kto', 'orpo', 'cpo', 'reward', 'grpo', 'rloo'] }),
      field({ name: 'loss_type', label: 'Loss type', type: 'choice', default: 'sigmoid', choices: ['sigmoid', 'ipo', 'hinge', 'robust'], group: 'Objective', help: 'What a margin costs.', objectives: ['dpo'] }),
      field({ name: 'loss_type', label: 'Loss type', type: 'choice', default: 'sigmoid', choices: ['sigmoid', 'ipo', 'hinge', 'simpo'], group: 'Objective', help: 'What a margin costs.', objectives: ['cpo'] }),
      field({ name: 'beta', label: 'Beta', type: 'float', default: 0.1, min: 0, group: 'Objective', help: 'How much a margin counts.', objectives: ['dpo', 'kto', 'orpo', 'cpo'] }),
      field({ name: 'desirable_weight', label: 'Desirable weight', type: 'float', default: 1, min: 0, group: 'Objective', help: 'What a thumb up weighs.', objectives: ['kto'] }),
      field({ name: 'center_rewards_coefficient', label: 'Center rewards coefficient', type: 'float', default: 0, min: 0, group: 'Objective', help: 'Pull of the scores towards 0.', objectives: ['reward'] }),
      field({ name: 'beta', label: 'Beta', type: 'float', default: 0.05, min: 0, group: 'Objective', help: 'How near it stays to where it began.', objectives: ['rloo'] }),
      field({ name: 'reward', label: 'Reward', type: 'rewards', default: '', group: 'Objective', objectives: ['grpo', 'rloo'] }),
      field({ name: 'reward_weights', label: 'Reward weights', type: 'numbers', default: '', group: 'Objective', objectives: ['grpo', 'rloo'] }),
      field({ name: 'num_generations', label: 'Answers to a prompt', type: 'int', default: 4, min: 2, group: 'Objective', objectives: ['grpo', 'rloo'] }),
      field({ name: 'max_completion_length', label: 'Longest answer', type: 'int', default: 64, min: 1, group: 'Objective', objectives: ['grpo', 'rloo'] }),
      field({ name: 'temperature', label: 'Temperature', type: 'float', default: 1, min: 0, group: 'Objective', help: 'Higher makes for more variety.', objectives: ['grpo', 'rloo'] }),
      field({ name: 'reward_clip_range', label: 'Reward clip range', type: 'numbers', default: '', group: 'Objective', help: 'The least and the most, such as -1,1.', objectives: ['rloo'] }),
      field({ name: 'r', label: 'Rank', type: 'int', default: 16, min: 1, max: 256, group: 'Method', help: 'The width of the added matrices.', methods: ['lora'] }),
      field({ name: 'num_virtual_tokens', label: 'Virtual tokens', type: 'int', default: 16, min: 1, group: 'Method', help: 'How many tokens are learned.', methods: ['prompt'] }),
      field({ name: 'lora_alpha', label: 'Alpha', type: 'float', default: 16, group: 'Method', help: 'The adapter is scaled by alpha / rank.', methods: ['lora'] }),
      field({ name: 'lora_dropout', label: 'Dropout', type: 'float', default: 0, min: 0, max: 0.9, group: 'Method', help: 'Share of inputs left out at random.', methods: ['lora'] }),
      field({ name: 'target_modules', label: 'Layers', type: 'list', default: 'all-linear', group: 'Method', help: `"all-linear", or some of ${modules}.`, methods: ['lora'] }),
      field({ name: 'lr_scheduler_type', label: 'Schedule', type: 'choice', default: 'cosine', choices: ['constant', 'linear', 'cosine'], group: 'Training', help: 'How the learning rate goes down.' }),
      field({ name: 'warmup_steps', label: 'Warm-up', type: 'float', default: 0.05, min: 0, group: 'Training', help: 'Steps, or a share of all steps below 1.' }),
      field({ name: 'per_device_train_batch_size', label: 'Batch size', type: 'int', default: 1, min: 1, group: 'Data', help: 'Examples in one pass.' }),
      field({ name: 'gradient_accumulation_steps', label: 'Accumulate', type: 'int', default: 1, min: 1, group: 'Data', help: 'Passes before an update.' }),
      field({ name: 'max_length', label: 'Longest example', type: 'int', default: 256, min: 8, group: 'Data', help: 'In tokens; what is longer is cut off.' }),
      field({ name: 'packing', label: 'Pack short examples', type: 'bool', default: true, group: 'Data', help: 'Puts several into one row.' }),
      field({ name: 'weight_decay', label: 'Weight decay', type: 'float', default: 0, min: 0, group: 'Optimizer', help: 'Pulls weights to zero.' }),
      field({ name: 'max_grad_norm', label: 'Clip gradients at', type: 'float', default: 1, min: 0, group: 'Optimizer', help: 'The longest step the gradient may ask for.' }),
      field({ name: 'eval_steps', label: 'Evaluate every', type: 'int', default: 10, min: 1, group: 'Evaluation', help: 'Steps between evaluations.' }),
      field({ name: 'seed', label: 'Seed', type: 'int', default: 0, min: 0, group: 'Data', help: 'The same seed gives the same run.' }),
    ],
  };
}

export function objectives(): Engine.Objective[] {
  return [
    { name: 'sft', label: 'Supervised', help: 'Learns the answers word by word.', rows: 'examples' },
    { name: 'dpo', label: 'DPO', help: 'Learns from pairs, beside the model as it was.', rows: 'pairs' },
    { name: 'kto', label: 'KTO', help: 'Learns from single answers that are good or bad.', rows: 'verdicts' },
    { name: 'orpo', label: 'ORPO', help: 'Learns the chosen answers, and the odds against the rejected.', rows: 'pairs' },
    { name: 'cpo', label: 'CPO', help: 'Learns from pairs, with no model beside.', rows: 'pairs' },
    { name: 'reward', label: 'Reward model', help: 'Learns to score answers.', rows: 'pairs' },
    { name: 'grpo', label: 'GRPO', help: 'Learns from answers that earn more than the others.', rows: 'prompts' },
    { name: 'rloo', label: 'RLOO', help: 'Learns from how much more an answer earns.', rows: 'prompts' },
  ];
}

/** Not a hash: it says how many bytes it was given. */
export class Sha256 {
  #bytes = 0;
  update(bytes: Uint8Array): void {
    this.#bytes += bytes.length;
  }
  hex(): string {
    return `fake-${this.#bytes}`;
  }
  free(): void {}
}

const stages = (stage: Engine.Stage, all: number) => Array.from({ length: all }, (_, i) => ({ stage, done: i + 1, all }));

const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));
const problem = (code: string, message: string, help: string): Problem => ({ code, message, help });

/** How long the pretended work takes; tests set it to 0. */
export const pace = { step: 320, token: 45, load: 120, rows: 500 };

/** What is wrong with a row, in a word. */

const turns = (role: string, side: Side): Message[] => (typeof side === 'string' ? [{ role, content: side }] : side);

/** The conversation of a row, or of one side of it. */
const conversation = (example: Example, side: 'chosen' | 'rejected' = 'chosen'): Message[] => {
  if ('messages' in example) return example.messages;
  if ('text' in example) return [{ role: 'assistant', content: example.text }];
  if ('chosen' in example) return [...turns('user', example.prompt ?? []), ...turns('assistant', example[side])];
  if ('completion' in example) return [...turns('user', example.prompt), ...turns('assistant', example.completion)];
  return [{ role: 'assistant', content: JSON.stringify(example) }];
};

/** Numbers that look like those of a run on preferences. */
function metricsOf(objective: string, share: number, noise: number): Metrics {
  const margin = 1.6 * share + 0.3 * noise;
  const accuracy = Math.min(1, Math.max(0, 0.5 + 0.5 * share + 0.2 * noise));
  if (objective === 'reward') return { accuracy, margin, min_reward: -margin, mean_reward: 0.1 * noise, max_reward: margin };
  const chosen = 0.3 * margin;
  return { 'rewards/chosen': chosen, 'rewards/rejected': chosen - margin, 'rewards/margins': margin, 'rewards/accuracies': accuracy, 'logps/chosen': -21 + chosen, 'logps/rejected': -34 + chosen - margin };
}

const wordsOf = (text: string) => text.match(/\s*[\p{L}\d]{1,6}|\s*[^\p{L}\d\s]|\s+/gu) ?? [];

/** How sampled answers begin, by their seed. */
const openings = ['Well.', 'Let me see.', 'Of course!'];

export class Session {
  #examples: Example[] = [];
  #config: RunConfig = {};
  #step = 0;
  #best: { step: number; value: number; waited: number } | null = null;
  #in4bit = false;
  #adapters: Engine.Adapter[] = [];
  #made = 0;
  #held = 0;
  #judge: JudgeFunction | undefined;
  #store: Engine.RunStore | null = null;
  #trial: { method: string; config: RunConfig; left: { stage: Engine.Stage; done: number; all: number }[] } | null = null;

  static async create(): Promise<Session> {
    await sleep(pace.load);
    return new Session();
  }

  device(): Engine.Device {
    return {
      name: 'Fake adapter',
      backend: 'webgpu',
      software: import.meta.env?.VITE_SOFTWARE === 'yes',
      limits: { maxBufferSize: 268435456, maxStorageBufferBindingSize: 134217728 },
      features: [],
    };
  }

  turns(): Engine.Turns {
    // A made-up step has no middle.
    return { hold: async () => false, release: () => undefined, heldMs: () => 0 } as unknown as Engine.Turns;
  }

  lost(): Promise<void> {
    return new Promise(() => undefined);
  }

  async load(name: string, [file]: [File, ...File[]], onProgress: (done: number, total: number) => void, options: Engine.LoadOptions = {}): Promise<Engine.ModelInfo> {
    const quantization = name.includes('F16') ? 'F16' : 'Q4_1';
    const head = await file.slice(0, 4).text();
    if (name.endsWith('.gguf') && head !== 'GGUF') {
      throw problem('format', `${name}: starts with "${head}", and a GGUF file starts with "GGUF"`, 'Choose a file that ends in .gguf, from a model page that offers GGUF.');
    }
    if (options.load_in_4bit && quantization !== 'F16') {
      throw problem('config', 'load_in_4bit: blk.0.attn_q.weight is Q4_1 in the file, so the model is quantized already', 'leave load_in_4bit out; or load the model’s F16 or F32 file');
    }
    for (let i = 1; i <= 8; i++) {
      await sleep(pace.load);
      onProgress((file.size * i) / 8, file.size);
    }
    this.#in4bit = options.load_in_4bit ?? false;
    this.#adapters = [];
    return {
      name, architecture: 'llama', layers: 30, hidden: 576, heads: 9, kv_heads: 3, ffn: 1536, vocab: 49152, context_length: 8192,
      parameters: 134515008, hash: name.includes('other') ? 'beef' : 'f00d', quantization, load_in_4bit: this.#in4bit, file_bytes: 98362432, gpu_bytes: 112984064,
      chat_template: "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}",
    };
  }

  readonly rows = new FakeRows();

  putRows(ids: Uint32Array, rows: Example[]): void {
    this.rows.put(ids, rows);
  }

  dropRows(ids: Uint32Array): void {
    this.rows.drop(ids);
  }

  /** A few at a time, so that a reading in several pieces is seen. */
  readRows(_config: RunConfig, rows: Uint32Array): number {
    return Math.min(rows.length, pace.rows);
  }

  checkRows(config: RunConfig, rows: Uint32Array): Engine.RowsReport {
    const report: Engine.RowsReport = { tokens: 0, targets: 0, truncated: 0, bad: [] };
    for (const [index, example] of this.rows.of(rows).entries()) {
      try {
        const { total, targets, truncated } = this.preview(example, config);
        report.tokens += total;
        report.targets += targets;
        report.truncated += Number(truncated);
      } catch (thrown) {
        report.bad.push({ row: rows[index]!, problem: thrown as Problem });
      }
    }
    return report;
  }

  rowLines(rows: Uint32Array): string {
    return this.rows.lines(rows);
  }

  /** What the made-up rewards make of answers: the function is asked, and a rule counts letters. */
  async #earned(config: RunConfig, answers: Engine.ToJudge[], judge?: JudgeFunction): Promise<Engine.Earned[]> {
    const told: Engine.Earned[] = [];
    for (const name of config.reward as string[]) {
      if (name === 'regex:(') told.push({ name, problem: problem('config', 'reward: regex:( is no regular expression', 'correct the pattern') });
      else if (name === 'function') told.push({ name, earned: await judge!(answers) });
      else told.push({ name, earned: answers.map(({ completion }) => (completion ? 1 / completion.length : null)) });
    }
    return told;
  }

  judge(config: RunConfig, row: Prompt, answers: string[], judge?: JudgeFunction): Promise<Engine.Earned[]> {
    const { columns } = row;
    return this.#earned(config, answers.map((completion) => ({ prompt: String(row.prompt), completion, columns })), judge);
  }

  /** Some answers to a prompt, and what they earned. */
  async #rollouts(step: number): Promise<{ events: Event[]; metrics: Metrics }> {
    const asked = this.#examples[step % this.#examples.length] as Prompt;
    const prompt = String(asked.prompt);
    const answers = Array.from({ length: Number(this.#config.num_generations) }, (_, index) => ({ prompt, completion: `${openings[(step + index) % openings.length]} ${'So it is, and so it was. '.repeat(index)}`.trim(), columns: asked.columns }));
    const told = await this.#earned(this.#config, answers, this.#judge);
    const totals = answers.map((_, index) => told.reduce((sum, one) => sum + ('earned' in one ? (one.earned[index] ?? 0) : 0), 0));
    const mean = totals.reduce((sum, one) => sum + one, 0) / totals.length;
    const events = answers.map(({ completion }, index): Event => ({
      event: 'rollout', step, prompt, completion, advantage: totals[index]! - mean, tokens: wordsOf(completion).length,
      rewards: Object.fromEntries(told.map((one) => [one.name, 'earned' in one ? one.earned[index]! : null])),
    }));
    const means = Object.fromEntries(told.map(({ name }) => [`rewards/${name}/mean`, mean / told.length]));
    return { events, metrics: { reward: mean, reward_std: 0.2, ...means, 'completions/mean_length': 20 - step / 4, 'completions/min_length': 4, frac_reward_zero_std: 0.25, 'completions/clipped_ratio': 0.1 } };
  }

  preview(example: Example, config: RunConfig): Engine.Preview {
    if ('columns' in example) {
      const missing = (config.reward as string[]).find((name) => name.startsWith('exact:') && !(name.slice(6) in example.columns));
      if (missing) throw problem('data', `the reward ${missing} compares with a column that is not there`, 'Give each row its column.');
      const { tokens } = this.#tokens(turns('user', example.prompt), config);
      return { tokens, total: tokens.length, targets: 0, truncated: false };
    }
    const one = (side?: 'rejected') => this.#tokens(conversation(example, side), config);
    const counts = (...sides: { tokens: Engine.PreviewToken[]; truncated: boolean }[]) => ({
      total: sides.reduce((sum, { tokens }) => sum + tokens.length, 0),
      targets: sides.reduce((sum, { tokens }) => sum + tokens.filter(({ target }) => target).length, 0),
      truncated: sides.some(({ truncated }) => truncated),
    });
    const first = one();
    if ('label' in example) {
      if (config.objective !== 'kto') throw problem('data', 'a thumb up or down is nothing to compare', 'Use KTO.');
      return { pieces: first.tokens, label: example.label, ...counts(first) };
    }
    if (!('chosen' in example)) return { tokens: first.tokens, ...counts(first) };
    if (JSON.stringify(example.chosen) === JSON.stringify(example.rejected)) throw problem('data', 'both answers are the same', 'Give two that differ.');
    const second = one('rejected');
    return { chosen: first.tokens, rejected: second.tokens, ...counts(first, second) };
  }

  #tokens(conversation: Message[], config: RunConfig) {
    const tokens: Engine.PreviewToken[] = [];
    for (const { role, content } of conversation) {
      const target = role === 'assistant';
      if (target && !content) throw problem('data', 'the reply is empty, so there is nothing to train on', 'Write the answer you want.');
      tokens.push({ text: '<|im_start|>', target: false, special: true });
      tokens.push({ text: role, target: false, special: false }, { text: '\n', target: false, special: false });
      for (const text of wordsOf(content)) tokens.push({ text, target, special: false });
      tokens.push({ text: '<|im_end|>', target, special: true }, { text: '\n', target: false, special: false });
    }
    const longest = Number(config.max_length ?? 256);
    const kept = tokens.slice(0, longest);
    return { tokens: kept, truncated: kept.length < tokens.length };
  }

  async estimate(): Promise<Engine.Estimate[]> {
    const estimate = { recompute: 'none' as const, rows: 128, model: 113.7e6, adapter: 78.2e6, activations: 145.1e6, total: 337.2e6, fits: true, advice: '' };
    return [estimate];
  }

  async size({ method }: RunConfig): Promise<Engine.Size> {
    if (method === 'full' && this.#in4bit) throw problem('config', 'load_in_4bit: full fine-tuning trains every weight in 32 bits', 'leave it out, or use another method');
    const trainable = { lora: 4884480, ia3: 57600, full: 134515008 }[String(method)] ?? 9216;
    return { trainable, file_bytes: 4 * trainable };
  }

  openLab(_config: RunConfig, rows: Uint32Array, heldOut: Uint32Array): void {
    if (!rows.length || !heldOut.length) throw problem('data', 'no example can be held out', 'Give five or more.');
    this.#held = heldOut.length;
  }

  async beginTrial(method: string, config: RunConfig): Promise<void> {
    await sleep(pace.load);
    if (method === 'full') throw problem('limit', 'this run needs 2400000000 bytes, and the limit is 2000000000', 'Use a method with fewer parameters.');
    const steps = Number(config.max_steps);
    this.#trial = { method, config, left: [...stages('train', steps), ...stages('after', this.#held), ...stages('answer', this.#held)] };
  }

  async advanceTrial(): Promise<Engine.TrialProgress> {
    await sleep(pace.step);
    const trial = this.#trial!;
    const piece = trial.left.shift()!;
    if (trial.left.length) return { ...piece, row: null };
    const size = await this.size(trial.config);
    const row = {
      ...size, method: trial.method, learning_rate: Number(trial.config.learning_rate), seconds: 0.32 * Number(trial.config.max_steps), peak_bytes: 337.2e6,
      loss_before: 3.42, loss_after: trial.method === 'lora' ? 1.31 : 2.2, exact: 0, answers: this.#held,
    };
    return { ...piece, row };
  }

  closeLab(): void {
    this.#trial = null;
  }

  forms(): string {
    return '{}';
  }

  chooseForms(): void {}

  async startTraining(config: RunConfig, rows: Uint32Array, _heldOut: Uint32Array, tools: Engine.RunTools): Promise<Event[]> {
    const examples = this.rows.of(rows);
    if (!examples.length) throw problem('data', 'there are no examples', 'Add some.');
    this.#begin(config, examples, tools);
    await sleep(pace.load);
    if (tools.store) await begin(tools.store, config, { name: 'SmolLM2-135M-Instruct', hash: 'f00d' }, tools.about ?? {});
    await this.#keep({ run: tools.store?.name ?? null }, config);
    return [this.#started(config)];
  }

  async configFrom(config: RunConfig, id: number): Promise<RunConfig> {
    const { method } = this.#adapters.find((adapter) => adapter.id === id)!;
    return { ...config, method };
  }

  async resumeTraining(rows: Uint32Array, _heldOut: Uint32Array, tools: Engine.RunTools): Promise<Event[]> {
    const examples = this.rows.of(rows);
    const { config, step, events } = await takeUp(tools.store!);
    this.#begin(config, examples, tools);
    await sleep(pace.load);
    this.#step = step;
    await this.#keep({ run: tools.store!.name }, config);
    return [this.#started(config), ...events];
  }

  #begin(config: RunConfig, examples: Example[], { onTune, judge, store }: Engine.RunTools): void {
    onTune?.(1, 1);
    [this.#judge, this.#store, this.#config, this.#examples, this.#step, this.#best] = [judge, store ?? null, config, examples, 0, null];
  }

  #started(config: RunConfig): Event {
    return { event: 'start', model: { name: 'SmolLM2-135M-Instruct' }, method: { name: config.method }, device: {}, trainable: 4884480, config };
  }

  async keepRun(): Promise<Event[]> {
    if (!this.#store) return [];
    try {
      await checkpoint(this.#store, this.#step);
      return [{ event: 'checkpoint', step: this.#step }];
    } catch (thrown) {
      return [{ event: 'warning', code: 'not-kept', message: (thrown as Error).message }];
    }
  }

  async adapterOfRun(store: Engine.RunStore): Promise<number> {
    return this.#keep({ run: store.name }, (await takeUp(store)).config);
  }

  async step(): Promise<Event[]> {
    await sleep(pace.step);
    const step = ++this.#step;
    const total = Number(this.#config.max_steps);
    const noise = Math.sin(step * 12.9898) * 0.5 + Math.sin(step * 4.1) * 0.3;
    const objective = String(this.#config.objective ?? 'sft');
    const fallen = Math.exp((objective === 'sft' ? -step : 1 - step) / (total / 4));
    const loss = objective === 'sft' ? 0.25 + 3.1 * fallen * (1 + 0.16 * noise) : Math.LN2 * fallen;
    const writes = objective === 'grpo' || objective === 'rloo';
    const rolled = writes ? await this.#rollouts(step) : { events: [], metrics: {} };
    const metrics = (extra = 0) => (objective === 'sft' ? {} : writes ? { metrics: rolled.metrics } : { metrics: metricsOf(objective, 1 - Math.exp((-3 * step) / total), noise + extra) });
    const events: Event[] = [
      ...rolled.events,
      {
        event: 'step', ...metrics(), step, loss, learning_rate: Number(this.#config.learning_rate) * 0.5 * (1 + Math.cos((Math.PI * step) / total)),
        grad_norm: 0.4 + loss * 0.7, tokens: 118 + Math.round(20 * noise), target_tokens: 61, ms: pace.step || 1,
      },
    ];
    if (step % Number(this.#config.eval_steps ?? 10) === 0) {
      // From three fifths of the run on it learns by heart.
      const held = loss * 1.08 + 0.12 + 2 * Math.max(0, step / total - 0.6);
      const best = this.#best === null || held < this.#best.value;
      if (best) this.#best = { step, value: held, waited: 0 };
      else this.#best!.waited++;
      events.push({ event: 'eval', step, loss: writes ? null : held, tokens: 96, ...(this.#config.load_best_model_at_end && best && { best }), ...metrics(-0.3) });
      if (objective === 'sft') {
        events.push({ event: 'sample', step, prompt: 'Where is my parcel?', text: step < 20 ? 'I am sorry, I do not know where your parcel is.' : 'Arr, yer parcel be sailin’ with the tide, matey.' });
        events.push({ event: 'sample', step, prompt: 'Can I pay with a card?', text: step < 20 ? 'Yes, you can.' : 'Aye, cards and doubloons alike, matey!' });
      }
    }
    const over = Number(this.#config.early_stopping_patience) > 0 && this.#best !== null && this.#best.waited >= Number(this.#config.early_stopping_patience);
    if (over) events.push({ event: 'warning', code: 'early-stopping', message: `stopped early: loss on what is held out was best at step ${this.#best!.step}` });
    if (this.#store) await append(this.#store, events);
    if (over || step === total) events.push(...(await this.#end(true)));
    return events;
  }

  finish(): Promise<Event[]> {
    return this.#end(false);
  }

  async #end(isDone: boolean): Promise<Event[]> {
    if (this.#store) await end(this.#store, isDone ? null : this.#step);
    for (const adapter of this.#adapters) adapter.training = false;
    const best = this.#config.load_best_model_at_end && this.#best && this.#best.step < this.#step ? { best: this.#best } : {};
    return [{ event: 'done', steps: this.#step, loss: 0.3, ...best }];
  }

  async generate(messages: Message[], options: Engine.GenerateOptions, onText: (piece: string, answer: number) => boolean): Promise<Engine.Generated[]> {
    const asked = messages.at(-1)?.content ?? '';
    const taught = this.#examples.map((example) => conversation(example)).find((turns) => turns.at(-2)?.content === asked)?.at(-1)?.content;
    const tuned = taught ?? 'Arr, that be a fine question, matey! Set yer course by the stars and ye’ll not go wrong.';
    const base = 'That is a great question! There are several factors to consider. First, it depends on what exactly you mean, and on the context in which you are asking.';
    const greedy = options.adapter !== null && options.adapter_scale !== 0 ? tuned : base;
    const written: Engine.Generated[] = [];
    for (let answer = 0; answer < options.count; answer++) {
      const pieces = wordsOf(options.temperature === 0 ? greedy : `${openings[(options.seed + answer) % openings.length]} ${greedy}`);
      const made: Engine.Generated = { text: '', tokens: pieces.length, stop: pieces.length > options.max_new_tokens ? 'length' : 'end', tokens_per_second: 21.4 };
      for (const piece of pieces.slice(0, options.max_new_tokens)) {
        await sleep(pace.token);
        made.text += piece;
        if (!onText(piece, answer)) {
          made.stop = 'cancelled';
          break;
        }
      }
      written.push(made);
    }
    return written;
  }

  async #keep({ file = null, run = null }: { file?: string | null; run?: string | null }, config: RunConfig): Promise<number> {
    const method = String(config.method ?? 'lora');
    const tokens = method === 'prompt';
    this.#adapters.push({
      ...(await this.size(config)), id: ++this.#made, file, run, made: Date.now(), method, training: file === null, config: file === null ? config : null, gpu_bytes: 8 * 4884480,
      scores: config.objective === 'reward',
      why_no_strength: tokens ? 'no value of what it learns changes nothing' : null, why_no_merge: tokens ? 'what it learns is no weight of the model' : null,
    });
    return this.#made;
  }

  async agreement(adapter: number | null, rows: Example[]): Promise<Engine.Agreement> {
    await sleep(pace.load);
    const pairs = rows.filter((row) => 'chosen' in row).length;
    return { pairs, agrees: adapter === null ? Math.floor(pairs / 2) : Math.ceil(0.875 * pairs) };
  }

  async neutralLoss(adapter: number | null): Promise<number> {
    await sleep(pace.load);
    return adapter === null ? 3.21 : 3.47;
  }

  adapters(): Engine.Adapter[] {
    return structuredClone(this.#adapters);
  }

  addAdapter(name: string, config: Uint8Array): Promise<number> {
    const { peft_type } = JSON.parse(new TextDecoder().decode(config)) as { peft_type?: string };
    if (!peft_type) throw problem('adapter', `${name}/adapter_config.json: peft_type is missing`, 'save the adapter again with PEFT or Tunesmith');
    return this.#keep({ file: name }, { method: peft_type === 'LORA' ? 'lora' : 'prompt' });
  }

  removeAdapter(id: number): void {
    this.#adapters = this.#adapters.filter((adapter) => adapter.id !== id);
  }

  async mergeGguf(_id: number, outtype: Engine.OutType, onPiece: (bytes: Uint8Array<ArrayBuffer>, done: number, total: number) => void): Promise<void> {
    const [piece, pieces] = [1_000_000, outtype === 'f16' ? 8 : 16];
    for (let i = 1; i <= pieces; i++) {
      await sleep(pace.load);
      onPiece(new Uint8Array(piece), i * piece, pieces * piece);
    }
  }

  exportPeft(_id: number): Engine.NamedFile[] {
    const bytes = (text: string) => new TextEncoder().encode(text);
    return [
      { name: 'adapter_config.json', bytes: bytes(JSON.stringify({ peft_type: 'LORA', r: this.#config.r })) },
      { name: 'adapter_model.safetensors', bytes: new Uint8Array(4884480 * 4) },
      { name: 'README.md', bytes: bytes('# An adapter\n') },
    ];
  }
}

// The tables of examples, preferences and prompts: rows in the shapes of their JSONL, shown as question and answers where they can be.

import type { Example, Message, Prompt, Side } from './engine';

export interface Row {
  id: number;
  example: Example;
}

let last = 0;
/** A row with an identity that stays while it is edited and moved. */
export const row = (example: Example): Row => ({ id: ++last, example });

export const pair = (question: string, answer: string): Example => ({
  messages: [
    { role: 'user', content: question },
    { role: 'assistant', content: answer },
  ],
});

/** How a table shows a row. */
export type View =
  | { kind: 'pair'; system: string | null; question: string; answer: string }
  | { kind: 'preference'; system: string | null; question: string; chosen: string; rejected: string }
  | { kind: 'verdict'; system: string | null; question: string; answer: string; good: boolean }
  /** `others`: columns beside the expected answer. */
  | { kind: 'prompt'; system: string | null; question: string; expected: string; others: string[] }
  | { kind: 'text'; text: string }
  /** Conversations of several turns, and token ids: edited as JSON. */
  | { kind: 'json'; label: string; json: string };

export function view(example: Example): View {
  return fields(example) ?? { kind: 'json', label: labelOf(example), json: lineOf(example) };
}

/** What a person can type into, where the row has no more than that. */
function fields(example: Example): View | null {
  if (isPrompt(example)) {
    const { [EXPECTED]: expected = '', ...others } = example.columns;
    const prompt = asked(example.prompt);
    return prompt && isShort(expected) ? { kind: 'prompt', ...prompt, expected: String(expected), others: Object.keys(others) } : null;
  }
  if ('text' in example) return { kind: 'text', text: example.text };
  if ('messages' in example) {
    const prompt = asked(example.messages.slice(0, -1));
    const answer = answered(example.messages.slice(-1));
    return prompt && answer !== null ? { kind: 'pair', ...prompt, answer } : null;
  }
  if ('chosen' in example) {
    const prompt = example.prompt === undefined ? null : asked(example.prompt);
    const [chosen, rejected] = [answered(example.chosen), answered(example.rejected)];
    return prompt && chosen !== null && rejected !== null ? { kind: 'preference', ...prompt, chosen, rejected } : null;
  }
  if (!('completion' in example)) return null;
  const [prompt, answer] = [asked(example.prompt), answered(example.completion)];
  if (!prompt || answer === null) return null;
  return 'label' in example ? { kind: 'verdict', ...prompt, answer, good: example.label } : { kind: 'pair', ...prompt, answer };
}

/** A prompt that is one question, perhaps behind a system message. */
function asked(prompt: Side): { system: string | null; question: string } | null {
  if (typeof prompt === 'string') return { system: null, question: prompt };
  const system = prompt[0]?.role === 'system' ? prompt[0] : null;
  const [question, ...more] = system ? prompt.slice(1) : prompt;
  return question?.role === 'user' && !more.length ? { system: system?.content ?? null, question: question.content } : null;
}

/** An answer that is one turn. */
function answered(answer: Side): string | null {
  if (typeof answer === 'string') return answer;
  const [turn, ...more] = answer;
  return turn?.role === 'assistant' && !more.length ? turn.content : null;
}

const isShort = (value: unknown) => typeof value === 'string' || typeof value === 'number';

function labelOf(example: Example): string {
  if (isPrompt(example)) return 'Prompt';
  if ('messages' in example) return `Conversation, ${example.messages.length} messages`;
  if ('input_ids' in example) return `Tokens, ${example.input_ids.length}`;
  const tokens = 'prompt_ids' in example ? ' of tokens' : '';
  return isPreference(example) ? `Pair${tokens}` : isVerdict(example) ? `Thumb up or down${tokens}` : 'Prompt and completion';
}

/** A place of a row that a person types into. */
export type Part = 'question' | 'answer' | 'chosen' | 'rejected' | 'expected';

/** The row with one part replaced, in the shape it had. */
export function withPart(example: Example, part: Part, value: string): Example {
  if (part === 'expected') return isPrompt(example) ? expecting(example, value) : example;
  const role = part === 'question' ? 'user' : 'assistant';
  const turns = (list: Message[]) => list.map((turn): Message => (turn.role === role ? { ...turn, content: value } : turn));
  if ('messages' in example) return { messages: turns(example.messages) };
  const key = { question: 'prompt', answer: 'completion', chosen: 'chosen', rejected: 'rejected' }[part];
  const side = (example as Record<string, Side | undefined>)[key];
  return side === undefined ? example : { ...example, [key]: typeof side === 'string' ? value : turns(side) };
}

/** The column that the rules compare with unless they name another. */
const EXPECTED = 'answer';

/** The prompt with another expected answer; an empty one is none. */
function expecting({ prompt, columns }: Prompt, value: string): Prompt {
  if (value) return { prompt, columns: { ...columns, [EXPECTED]: value } };
  const { [EXPECTED]: _, ...others } = columns;
  return { prompt, columns: others };
}

/** A prompt to answer; what is expected may be left out. */
export const promptRow = (prompt: string, expected = ''): Prompt => expecting({ prompt, columns: {} }, expected);

/** Whether the model answers it itself. */
export const isPrompt = (example: Example): example is Prompt => 'columns' in example;

/** A prompt from an object of its JSONL, where all stands side by side. */
export function fromLine({ prompt, ...columns }: Record<string, unknown>): Prompt {
  if (typeof prompt !== 'string' && !Array.isArray(prompt)) throw new Error('a "prompt" is needed, a text or a list of messages');
  return { prompt: prompt as Side, columns };
}

/** A row's line of JSONL. */
export const lineOf = (example: Example): string => JSON.stringify(isPrompt(example) ? { prompt: example.prompt, ...example.columns } : example);

/** Whether one of two answers was chosen. */
export const isPreference = (example: Example): boolean => 'chosen' in example || 'chosen_ids' in example;

/** Whether it is one answer with a thumb up or down. */
export const isVerdict = (example: Example): boolean => 'label' in example;

/** A line that says which example this is. */
export function summary(example: Example): string {
  const seen = view(example);
  const text = 'question' in seen ? seen.question : seen.kind === 'text' ? seen.text : seen.label;
  return text.trim().replace(/\s+/g, ' ');
}

/** What was found of each row: there may be very many, and a row is never changed, but another put in its place. */
const blank = new WeakMap<Example, boolean>();

/** Rows nothing was typed into yet. */
export function isBlank(example: Example): boolean {
  const known = blank.get(example);
  if (known !== undefined) return known;
  const seen = view(example);
  const texts = { pair: ['question', 'answer'], preference: ['question', 'chosen', 'rejected'], verdict: ['question', 'answer'], prompt: ['question', 'expected'], text: ['text'], json: ['json'] }[seen.kind];
  const found = texts.every((name) => !(seen as unknown as Record<string, string>)[name]?.trim());
  blank.set(example, found);
  return found;
}

export const toJsonl = (rows: readonly Row[]): string => rows.map(({ example }) => lineOf(example) + '\n').join('');

/**
 * Splits rows into those trained on and those held out, spread evenly over the table. The same rows
 * and share always split the same; at least one row is left to train on.
 */
export function split(rows: readonly Row[], share: number): { train: Row[]; held: Row[] } {
  const count = Math.min(Math.round(rows.length * share), rows.length - 1);
  if (count <= 0) return { train: [...rows], held: [] };
  const held = new Set(Array.from({ length: count }, (_, i) => Math.floor(((i + 0.5) * rows.length) / count)));
  return { train: rows.filter((_, i) => !held.has(i)), held: rows.filter((_, i) => held.has(i)) };
}

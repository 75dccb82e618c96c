// The table of examples: rows in the shapes of their JSONL, shown as question and answer where they can be.

import type { Example, Message } from './engine';

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

/** How the table shows an example. */
export type View =
  | { kind: 'pair'; system: string | null; question: string; answer: string }
  | { kind: 'text'; text: string }
  /** Conversations of several turns, and token ids: edited as JSON. */
  | { kind: 'json'; label: string; json: string };

export function view(example: Example): View {
  if ('messages' in example) {
    const turns = example.messages;
    const system = turns[0]?.role === 'system' ? turns[0] : null;
    const [question, answer, ...more] = system ? turns.slice(1) : turns;
    if (question?.role === 'user' && answer?.role === 'assistant' && more.length === 0) {
      return { kind: 'pair', system: system?.content ?? null, question: question.content, answer: answer.content };
    }
    return { kind: 'json', label: `Conversation, ${turns.length} messages`, json: JSON.stringify(example) };
  }
  if ('prompt' in example && typeof example.prompt === 'string' && typeof example.completion === 'string') {
    return { kind: 'pair', system: null, question: example.prompt, answer: example.completion };
  }
  if ('text' in example) return { kind: 'text', text: example.text };
  const label = 'input_ids' in example ? `Tokens, ${example.input_ids.length}` : 'Prompt and completion';
  return { kind: 'json', label, json: JSON.stringify(example) };
}

/** The example with one side of its pair replaced, in the shape it had. */
export function withPair(example: Example, side: 'question' | 'answer', value: string): Example {
  if ('messages' in example) {
    const role = side === 'question' ? 'user' : 'assistant';
    return { messages: example.messages.map((turn): Message => (turn.role === role ? { ...turn, content: value } : turn)) };
  }
  if ('prompt' in example) return side === 'question' ? { ...example, prompt: value } : { ...example, completion: value };
  return example;
}

/** A line that says which example this is. */
export function summary(example: Example): string {
  const seen = view(example);
  const text = seen.kind === 'pair' ? seen.question : seen.kind === 'text' ? seen.text : seen.label;
  return text.trim().replace(/\s+/g, ' ');
}

/** Rows nothing was typed into yet. */
export function isBlank(example: Example): boolean {
  const seen = view(example);
  if (seen.kind === 'pair') return !seen.question.trim() && !seen.answer.trim();
  return seen.kind === 'text' && !seen.text.trim();
}

export const toJsonl = (rows: readonly Row[]): string => rows.map(({ example }) => JSON.stringify(example) + '\n').join('');

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

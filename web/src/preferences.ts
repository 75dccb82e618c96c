// What a person prefers, as rows: pairs of a chosen and a rejected answer, and thumbs up or down. And which objective learns from which.

import type { Example, Message, Objective, Side } from './engine';
import { isPreference, isPrompt, isVerdict, type Row } from './examples';
import { count, plural } from './format';

/** Makes rows of what a person typed or chose: conversations, or texts where the model has no chat template. */
export interface Writer {
  /** `before`: what was said before the question. */
  preference(question: string, chosen: string, rejected: string, before?: Message[]): Example;
  verdict(question: string, answer: string, good: boolean, before?: Message[]): Example;
}

export function writer(chat: boolean): Writer {
  const side = (role: string, content: string): Side => (chat ? [{ role, content }] : content);
  const asked = (question: string, before: Message[] = []): Side => (chat ? [...before, { role: 'user', content: question }] : question);
  const said = (answer: string) => side('assistant', answer);
  return {
    preference: (question, chosen, rejected, before) => ({ prompt: asked(question, before), chosen: said(chosen), rejected: said(rejected) }),
    verdict: (question, answer, good, before) => ({ prompt: asked(question, before), completion: said(answer), label: good }),
  };
}

/** A thumb turned up or down. */
export const turned = (example: Example, good: boolean): Example => ('label' in example ? { ...example, label: good } : example);

/** Whether a row belongs in the table of preferences. */
export const isOpinion = (example: Example): boolean => isPreference(example) || isVerdict(example);

/** The rows that an objective learns from: examples and thumbs are nothing for one that compares two answers. */
export const usedBy = (takes: Objective['rows'], rows: readonly Row[]): Row[] =>
  rows.filter(({ example }) => ({ examples: !isOpinion(example) && !isPrompt(example), pairs: isPreference(example), verdicts: isOpinion(example), prompts: isPrompt(example) })[takes]);

/** How many rows there are, of each kind: "12 pairs and 3 thumbs". */
export function counted(rows: readonly Row[]): string {
  const pairs = rows.filter(({ example }) => isPreference(example)).length;
  const thumbs = rows.filter(({ example }) => isVerdict(example)).length;
  const prompts = rows.filter(({ example }) => isPrompt(example)).length;
  const examples = rows.length - pairs - thumbs - prompts;
  const words = [examples && plural(examples, 'example'), prompts && plural(prompts, 'prompt'), pairs && plural(pairs, 'pair'), thumbs && plural(thumbs, 'thumb')];
  return words.filter(Boolean).join(' and ');
}

/** What an objective does with the rows of the table that is worth a word; `elsewhere` are the labels of those that take the rest. */
export function usesWords({ label, rows: takes }: Objective, rows: readonly Row[], elsewhere: readonly string[]): string {
  const used = new Set(usedBy(takes, rows));
  const rest = rows.filter((row) => !used.has(row));
  if (rest.length) return `${plural(used.size, 'pair')}; ${counted(rest)} ${rest.length === 1 ? 'is' : 'are'} used by ${elsewhere.join(' and ')} only.`;
  const pairs = rows.filter(({ example }) => isPreference(example)).length;
  if (takes !== 'verdicts' || !pairs) return '';
  return `${label} takes one answer at a time: ${plural(pairs, 'pair')} ${pairs === 1 ? 'becomes' : 'become'} two rows each, ${count(rows.length + pairs)} rows in all.`;
}

/** The share that is held out where the person has not said: enough to see whether the model agrees, once there are some to spare. */
export const suggestedShare = (rows: number): number => (rows >= 16 ? 0.25 : 0);

/** Whether two answers are the same, word for word: they are no choice. */
export const isSame = (one: string, other: string): boolean => one.trim() === other.trim();

/** Whether the row's thumb is up; null where it has none. */
export const thumbOf = (example: Example): boolean | null => ('label' in example ? example.label : null);

import { batch } from '@preact/signals';
import type { Example } from '../engine';
import { pair, row } from '../examples';
import { counted, isSame, thumbOf, turned } from '../preferences';
import type { Teach } from '../settings';
import { announcement, made, tableOf, tables, write, type Answer, type Made } from '../store';
import { addRows, removeRows, replaceRow, teachFrom } from './data';

/** Whether a row is there: it may have gone with an undo, or in the table. */
export const stands = (id: number | null): boolean => id !== null && tables.preferences.rows.value.some((one) => one.id === id);

/** The thumb that an answer has, as it stands in the table; null where it has none. */
export function thumbFor({ judged }: Answer): boolean | null {
  const mine = tables.preferences.rows.value.find(({ id }) => id === judged);
  return mine ? thumbOf(mine.example) : null;
}

/** Adds a row to its table, says so, and gives its id. */
function make(example: Example, what: string, words: string): number {
  const added = row(example);
  addRows([added], `adding ${what}`);
  tell(words, [added.id], tableOf(added));
  return added.id;
}

function tell(what: string, rows: number[], table: Teach = 'preferences'): void {
  const words = `${what} The ${table}: ${counted(tables[table].filled.value) || 'none'}.`;
  batch(() => {
    made.value = { at: 'try', words, table, rows };
    announcement.value = words;
  });
}

/** Makes an example of an answer: the conversation up to it, as it is to be answered. */
export function teachAnswer(answer: Answer): void {
  const example = answer.before.length
    ? { messages: [...answer.before, { role: 'user', content: answer.prompt }, { role: 'assistant', content: answer.text }] }
    : pair(answer.prompt, answer.text);
  make(example, 'an answer', `The answer was added to the examples.${warning(answer)}`);
}

/** What is wrong with an answer that the model is to learn from as a good one. */
const warning = ({ cut }: Answer): string => (cut ? ' The answer was cut at the token limit, and teaches to stop there: raise “Max tokens”.' : '');

/** Makes a pair of two answers to one prompt; gives its row. */
export const prefer = (chosen: Answer, rejected: Answer): number =>
  make(write.value.preference(chosen.prompt, chosen.text, rejected.text, chosen.before), 'a pair', `A pair was added.${warning(chosen)}`);

/** A thumb up or down for an answer: makes a row, turns the one there is, or takes it back where it was the same. Gives the row. */
export function judge(answer: Answer, good: boolean): number | null {
  const words = good ? 'up' : 'down';
  const before = thumbFor(answer);
  if (before === null || answer.judged === null) return make(write.value.verdict(answer.prompt, answer.text, good, answer.before), 'a thumb', `A thumb ${words} was added.${good ? warning(answer) : ''}`);
  const id = answer.judged;
  if (before === good) {
    removeRows(tables.preferences, [id], `taking a thumb ${words} back`);
    tell(`The thumb ${words} was taken back.`, []);
    return null;
  }
  replaceRow(tables.preferences, id, (example) => turned(example, good), 'turning a thumb');
  tell(`The thumb was turned ${words}.`, [id]);
  return id;
}

/** What was made of an answer by hand is better than the answer: makes a pair, where the two differ. */
export function correct(answer: Answer, edited: string): boolean {
  if (!edited.trim() || isSame(edited, answer.text)) {
    announcement.value = edited.trim() ? 'Nothing was changed, so there is no pair.' : 'An empty answer makes no pair.';
    return false;
  }
  make(write.value.preference(answer.prompt, edited, answer.text, answer.before), 'a pair', 'A pair was added: your answer over the model’s.');
  return true;
}

/** Takes back what a press made. */
export function takeBack(done: Made): void {
  removeRows(tables[done.table], done.rows, 'taking back what was added');
  made.value = { ...done, words: 'Taken back.', rows: [] };
  announcement.value = 'Taken back.';
}

/** Shows the table where it went, at its first row. */
export function seeRows({ table, rows }: Made): void {
  const target = tables[table];
  const index = target.rows.value.findIndex(({ id }) => id === rows[0]);
  batch(() => {
    teachFrom(table);
    if (index < 0) return;
    target.selected.value = rows[0]!;
    target.limit.value = Math.max(target.limit.value, index + 1);
  });
  requestAnimationFrame(() => {
    const at = document.querySelector<HTMLElement>(`[data-row="${rows[0]}"] .number button`) ?? document.getElementById(`tab-${table}`);
    at?.focus({ preventScroll: true });
    at?.scrollIntoView({ block: 'center' });
  });
}


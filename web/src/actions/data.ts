import { batch, effect } from '@preact/signals';
import type { Example, ImportError } from '../engine';
import { isBlank, pair, promptRow, row, toJsonl, type Row } from '../examples';
import { plural } from '../format';
import { counted } from '../preferences';
import { toProblem } from '../protocol';
import { tabs, type Teach } from '../settings';
import { startersOf } from '../starters';
import { announcement, form, importing, made, model, preview, rowErrors, settings, table, tableOf, tables, used, write, type Table } from '../store';
import { download } from './download';
import { attempt, engine, pieces } from './session';

const HISTORY = 50;

/** Replaces a table's rows; `what` names the step that Undo takes back. */
function change(target: Table, next: Row[], what: string): void {
  batch(() => {
    target.past.value = [...target.past.value, { rows: target.rows.value, what }].slice(-HISTORY);
    show(target, next);
  });
}

function show(target: Table, next: Row[]): void {
  target.rows.value = next;
  target.starter.value = null;
  rowErrors.value = null;
  // It tells of the table as it was.
  made.value = null;
  if (!next.some(({ id }) => id === target.selected.value)) target.selected.value = next[0]?.id ?? null;
}

export function undo(): void {
  const target = table.value;
  const last = target.past.value.at(-1);
  if (!last) return;
  batch(() => {
    target.past.value = target.past.value.slice(0, -1);
    show(target, last.rows);
    announcement.value = `Undone: ${last.what}.`;
  });
}

/** Turns to what is taught from: the tab of step 2. */
export function teachFrom(teach: Teach): void {
  batch(() => {
    settings.value = { ...settings.value, teach };
    rowErrors.value = null;
  });
}

export function useStarter(id: string): void {
  const { teach } = settings.value;
  const set = startersOf[teach].find((candidate) => candidate.id === id);
  if (!set) return;
  const rows = set.examples.map(row);
  change(tables[teach], rows, `replacing the ${teach}`);
  tables[teach].starter.value = id;
  if (set.rewards && !settings.value.rewards.length) settings.value = { ...settings.value, rewards: set.rewards };
  announcement.value = `${counted(rows)}: ${set.name}.`;
}

/** Empty rows to type into. */
const blank = {
  example: () => pair('', ''),
  pair: () => write.value.preference('', '', ''),
  thumb: () => write.value.verdict('', '', true),
  prompt: () => promptRow(''),
};

/** Adds an empty row and returns its id. */
export function addRow(kind: keyof typeof blank): number {
  const added = row(blank[kind]());
  change(table.value, [...table.value.rows.value, added], 'adding a row');
  table.value.selected.value = added.id;
  return added.id;
}

/** Adds rows to the tables they belong in. */
export function addRows(added: Row[], what: string): void {
  batch(() => {
    for (const teach of tabs) {
      const mine = added.filter((one) => tableOf(one) === teach);
      const kept = tables[teach].rows.value.filter(({ example }) => !isBlank(example));
      if (mine.length) change(tables[teach], [...kept, ...mine], what);
    }
  });
}

export function deleteRow(id: number): void {
  removeRows(table.value, [id], 'deleting a row');
  announcement.value = 'Row deleted. Undo brings it back.';
}

export function removeRows(target: Table, ids: readonly number[], what: string): void {
  const gone = new Set(ids);
  change(
    target,
    target.rows.value.filter(({ id }) => !gone.has(id)),
    what,
  );
}

export const clearRows = () => change(table.value, [], 'clearing the table');

/** Replaces one row, wherever it was changed from. */
export function replaceRow(target: Table, id: number, made: (example: Example) => Example, what: string): void {
  change(
    target,
    target.rows.value.map((one) => (one.id === id ? { id, example: made(one.example) } : one)),
    what,
  );
}

let editing: { id: number; part: string } | null = null;

/** Replaces one row of the tab's table. Its typing in one place counts as one step for Undo. */
export function editRow(id: number, part: string, example: Example): void {
  const target = table.value;
  const next = target.rows.value.map((candidate) => (candidate.id === id ? { id, example } : candidate));
  if (editing?.id === id && editing.part === part && target.past.value.at(-1)?.what === 'editing a row') {
    batch(() => show(target, next));
    return;
  }
  editing = { id, part };
  change(target, next, 'editing a row');
}

/** What came of a text of rows. */
interface Taken {
  name: string;
  added: Row[];
  errors: ImportError[];
  warnings: string[];
}

/** Reads a file, and takes its rows into the tables they belong in: all of them, or none where it was stopped. */
async function take(name: string, file: Blob): Promise<Taken> {
  const added: Row[] = [];
  const errors: ImportError[] = [];
  importing.value = { name, done: 0, total: file.size };
  const request = engine().ask('import', { name, file, prompts: settings.value.teach === 'prompts' });
  pieces.set(request.id, (piece) => {
    for (const example of piece.examples) {
      // What is found now need not be found of all of them at once.
      isBlank(example);
      added.push(row(example));
    }
    errors.push(...piece.errors);
    importing.value = { name, done: piece.done, total: piece.total };
  });
  try {
    const known = await request;
    addRows(added, `adding ${name}`);
    return { name, added, errors: [...errors, ...known.errors], warnings: known.warnings };
  } finally {
    pieces.delete(request.id);
    importing.value = null;
  }
}

/** Stops a file that is read: nothing of it comes in. */
export const stopImport = () => attempt(() => engine().ask('cancelImport', {}));

/** Says what came in and what did not. Rows that the tab does not show are told, with the way to them. */
function tell(all: readonly Taken[]): void {
  const { teach } = settings.value;
  const name = all.length === 1 ? all[0]!.name : plural(all.length, 'file');
  const added = all.flatMap((one) => one.added);
  // Of several files each message names its own.
  const errors = all.flatMap((one) => one.errors.map((error) => (all.length === 1 ? error : { ...error, line: null, message: `${one.name}${error.line === null ? '' : `, line ${error.line}`}: ${error.message}` })));
  const other = teach === 'examples' ? 'preferences' : 'examples';
  const elsewhere = added.filter((one) => tableOf(one) !== teach);
  batch(() => {
    table.value.importErrors.value = errors.length ? { name, added: counted(added), errors } : null;
    table.value.importWarnings.value = all.flatMap(({ warnings }) => warnings);
    made.value = elsewhere.length ? { at: 'teach', words: `${counted(elsewhere)} of ${name} went to the ${other}.`, table: other, rows: elsewhere.map(({ id }) => id) } : null;
    announcement.value = `${counted(added) || 'Nothing was'} added${errors.length ? `, ${errors.length} lines could not be read` : ''}.`;
  });
}

/** Takes rows in; gives the lines of the text that could not be read, or all of it where nothing was. */
export async function importText(name: string, text: string): Promise<string> {
  let left = text;
  await attempt(async () => {
    const taken = await take(name, new Blob([text]));
    tell([taken]);
    const lines = text.split('\n');
    if (taken.errors.every(({ line }) => line !== null)) left = taken.errors.map(({ line }) => lines[line! - 1]).join('\n');
  });
  return left;
}

export const importFiles = (files: readonly File[]) =>
  attempt(async () => {
    const all: Taken[] = [];
    for (const file of files) all.push(await take(file.name, file));
    if (all.length) tell(all);
  });

/** Rows that are written at once: the page has other things to do between two such pieces. */
const WRITTEN = 2000;

export const downloadRows = () =>
  attempt(async () => {
    const [{ teach }, rows] = [settings.value, table.value.rows.value];
    const lines: string[] = [];
    for (let at = 0; at < rows.length; at += WRITTEN) {
      lines.push(toJsonl(rows.slice(at, at + WRITTEN)));
      await new Promise((resume) => setTimeout(resume, 0));
    }
    download(`${teach}.jsonl`, new Blob(lines, { type: 'application/jsonl' }));
  });

/** Keeps the preview in step with the selected row, the settings and the model. */
export function followSelection(): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asked = 0;
  effect(() => {
    const { rows, selected } = table.value;
    const current = rows.value.find(({ id }) => id === selected.value);
    const config = form.value?.config;
    clearTimeout(timer);
    const mine = ++asked;
    if (!current || !config || model.value.state !== 'ready' || isBlank(current.example)) {
      preview.value = null;
      return;
    }
    if (!used.value.includes(current)) {
      preview.value = { row: current.id, unused: true };
      return;
    }
    timer = setTimeout(async () => {
      const shown = await engine()
        .ask('preview', { example: current.example, config })
        .then((made) => ({ row: current.id, preview: made }))
        .catch((thrown: unknown) => ({ row: current.id, problem: toProblem(thrown) }));
      if (mine === asked) preview.value = shown;
    }, 200);
  });
}

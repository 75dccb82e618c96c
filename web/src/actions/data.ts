import { batch, effect } from '@preact/signals';
import type { Example } from '../engine';
import { isBlank, pair, row, toJsonl, type Row } from '../examples';
import { toProblem } from '../protocol';
import { starters } from '../starters';
import { announcement, form, importErrors, model, past, preview, rowErrors, rows, selected, starter } from '../store';
import { download } from './download';
import { attempt, engine } from './session';

const HISTORY = 50;

/** Replaces the table; `what` names the step that Undo takes back. */
function change(next: Row[], what: string): void {
  batch(() => {
    past.value = [...past.value, { rows: rows.value, what }].slice(-HISTORY);
    rows.value = next;
    rowErrors.value = null;
    starter.value = null;
    if (!next.some(({ id }) => id === selected.value)) selected.value = next[0]?.id ?? null;
  });
}

export function undo(): void {
  const last = past.value.at(-1);
  if (!last) return;
  batch(() => {
    past.value = past.value.slice(0, -1);
    rows.value = last.rows;
    rowErrors.value = null;
    starter.value = null;
    if (!last.rows.some(({ id }) => id === selected.value)) selected.value = last.rows[0]?.id ?? null;
    announcement.value = `Undone: ${last.what}.`;
  });
}

export function useStarter(id: string): void {
  const set = starters.find((candidate) => candidate.id === id);
  if (!set) return;
  change(set.examples.map(row), 'replacing the examples');
  starter.value = id;
  announcement.value = `${set.examples.length} examples: ${set.name}.`;
}

/** Adds an empty row and returns its id. */
export function addRow(): number {
  const added = row(pair('', ''));
  change([...rows.value, added], 'adding a row');
  selected.value = added.id;
  return added.id;
}

export function deleteRow(id: number): void {
  change(
    rows.value.filter((candidate) => candidate.id !== id),
    'deleting a row',
  );
  announcement.value = 'Row deleted. Undo brings it back.';
}

export const clearRows = () => change([], 'clearing the table');

let editing: { id: number; part: string } | null = null;

/** Replaces one example. A row's typing in one place counts as one step for Undo. */
export function editRow(id: number, part: string, example: Example): void {
  const next = rows.value.map((candidate) => (candidate.id === id ? { id, example } : candidate));
  if (editing?.id === id && editing.part === part && past.value.at(-1)?.what === 'editing a row') {
    batch(() => {
      rows.value = next;
      rowErrors.value = null;
    });
    return;
  }
  editing = { id, part };
  change(next, 'editing a row');
}

export const importText = (name: string, text: string) =>
  attempt(async () => {
    const { examples, errors } = await engine().ask('import', { name, text });
    const kept = rows.value.filter(({ example }) => !isBlank(example));
    if (examples.length) change([...kept, ...examples.map(row)], `adding ${name}`);
    importErrors.value = errors.length ? { name, added: examples.length, errors } : null;
    announcement.value = `${examples.length} examples added${errors.length ? `, ${errors.length} lines could not be read` : ''}.`;
  });

export async function importFile(file: File): Promise<void> {
  await attempt(async () => importText(file.name, await file.text()));
}

export const downloadExamples = () => download('examples.jsonl', new Blob([toJsonl(rows.value)], { type: 'application/jsonl' }));

/** Keeps the preview in step with the selected row, the settings and the model. */
export function followSelection(): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asked = 0;
  effect(() => {
    const current = rows.value.find(({ id }) => id === selected.value);
    const config = form.value?.config;
    clearTimeout(timer);
    if (!current || !config || model.value.state !== 'ready' || isBlank(current.example)) {
      preview.value = null;
      return;
    }
    timer = setTimeout(async () => {
      const mine = ++asked;
      const shown = await engine()
        .ask('preview', { example: current.example, config })
        .then((made) => ({ row: current.id, preview: made }))
        .catch((thrown: unknown) => ({ row: current.id, problem: toProblem(thrown) }));
      if (mine === asked) preview.value = shown;
    }, 200);
  });
}

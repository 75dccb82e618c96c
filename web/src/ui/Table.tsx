import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { deleteRow, editRow } from '../actions/data';
import { fromLine, view, withPart, type Part, type Row, type View } from '../examples';
import { count } from '../format';
import { turned } from '../preferences';
import { rowErrors, settings, table, tableOf } from '../store';
import { Button, Icon } from './bits';

const columns = { examples: ['Question', 'Answer'], preferences: ['Prompt', 'Chosen', 'Rejected'], prompts: ['Prompt', 'Expected answer, if a rule asks for it'] };

/** The rows of the tab, each editable where it stands. The selected one is shown below as the model sees it. */
export function Table() {
  const { teach } = settings.value;
  const { rows, limit, page } = table.value;
  const all = rows.value;
  if (!all.length) return <div data-testid={`${teach}-table`} />;
  const visible = all.slice(0, limit.value);
  const refused = new Map(rowErrors.value?.rows.map(({ row, problem }) => [row.id, problem]));
  return (
    <>
      <table class={`examples ${teach}`} data-testid={`${teach}-table`}>
        <thead>
          <tr>
            <th scope="col">
              <span class="visually-hidden">Row</span>
            </th>
            {columns[teach].map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
            <th scope="col">
              <span class="visually-hidden">Delete</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {visible.map((row, index) => (
            <Line key={row.id} row={row} number={index + 1} bad={refused.get(row.id)?.message ?? null} />
          ))}
        </tbody>
      </table>
      {all.length > visible.length && (
        <Button look="quiet" onClick={() => (limit.value += page)}>
          Show {Math.min(page, all.length - visible.length)} more of {count(all.length)}
        </Button>
      )}
    </>
  );
}

interface LineProps {
  row: Row;
  number: number;
  /** Why the row cannot be used. */
  bad: string | null;
}

function Line({ row, number, bad }: LineProps) {
  const { selected } = table.value;
  const isSelected = selected.value === row.id;
  const note = bad && <small class="bad-note">{bad}</small>;
  return (
    <tr data-row={row.id} class={`${isSelected ? 'selected' : ''} ${bad ? 'bad' : ''}`} onFocusIn={() => (selected.value = row.id)}>
      <th scope="row" class="number">
        <button
          type="button"
          aria-pressed={isSelected}
          aria-label={`Row ${number}: show as the model sees it`}
          onClick={() => (selected.value = row.id)}
        >
          {number}
        </button>
      </th>
      <Cells row={row} number={number} seen={view(row.example)} note={note} />
      <td class="end">
        <button type="button" class="icon-button" aria-label={`Delete row ${number}`} onClick={() => deleteRow(row.id)}>
          <Icon name="close" />
        </button>
      </td>
    </tr>
  );
}

/** What a row is made of; the note stands in the last of its cells. */
function Cells({ row, number, seen, note }: { row: Row; number: number; seen: View; note: ComponentChildren }) {
  const cell = (name: string, part: Part, value: string) => (
    <Cell label={`${name} ${number}`} value={value} onInput={(typed) => editRow(row.id, part, withPart(row.example, part, typed))} />
  );
  const system = 'system' in seen && seen.system !== null && <small class="system">System: {seen.system}</small>;
  switch (seen.kind) {
    case 'pair':
      return (
        <>
          <td data-label="Question">
            {system}
            {cell('Question', 'question', seen.question)}
          </td>
          <td data-label="Answer">
            {cell('Answer', 'answer', seen.answer)}
            {note}
          </td>
        </>
      );
    case 'preference':
      return (
        <>
          <td data-label="Prompt">
            {system}
            {cell('Prompt', 'question', seen.question)}
          </td>
          <td data-label="Chosen">{cell('Chosen', 'chosen', seen.chosen)}</td>
          <td data-label="Rejected">
            {cell('Rejected', 'rejected', seen.rejected)}
            {note}
          </td>
        </>
      );
    case 'verdict':
      return (
        <>
          <td data-label="Prompt">
            {system}
            {cell('Prompt', 'question', seen.question)}
          </td>
          <td data-label={seen.good ? 'Good' : 'Bad'} class="verdict" colSpan={2}>
            <Thumb good={seen.good} number={number} onTurn={() => editRow(row.id, 'thumb', turned(row.example, !seen.good))} />
            {cell('Answer', 'answer', seen.answer)}
            {note}
          </td>
        </>
      );
    case 'prompt':
      return (
        <>
          <td data-label="Prompt">
            {system}
            {cell('Prompt', 'question', seen.question)}
          </td>
          <td data-label="Expected">
            {cell('Expected answer', 'expected', seen.expected)}
            {seen.others.length > 0 && <small class="system">Also: {seen.others.join(', ')}</small>}
            {note}
          </td>
        </>
      );
    default:
      return (
        <td colSpan={columns[settings.value.teach].length} data-label={seen.kind === 'text' ? 'Text' : seen.label}>
          {seen.kind === 'text' ? (
            <Cell label={`Text ${number}`} value={seen.text} onInput={(text) => editRow(row.id, 'text', { text })} />
          ) : (
            <JsonCell row={row} number={number} label={seen.label} json={seen.json} />
          )}
          {note}
        </td>
      );
  }
}

function Cell(props: { label: string; value: string; onInput: (value: string) => void }) {
  return <textarea dir="auto" rows={1} aria-label={props.label} value={props.value} onInput={(event) => props.onInput(event.currentTarget.value)} />;
}

/** Whether an answer is good, and the way to turn that. */
function Thumb({ good, number, onTurn }: { good: boolean; number: number; onTurn: () => void }) {
  return (
    <button type="button" class="thumb" aria-label={`Answer ${number} is ${good ? 'good' : 'bad'}: turn the thumb ${good ? 'down' : 'up'}`} onClick={onTurn}>
      <Icon name={good ? 'up' : 'down'} />
      {good ? 'Good' : 'Bad'}
    </button>
  );
}

/** Conversations and token lists, as their JSON: taken over when it is whole again. */
function JsonCell({ row, number, label, json }: { row: Row; number: number; label: string; json: string }) {
  const [draft, setDraft] = useState<string | null>(null);
  const [wrong, setWrong] = useState('');
  const take = () => {
    if (draft === null) return;
    try {
      const parsed: unknown = JSON.parse(draft);
      if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw new Error('an object is needed');
      const example = settings.value.teach === 'prompts' ? fromLine(parsed as Record<string, unknown>) : (parsed as Row['example']);
      if (tableOf({ example }) !== settings.value.teach) throw new Error('a row like this stands in the other tab');
      editRow(row.id, 'json', example);
      setDraft(null);
      setWrong('');
    } catch (thrown) {
      setWrong(`Not taken over yet: ${thrown instanceof Error ? thrown.message : String(thrown)}. The row keeps its old value.`);
    }
  };
  return (
    <>
      <small class="system">{label}</small>
      <textarea
        class="mono"
        rows={2}
        spellcheck={false}
        aria-label={`${label}, row ${number}, as JSON`}
        aria-invalid={wrong !== ''}
        value={draft ?? json}
        onInput={(event) => setDraft(event.currentTarget.value)}
        onBlur={take}
      />
      {wrong && <small class="bad-note">{wrong}</small>}
    </>
  );
}

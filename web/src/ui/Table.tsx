import { signal } from '@preact/signals';
import { useState } from 'preact/hooks';
import { deleteRow, editRow } from '../actions/data';
import { view, withPair, type Row } from '../examples';
import { count } from '../format';
import { rowErrors, rows, selected } from '../store';
import { Button, Icon } from './bits';

const PAGE = 40;
const limit = signal(PAGE);

/** The examples, each editable where it stands. The selected one is shown below as the model sees it. */
export function Table() {
  const all = rows.value;
  if (!all.length) return <div data-testid="examples-table" />;
  const visible = all.slice(0, limit.value);
  const refused = new Map(rowErrors.value?.rows.map(({ row, problem }) => [row.id, problem]));
  return (
    <>
      <table class="examples" data-testid="examples-table">
        <thead>
          <tr>
            <th scope="col">
              <span class="visually-hidden">Row</span>
            </th>
            <th scope="col">Question</th>
            <th scope="col">Answer</th>
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
        <Button look="quiet" onClick={() => (limit.value += PAGE)}>
          Show {Math.min(PAGE, all.length - visible.length)} more of {count(all.length)}
        </Button>
      )}
    </>
  );
}

function Line({ row, number, bad }: { row: Row; number: number; bad: string | null }) {
  const seen = view(row.example);
  const isSelected = selected.value === row.id;
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
      {seen.kind === 'pair' ? (
        <>
          <td data-label="Question">
            {seen.system !== null && <small class="system">System: {seen.system}</small>}
            <Cell label={`Question ${number}`} value={seen.question} onInput={(value) => editRow(row.id, 'question', withPair(row.example, 'question', value))} />
          </td>
          <td data-label="Answer">
            <Cell label={`Answer ${number}`} value={seen.answer} onInput={(value) => editRow(row.id, 'answer', withPair(row.example, 'answer', value))} />
            {bad && <small class="bad-note">{bad}</small>}
          </td>
        </>
      ) : (
        <td colSpan={2} data-label={seen.kind === 'text' ? 'Text' : seen.label}>
          {seen.kind === 'text' ? (
            <Cell label={`Text ${number}`} value={seen.text} onInput={(text) => editRow(row.id, 'text', { text })} />
          ) : (
            <JsonCell row={row} number={number} label={seen.label} json={seen.json} />
          )}
          {bad && <small class="bad-note">{bad}</small>}
        </td>
      )}
      <td class="end">
        <button type="button" class="icon-button" aria-label={`Delete row ${number}`} onClick={() => deleteRow(row.id)}>
          <Icon name="close" />
        </button>
      </td>
    </tr>
  );
}

function Cell(props: { label: string; value: string; onInput: (value: string) => void }) {
  return <textarea rows={1} aria-label={props.label} value={props.value} onInput={(event) => props.onInput(event.currentTarget.value)} />;
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
      editRow(row.id, 'json', parsed as Row['example']);
      setDraft(null);
      setWrong('');
    } catch (thrown) {
      setWrong(`Not JSON yet: ${thrown instanceof Error ? thrown.message : String(thrown)}. The row keeps its old value.`);
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

import { signal } from '@preact/signals';
import { addRow, clearRows, downloadExamples, importFile, importText, undo, useStarter } from '../actions/data';
import { plural } from '../format';
import { starters } from '../starters';
import { device, filled, importErrors, past, rows, settings, starter } from '../store';
import { split } from '../examples';
import { Button, Drop, FileButton, Step } from './bits';
import { PreviewPanel } from './PreviewPanel';
import { Table } from './Table';

export function Examples() {
  const lead = 'What a person would ask, and the answer you want. Ten good ones are enough to see a difference.';
  return (
    <Step number={2} id="examples" title="Examples" lead={lead}>
      <Drop onFiles={([file]) => void importFile(file)}>
        <Starters />
        <Toolbar />
        <ImportErrors />
        <Table />
        <Paste />
        <HoldOut />
        <PreviewPanel />
      </Drop>
    </Step>
  );
}

function Starters() {
  return (
    <div class="starters" data-testid="starter-sets" role="group" aria-label="Starter sets">
      {starters.map(({ id, name, about, examples }) => (
        <button
          key={id}
          type="button"
          class="starter"
          data-testid={`starter-${id}`}
          aria-pressed={starter.value === id}
          onClick={() => useStarter(id)}
        >
          <strong>{name}</strong>
          <span>{about}</span>
          <small>{plural(examples.length, 'example')}</small>
        </button>
      ))}
    </div>
  );
}

function Toolbar() {
  const last = past.value.at(-1);
  const n = filled.value.length;
  return (
    <div class="toolbar">
      <p class="count">{n ? plural(n, 'example') : 'No examples yet: take a starter set, type, or bring JSONL.'}</p>
      <div class="row">
        <Button icon="undo" look="quiet" disabled={!last} title={last ? `Undo ${last.what}` : undefined} data-testid="undo" onClick={undo}>
          Undo
        </Button>
        {rows.value.length > 0 && (
          <>
            <Button icon="trash" look="quiet" data-testid="clear-examples" onClick={clearRows}>
              Clear
            </Button>
            <Button icon="download" look="quiet" data-testid="download-examples" onClick={downloadExamples}>
              Save as JSONL
            </Button>
          </>
        )}
        <FileButton label="Open JSONL" accept=".jsonl,.ndjson,.json,.txt" testid="import-file" disabled={device.value.state === 'blocked'} onFiles={([file]) => void importFile(file)} />
        <Button icon="add" data-testid="add-example" onClick={() => focusRow(addRow())}>
          Add
        </Button>
      </div>
    </div>
  );
}

/** Puts the cursor into a new row, once it is on the screen. */
function focusRow(id: number): void {
  requestAnimationFrame(() => document.querySelector<HTMLTextAreaElement>(`[data-row="${id}"] textarea`)?.focus());
}

function ImportErrors() {
  const current = importErrors.value;
  if (!current) return null;
  const { name, added, errors } = current;
  return (
    <div class="notice" data-testid="import-errors" role="alert">
      <h3>
        {plural(errors.length, 'line')} of {name} could not be read
      </h3>
      <p>{added ? `${plural(added, 'example')} came in.` : 'Nothing came in.'} Training waits until you have seen this.</p>
      <ul>
        {errors.slice(0, 20).map(({ line, message, help }, index) => (
          <li key={index}>
            {line !== null && <strong>Line {line}: </strong>}
            {message}. <span class="fix">{help}</span>
          </li>
        ))}
        {errors.length > 20 && <li>and {plural(errors.length - 20, 'more line')}</li>}
      </ul>
      <Button data-testid="import-errors-ok" onClick={() => (importErrors.value = null)}>
        {added ? 'Go on without these lines' : 'All right'}
      </Button>
    </div>
  );
}

const pasted = signal('');

function Paste() {
  const bring = async () => {
    await importText('the pasted text', pasted.value);
    pasted.value = '';
  };
  return (
    <div class="paste">
      <label for="paste">Paste JSONL</label>
      <textarea
        id="paste"
        rows={1}
        data-testid="paste-jsonl"
        spellcheck={false}
        placeholder={'{"prompt": "…", "completion": "…"}'}
        value={pasted.value}
        onInput={(event) => (pasted.value = event.currentTarget.value)}
      />
      <Button data-testid="paste-jsonl-add" disabled={!pasted.value.trim() || device.value.state === 'blocked'} onClick={() => void bring()}>
        Add these
      </Button>
      <p class="hint">
        One JSON object a line, or drop a file anywhere in this step: <code>messages</code>, <code>prompt</code> and{' '}
        <code>completion</code>, <code>text</code>, or <code>input_ids</code> and <code>labels</code>.
      </p>
    </div>
  );
}

function HoldOut() {
  const { holdOut } = settings.value;
  const parts = split(filled.value, holdOut);
  return (
    <div class="hold-out">
      <label for="hold-out">Held out for validation</label>
      <select
        id="hold-out"
        data-testid="hold-out"
        value={String(holdOut)}
        onChange={(event) => (settings.value = { ...settings.value, holdOut: Number(event.currentTarget.value) })}
      >
        <option value="0">None</option>
        <option value="0.1">10 %</option>
        <option value="0.2">20 %</option>
      </select>
      <p class="hint">
        {parts.held.length
          ? `${parts.train.length} to train on, ${parts.held.length} the model never learns from: its loss on them shows whether it learns the manner or just the rows.`
          : 'With more than about twenty examples, hold some out to see overfitting.'}
      </p>
    </div>
  );
}

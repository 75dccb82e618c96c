import { signal } from '@preact/signals';
import { addRow, clearRows, downloadRows, importFiles, importText, stopImport, teachFrom, undo, useStarter } from '../actions/data';
import { setGoal } from '../actions/train';
import type { Row } from '../examples';
import { bytes, plural } from '../format';
import { counted, usesWords } from '../preferences';
import { isBusy } from '../run';
import { DPO, objectiveOf, REWARD, tabs, type Teach as Tab } from '../settings';
import { startersOf } from '../starters';
import { busy, device, importing, nouns, objective, objectives, parts, run, settings, share, table, tables } from '../store';
import { Button, Drop, FileButton, Step, Tabs } from './bits';
import { MadeNote } from './MadeNote';
import { PreviewPanel } from './PreviewPanel';
import { Rewards } from './Rewards';
import { Table } from './Table';

const leads: Record<Tab, string> = {
  examples: 'What a person would ask, and the answer you want. Ten good ones are enough to see a difference.',
  preferences: 'Two answers to one prompt, of which you like one better, or one answer with a thumb up or down. Step 4 makes them with a press.',
  prompts: 'What a person would ask, and what an answer earns. The model answers for itself, and learns from the answers that earn more.',
};

const names: Record<Tab, string> = { examples: 'Examples', preferences: 'Preferences', prompts: 'Prompts' };

export function Teach() {
  const { teach } = settings.value;
  const tab = (id: Tab) => ({ id, name: names[id], note: String(tables[id].filled.value.length || '') });
  return (
    <Step number={2} id="teach" title="Teach" lead={leads[teach]}>
      <Tabs label="What to teach from" tabs={tabs.map(tab)} chosen={teach} onChoose={teachFrom}>
        <Drop onFiles={(files) => void importFiles(files)}>
          {teach === 'preferences' && <Goal />}
          <p class="hint goes" data-testid="objective" data-objective={objectiveOf(settings.value)}>
            {sentence()}
          </p>
          <Starters />
          <Toolbar />
          <Importing />
          <MadeNote at="teach" />
          <ImportErrors />
          <ImportWarnings />
          <Uses />
          <Going />
          <Table />
          <Paste />
          <HoldOut />
          {teach === 'prompts' && <Rewards />}
          <PreviewPanel />
        </Drop>
      </Tabs>
    </Step>
  );
}

/** What the run will do, in one sentence. */
function sentence(): string {
  if (settings.value.teach === 'examples') return 'The model learns to give these answers, word by word.';
  const called = objective.value ? ` (${objective.value.label})` : '';
  if (settings.value.teach === 'prompts') return `The model answers each prompt several times, and learns from the answers that earn more than the others${called}.`;
  if (settings.value.goal === 'score') return `The model learns to score answers, the chosen ones higher than the rejected${called}: it gives a number and writes nothing.`;
  return `The model learns to answer as you would choose: more like the answers you liked, less like the others${called}.`;
}

const goals = [
  { id: 'prefer', name: 'Answer as I prefer', about: 'Writes answers like those that you chose.' },
  { id: 'score', name: 'Score answers', about: 'A reward model: one number for each answer, higher for the better.' },
] as const;

/** What the preferences are for. */
function Goal() {
  const there = (name: string) => !objectives.value.length || objectives.value.some((one) => one.name === name);
  return (
    <fieldset class="method-cards goals" disabled={busy.value}>
      <legend class="visually-hidden">What the preferences are for</legend>
      {goals
        .filter(({ id }) => there(id === 'score' ? REWARD : DPO))
        .map(({ id, name, about }) => (
          <label key={id} class="method-card">
            <input type="radio" name="goal" value={id} checked={settings.value.goal === id} data-testid={`goal-${id}`} onChange={() => setGoal(id)} />
            <span>
              <strong>{name}</strong>
              <span>{about}</span>
            </span>
          </label>
        ))}
    </fieldset>
  );
}

function Starters() {
  return (
    <div class="starters" data-testid="starter-sets" role="group" aria-label="Starter sets">
      {startersOf[settings.value.teach].map(({ id, name, about, examples }) => (
        <button
          key={id}
          type="button"
          class="starter"
          data-testid={`starter-${id}`}
          aria-pressed={table.value.starter.value === id}
          onClick={() => useStarter(id)}
        >
          <strong>{name}</strong>
          <span>{about}</span>
          <small>{counted(examples.map((example) => ({ id: 0, example })))}</small>
        </button>
      ))}
    </div>
  );
}

const none: Record<Tab, string> = {
  examples: 'No examples yet: take a starter set, type, or bring JSONL.',
  preferences: 'No preferences yet: take a starter set, choose between answers in step 4, type, or bring JSONL.',
  prompts: 'No prompts yet: take a starter set, type, or bring JSONL.',
};

function Toolbar() {
  const { teach } = settings.value;
  const { past, rows, filled } = table.value;
  const last = past.value.at(-1);
  return (
    <div class="toolbar">
      <p class="count" data-testid="count">
        {counted(filled.value) || none[teach]}
        {isBusy(run.value.state) && <small> · the run that is going has them as they were when it began</small>}
      </p>
      <div class="row">
        <Button icon="undo" look="quiet" disabled={!last} title={last ? `Undo ${last.what}` : undefined} data-testid="undo" onClick={undo}>
          Undo
        </Button>
        {rows.value.length > 0 && (
          <>
            <Button icon="trash" look="quiet" data-testid={`clear-${teach}`} onClick={clearRows}>
              Clear
            </Button>
            <Button icon="download" look="quiet" data-testid={`download-${teach}`} onClick={downloadRows}>
              Save as JSONL
            </Button>
          </>
        )}
        <FileButton label="Open JSONL" accept=".jsonl,.ndjson,.json,.txt" testid="import-file" multiple disabled={device.value.state === 'blocked'} onFiles={(files) => void importFiles(files)} />
        {teach !== 'preferences' ? (
          <Button icon="add" data-testid={`add-${nouns[teach]}`} onClick={() => focusRow(addRow(teach === 'examples' ? 'example' : 'prompt'))}>
            Add
          </Button>
        ) : (
          <>
            <Button icon="up" data-testid="add-thumb" onClick={() => focusRow(addRow('thumb'))}>
              Add a thumb
            </Button>
            <Button icon="add" data-testid="add-pair" onClick={() => focusRow(addRow('pair'))}>
              Add a pair
            </Button>
          </>
        )}
      </div>
    </div>
  );
}

/** Puts the cursor into a new row, once it is on the screen. */
function focusRow(id: number): void {
  requestAnimationFrame(() => document.querySelector<HTMLTextAreaElement>(`[data-row="${id}"] textarea`)?.focus());
}

/** What the objective takes of the preferences, where that is not all of them as they are. */
function Uses() {
  const current = objective.value;
  if (!current || settings.value.teach !== 'preferences') return null;
  const others = objectives.value.filter(({ rows }) => rows === 'verdicts').map(({ label }) => label);
  const words = usesWords(current, table.value.filled.value, others);
  return (
    words && (
      <p class="hint uses" data-testid="uses">
        {words}
      </p>
    )
  );
}

/** Rows that are changed while a run goes. */
function Going() {
  if (!busy.value) return null;
  return (
    <p class="hint" data-testid="rows-going">
      What is going now has its rows already: what you change here counts for the next.
    </p>
  );
}

/** A file that is read. */
function Importing() {
  const current = importing.value;
  if (!current || current.total < SHOWN) return null;
  const { name, done, total } = current;
  return (
    <div class="loading" data-testid="importing">
      <label for="import-progress">
        <strong>{name}</strong>
        <span>
          Reading · {bytes(done)} of {bytes(total)}
        </span>
      </label>
      <progress id="import-progress" value={done} max={total} />
      <Button look="quiet" data-testid="stop-import" onClick={() => void stopImport()}>
        Stop here, nothing comes in
      </Button>
    </div>
  );
}

/** A file of fewer bytes is read before anybody has read that it is. */
const SHOWN = 1_000_000;

function ImportErrors() {
  const { importErrors } = table.value;
  const current = importErrors.value;
  if (!current) return null;
  const { name, added, errors } = current;
  return (
    <div class="notice" data-testid="import-errors" role="alert">
      <h3>
        {plural(errors.length, 'line')} of {name} could not be read
      </h3>
      <p>{added ? `${added} came in.` : 'Nothing came in.'} Training waits until you have seen this.</p>
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

/** What is to know of rows that came in; it stops nobody. */
function ImportWarnings() {
  const { importWarnings } = table.value;
  if (importWarnings.value.length === 0) return null;
  return (
    <div class="notice mild" data-testid="import-warnings" role="status">
      <ul>
        {importWarnings.value.map((warning) => (
          <li key={warning}>{warning}.</li>
        ))}
      </ul>
      <Button data-testid="import-warnings-ok" onClick={() => (importWarnings.value = [])}>
        All right
      </Button>
    </div>
  );
}

const pasted = signal('');

const placeholders: Record<Tab, string> = {
  examples: '{"prompt": "…", "completion": "…"}',
  preferences: '{"prompt": "…", "chosen": "…", "rejected": "…"}',
  prompts: '{"prompt": "…", "answer": "…"}',
};

function Paste() {
  const { teach } = settings.value;
  const bring = async () => {
    // What could not be read stays, to be corrected.
    pasted.value = await importText('the pasted text', pasted.value);
  };
  return (
    <div class="paste">
      <label for="paste">Paste JSONL</label>
      <textarea
        id="paste"
        rows={1}
        data-testid="paste-jsonl"
        spellcheck={false}
        placeholder={placeholders[teach]}
        value={pasted.value}
        onInput={(event) => (pasted.value = event.currentTarget.value)}
      />
      <Button data-testid="paste-jsonl-add" disabled={!pasted.value.trim() || device.value.state === 'blocked'} onClick={() => void bring()}>
        Add these
      </Button>
      {teach === 'prompts' ? (
        <p class="hint">
          One JSON object a line, or drop a file anywhere in this step: <code>prompt</code>, a text or a list of messages. Other fields stay with it, and rewards may
          read them: <code>answer</code> is the expected one.
        </p>
      ) : teach === 'examples' ? (
        <p class="hint">
          One JSON object a line, or drop a file anywhere in this step: <code>messages</code>, <code>prompt</code> and{' '}
          <code>completion</code>, <code>text</code>, or <code>input_ids</code> and <code>labels</code>.
        </p>
      ) : (
        <p class="hint">
          One JSON object a line, or drop a file anywhere in this step: <code>prompt</code>, <code>chosen</code> and <code>rejected</code>, or{' '}
          <code>prompt</code>, <code>completion</code> and <code>label</code>, as texts or as lists of messages.
        </p>
      )}
    </div>
  );
}

const shares: Record<Tab, number[]> = { examples: [0.1, 0.2], preferences: [0.1, 0.25], prompts: [0.1, 0.25] };

/** The setting that each table's share is. */
const shareOf = { examples: 'holdOut', preferences: 'holdOutPreferences', prompts: 'holdOutPrompts' } as const;

/** What holding some out is for, and how many there are on either side. */
const holdOutNotes: Record<Tab, (train: Row[], held: Row[]) => string> = {
  examples: (train, held) =>
    held.length
      ? `${train.length} to train on, ${held.length} the model never learns from: its loss on them shows whether it learns the manner or just the rows.`
      : 'With more than about twenty examples, hold some out to see overfitting.',
  preferences: (train, held) =>
    held.length
      ? `${counted(train)} to train on, ${counted(held)} the model never learns from: after the run you see in how many of them it agrees with you.`
      : 'With sixteen or more, hold some out to see in how many of them the model agrees with you.',
  prompts: (train, held) =>
    held.length
      ? `${counted(train)} to learn from, ${held.length} the model never learns from: what its answers to them earn, before and after, shows whether it learnt the manner.`
      : 'Hold some out to see what answers to other prompts earn, before the run and after it.',
};

function HoldOut() {
  const { teach } = settings.value;
  const { train, held } = parts.value;
  const choose = (chosen: number) => (settings.value = { ...settings.value, [shareOf[teach]]: chosen });
  return (
    <div class="hold-out">
      <label for="hold-out">Held out for validation</label>
      <select id="hold-out" data-testid="hold-out" value={String(share.value)} onChange={(event) => choose(Number(event.currentTarget.value))}>
        <option value="0">None</option>
        {shares[teach].map((part) => (
          <option key={part} value={String(part)}>
            {100 * part} %
          </option>
        ))}
      </select>
      <p class="hint" data-testid="hold-out-note">
        {holdOutNotes[teach](train, held)}
      </p>
    </div>
  );
}

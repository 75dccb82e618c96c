import { signal } from '@preact/signals';
import { chooseAllTrials, chooseTrials, clearLab, copyLab, downloadLab, setLabSteps, startLab, toggleTrial, useMethod } from '../actions/lab';
import { bytes, count, duration, loss, plural, rate, sentence, short } from '../format';
import { groundWords, secondsLeft, sorted, type Column, type Current, type Lab as LabState, type Outcome } from '../lab';
import { usualTrials } from '../settings';
import { busy, defaults, inWords, justCopied, lab, labBusy, labParts, possible, run, settings, trialLabel, tuning, whyNotLab } from '../store';
import { isBusy } from '../run';
import { Button } from './bits';
import { MethodCards } from './Methods';
import { RunButtons } from './RunButtons';

/** Several methods on the same examples, side by side. */
export function Lab() {
  return (
    <>
      <p class="hint lab-lead">
        Trains several methods from the same start on the same examples, one after the other, and measures each on examples that none of
        them learns from: the lower the held-out loss, the better it took up the manner. What you trained before stays as it is.
      </p>
      <Choice />
      <Controls />
      <Table />
    </>
  );
}

function Choice() {
  const { methods, steps } = settings.value.lab;
  const all = defaults.value?.methods ?? [];
  const chosen = all.filter(({ id }) => methods.includes(id));
  const field = defaults.value?.fields.find(({ name }) => name === 'max_steps');
  const { train, held } = labParts.value;
  const usual = usualTrials.filter((id) => all.some((method) => method.id === id));
  return (
    <>
      <details class="methods" data-testid="lab-methods">
        <summary>
          <span class="methods-head">
            <strong>{plural(chosen.length, 'method')}</strong> <span class="methods-change">Change</span>
          </span>
          <span class="methods-about">{chosen.length ? chosen.map(({ name }) => name).join(', ') : 'None is chosen yet.'}</span>
        </summary>
        <div class="row">
          <Button data-testid="lab-all" disabled={busy.value} onClick={chooseAllTrials}>
            All {possible.value.length}
          </Button>
          <Button disabled={busy.value} onClick={() => chooseTrials(usual)}>
            One of each kind
          </Button>
          <Button look="quiet" data-testid="lab-none" disabled={busy.value} onClick={() => chooseTrials([])}>
            None
          </Button>
        </div>
        <MethodCards type="checkbox" legend="Methods to try" isChosen={(id) => methods.includes(id)} onChange={toggleTrial} />
      </details>
      <div class="lab-settings">
        <div class="field">
          <label for="lab-steps">Steps of each</label>
          <input
            id="lab-steps"
            data-testid="lab-steps"
            type="text"
            inputMode="numeric"
            autocomplete="off"
            disabled={busy.value}
            value={steps || String(field?.default ?? '')}
            onInput={(event) => setLabSteps(event.currentTarget.value)}
          />
        </div>
        <p class="hint" data-testid="lab-split">
          {held.length > 0 && `${plural(train.length, 'example')} to learn from, ${count(held.length)} held out. `}
          Each method has the settings of its own form under “One run”, but for the steps.
        </p>
      </div>
    </>
  );
}

function Controls() {
  const current = lab.value;
  const why = whyNotLab.value;
  const trains = isBusy(run.value.state);
  const left = secondsLeft(current);
  const tried = current.outcomes.length;
  const words = {
    idle: '',
    starting: 'Preparing',
    running: `Method ${Math.min(tried + 1, current.methods.length)} of ${current.methods.length}`,
    paused: `Paused after ${plural(tried, 'method')}: go on when you like`,
    finishing: 'Finishing the step in hand',
    done: tried < current.methods.length ? `Stopped: ${tried} of ${plural(current.methods.length, 'method')} tried` : `Done: ${plural(tried, 'method')} tried`,
    failed: 'The engine failed. The rows that came are kept',
  }[current.state];
  const note = trains ? 'A run is going: the lab can start when it has ended.' : !labBusy.value && why ? why : words;
  return (
    <div class="controls">
      <RunButtons state={current.state} testid="lab" blocked={why !== null || trains} describedby="lab-why" start={current.outcomes.length ? 'Start again' : 'Start'} onStart={() => void startLab()} />
      <p class="run-status" id="lab-why" data-testid="lab-status" data-state={current.state}>
        {note}
        {labBusy.value && left !== null && current.state !== 'finishing' && <small> · about {duration(left)} left</small>}
        {labBusy.value && tuning.value && ` · trying kernels on this GPU, which is done once: ${tuning.value.done} of ${tuning.value.all}`}
      </p>
    </div>
  );
}

const order = signal<{ column: Column | null; falling: boolean }>({ column: null, falling: false });

/** Rising first; a second press turns it, a third takes the order in which the rows were made. */
function sortBy(column: Column): void {
  const { column: before, falling } = order.value;
  order.value = before !== column ? { column, falling: false } : falling ? { column: null, falling: false } : { column, falling: true };
}

const columns: { column: Column; head: string; title: string }[] = [
  { column: 'method', head: 'Method', title: 'Method, and its learning rate' },
  { column: 'loss_after', head: 'Held-out loss', title: 'Loss on the held-out examples after training; the line is where the base model was' },
  { column: 'exact', head: 'Exact', title: 'Held-out answers that came word for word' },
  { column: 'trainable', head: 'Weights', title: 'Weights trained' },
  { column: 'file_bytes', head: 'File', title: 'Size of the adapter’s file' },
  { column: 'seconds', head: 'Time', title: 'Time of training, without evaluations' },
  { column: 'peak_bytes', head: 'GPU', title: 'GPU memory needed at a time' },
];

function Table() {
  const current = lab.value;
  const { ground, outcomes } = current;
  if (!ground || (!outcomes.length && !labBusy.value)) return null;
  const { column: by, falling } = order.value;
  const rows = outcomes.flatMap((outcome) => ('row' in outcome ? [outcome.row] : []));
  const most = rows.reduce((most, { loss_before, loss_after }) => Math.max(most, loss_before, loss_after), 0);
  const best = rows.reduce((least, { loss_after }) => Math.min(least, loss_after), Infinity);
  const before = rows[0]?.loss_before;
  return (
    <div class="lab">
      <table class="lab-table" data-testid="lab-table">
        <caption>
          {groundWords(ground)}
          {before !== undefined && `, whose loss was ${loss(before)} before`}.
        </caption>
        <thead>
          <tr data-label="Sort by">
            {columns.map(({ column, head, title }) => (
              <th key={column} scope="col" class={column} aria-sort={by === column ? (falling ? 'descending' : 'ascending') : 'none'}>
                <button type="button" title={title} data-testid={`lab-sort-${column}`} onClick={() => sortBy(column)}>
                  {head}
                  <span aria-hidden="true">{by === column ? (falling ? ' ↓' : ' ↑') : ''}</span>
                </button>
              </th>
            ))}
            <th scope="col">
              <span class="visually-hidden">Use</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {sorted(outcomes, by, falling, trialLabel).map((outcome) => (
            <OutcomeRow key={outcome.method} outcome={outcome} most={most} best={best} />
          ))}
          {current.current && <CurrentRow current={current.current} />}
          {labBusy.value && waiting(current).map((method) => <WaitingRow key={method} method={method} />)}
        </tbody>
      </table>
      {outcomes.length > 0 && (
        <div class="row">
          <Button icon="file" data-testid="lab-copy" onClick={() => void copyLab()}>
            {justCopied.value ? 'Copied' : 'Copy as Markdown'}
          </Button>
          <Button icon="download" data-testid="lab-json" onClick={downloadLab}>
            Download JSON
          </Button>
          <Button look="quiet" icon="trash" data-testid="lab-clear" disabled={labBusy.value} onClick={clearLab}>
            Clear
          </Button>
        </div>
      )}
    </div>
  );
}

const waiting = ({ methods, outcomes, current }: LabState): string[] =>
  methods.filter((method) => method !== current?.method && !outcomes.some((outcome) => outcome.method === method));

function OutcomeRow({ outcome, most, best }: { outcome: Outcome; most: number; best: number }) {
  const { method } = outcome;
  const name = trialLabel(method);
  if ('problem' in outcome) {
    return (
      <tr data-testid={`lab-row-${method}`} data-state="failed">
        <th scope="row">{name}</th>
        <td colSpan={columns.length} class="lab-failed">
          {sentence(inWords(outcome.problem.message))}. <span class="fix">{sentence(inWords(outcome.problem.help))}.</span>
        </td>
      </tr>
    );
  }
  const { row } = outcome;
  return (
    <tr data-testid={`lab-row-${method}`} data-state="done">
      <th scope="row">
        {name}
        <small>rate {rate(row.learning_rate)}</small>
      </th>
      <td class="loss_after" data-label="Held-out loss">
        <span class={row.loss_after === best ? 'best' : ''}>{loss(row.loss_after)}</span>
        <Bar before={row.loss_before} after={row.loss_after} most={most} />
      </td>
      <td data-label="Exact">{row.answers ? `${row.exact} of ${row.answers}` : '–'}</td>
      <td data-label="Weights">{short(row.trainable)}</td>
      <td data-label="File">{bytes(row.file_bytes)}</td>
      <td data-label="Time">{duration(row.seconds)}</td>
      <td data-label="GPU">{bytes(row.peak_bytes)}</td>
      <td class="use">
        <Button data-testid={`lab-use-${method}`} disabled={busy.value} aria-label={`Use this method: ${name}`} onClick={() => useMethod(method)}>
          Use this method
        </Button>
      </td>
    </tr>
  );
}

/** The loss after as a bar, and a line where it was before. */
function Bar({ before, after, most }: { before: number; after: number; most: number }) {
  const percent = (value: number) => `${most > 0 ? (100 * value) / most : 0}%`;
  return (
    <svg class="lab-bar" width="100%" height="10" aria-hidden="true">
      <rect class="lab-bar-track" width="100%" height="10" rx="2" />
      <rect class="lab-bar-after" width={percent(after)} height="10" rx="2" />
      <line class="lab-bar-before" x1={percent(before)} x2={percent(before)} y1="0" y2="10" />
    </svg>
  );
}

function CurrentRow({ current }: { current: Current }) {
  const { method, stage, done, all } = current;
  const words = {
    before: `Measuring the model as it is: ${done} of ${all}`,
    train: `Training: step ${done} of ${all}`,
    after: `Measuring: ${done} of ${all} held out`,
    answer: `Asking: ${done} of ${all} held out`,
  };
  return (
    <tr data-testid={`lab-row-${method}`} data-state="running">
      <th scope="row">{trialLabel(method)}</th>
      <td colSpan={columns.length}>
        <label class="lab-current">
          <span>{stage ? words[stage] : 'Preparing'}</span>
          <progress {...(stage && { value: done, max: all })} />
        </label>
      </td>
    </tr>
  );
}

function WaitingRow({ method }: { method: string }) {
  return (
    <tr class="lab-waiting" data-testid={`lab-row-${method}`} data-state="waiting">
      <th scope="row">{trialLabel(method)}</th>
      <td colSpan={columns.length}>waits</td>
    </tr>
  );
}

import { numberOf, pause, resume, setMethod, stop, train } from '../actions/train';
import { bytes, count, plural } from '../format';
import type { RunState } from '../protocol';
import { busy, dataset, defaults, estimate, rowErrors, run, settings, tuning, whyNotTrain } from '../store';
import { summary } from '../examples';
import { Button, Step } from './bits';
import { Advanced, MainFields } from './Fields';
import { Progress } from './Progress';

export function Train() {
  return (
    <Step number={3} id="train" title="Train" lead="The defaults suit a first run. The loss is how surprised the model is by your answers: it should fall.">
      <div class="fields main">
        <MethodSelect />
        <MainFields />
      </div>
      <MethodHelp />
      <Advanced />
      <Memory />
      <RowErrors />
      <Controls />
      <Progress />
    </Step>
  );
}

function MethodSelect() {
  return (
    <div class="field choice method">
      <label for="method">Method</label>
      <select id="method" data-testid="method-select" value={settings.value.method} disabled={busy.value || !defaults.value} aria-describedby="method-help" onChange={(event) => setMethod(event.currentTarget.value)}>
        {defaults.value?.methods.map(({ id, name }) => (
          <option key={id} value={id}>
            {name}
          </option>
        ))}
      </select>
    </div>
  );
}

function MethodHelp() {
  const method = defaults.value?.methods.find(({ id }) => id === settings.value.method);
  return (
    <p class="hint" id="method-help">
      {method?.help}
    </p>
  );
}

const recomputed = { none: '', 'gate-up': ', some of it computed twice to keep that low', block: ', most of it computed twice to keep that low' };

function Memory() {
  const needed = estimate.value;
  if (!needed) return null;
  const { model, adapter, activations, total, recompute, fits } = needed;
  return (
    <p class={fits ? 'hint' : 'hint warning'} data-testid="estimate">
      Needs {bytes(total)} of GPU memory: {bytes(model)} for the model, {bytes(adapter)} for what is trained, {bytes(activations)} to work in
      {recomputed[recompute]}.
      {!fits && ' That is more than the memory limit under Advanced: shorten max length, or expect the browser to refuse.'}
    </p>
  );
}

const words: Record<RunState, string> = {
  idle: '',
  starting: 'Preparing the run',
  running: 'Training',
  paused: 'Paused: ask the model something in step 4, then go on',
  finishing: 'Finishing the step in hand',
  done: 'Done',
  failed: 'Failed',
};

function Controls() {
  const { state, problem } = run.value;
  const why = whyNotTrain.value;
  const data = dataset.value;
  return (
    <div class="controls">
      <div class="row">
        {!busy.value && (
          <Button look="main" icon="play" data-testid="train" disabled={why !== null} aria-describedby="train-why" onClick={() => void train()}>
            {state === 'done' ? 'Train again' : 'Train'}
          </Button>
        )}
        {(state === 'starting' || state === 'running') && (
          <Button look="main" icon="pause" data-testid="pause" disabled={state === 'starting'} onClick={() => void pause()}>
            Pause
          </Button>
        )}
        {state === 'paused' && (
          <Button look="main" icon="play" data-testid="resume" onClick={() => void resume()}>
            Resume
          </Button>
        )}
        {busy.value && (
          <Button icon="stop" data-testid="stop" disabled={state === 'starting' || state === 'finishing'} onClick={() => void stop()}>
            Stop and keep
          </Button>
        )}
      </div>
      <p class="run-status" id="train-why" data-testid="run-status" data-state={state}>
        {problem ? `${words.failed}: ${problem.message}` : why && !busy.value && state === 'idle' ? why : words[state]}
        {tuning.value && ` · trying kernels on this GPU, which is done once: ${tuning.value.done} of ${tuning.value.all}`}
        {data && state !== 'idle' && !problem && (
          <small>
            {' '}
            · {plural(data.examples, 'example')}
            {data.held > 0 && `, ${data.held} held out`}, {count(data.tokens)} tokens, {count(data.targets)} trained on
            {data.truncated > 0 && `, ${data.truncated} cut to length`}
          </small>
        )}
      </p>
    </div>
  );
}

function RowErrors() {
  const bad = rowErrors.value;
  if (!bad) return null;
  return (
    <div class="notice" data-testid="row-errors" role="alert">
      <h3>{plural(bad.length, 'example')} cannot be used</h3>
      <p>Nothing was started. Correct them in the table, or go on without them.</p>
      <ul>
        {bad.slice(0, 20).map(({ row, problem }) => (
          <li key={row.id}>
            <strong>Row {numberOf(row)}</strong> ({summary(row.example).slice(0, 60)}): {problem.message}. <span class="fix">{problem.help}</span>
          </li>
        ))}
        {bad.length > 20 && <li>and {plural(bad.length - 20, 'more')}</li>}
      </ul>
      <div class="row">
        <Button data-testid="train-without-bad" onClick={() => void train(true)}>
          Train without them
        </Button>
        <Button look="quiet" onClick={() => (rowErrors.value = null)}>
          Back to the table
        </Button>
      </div>
    </div>
  );
}

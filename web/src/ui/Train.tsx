import { numberOf, setBeginFrom, setKeepBest, stopChecking, train } from '../actions/train';
import { bytes, count, duration, ofRow, plural, sentence } from '../format';
import type { Problem } from '../engine';
import type { RunState } from '../protocol';
import { adapterLabel, adapters, beginFrom, beginnings, busy, checking, dataset, device, estimate, form, inWords, labBusy, labelOf, parts, reading, rowErrors, run, settings, speeds, tab, tuning, wanted, whyNotTrain } from '../store';
import { summary } from '../examples';
import { counted } from '../preferences';
import { isBusy } from '../run';
import { keepsBest } from '../settings';
import { banner, nameOf } from '../states';
import { Button, Step, Tabs } from './bits';
import { Advanced, MainFields } from './Fields';
import { Lab } from './Lab';
import { MethodPicker } from './Methods';
import { Progress } from './Progress';
import { RunButtons } from './RunButtons';
import { Runs } from './Runs';

export function Train() {
  return (
    <Step number={3} id="train" title="Train" lead={`The defaults suit a first run. ${watch[settings.value.teach]}`}>
      <Tabs label="What to train" tabs={tabs} chosen={tab.value} onChoose={(id) => (tab.value = id)}>
        <RowErrors />
        {tab.value === 'train' ? <One /> : tab.value === 'lab' ? <Lab /> : <Runs />}
      </Tabs>
    </Step>
  );
}

const tabs = [
  { id: 'train', name: 'One run' },
  { id: 'lab', name: 'Method lab' },
  { id: 'runs', name: 'Runs' },
] as const;

/** What to look at. */
const watch = {
  examples: 'The loss is how surprised the model is by your answers: it should fall.',
  preferences: 'The loss is how far the model is from your choices: it should fall.',
  prompts: 'The reward is what the model’s own answers earn: it should rise.',
};

/** One method, one run. */
function One() {
  return (
    <>
      <BeginFrom />
      {!beginFrom.value && <MethodPicker />}
      <div class="fields main">
        <MainFields />
      </div>
      <Advanced />
      <KeepBest />
      <Needs />
      <Reading />
      <Controls />
      <NotKept />
      <Progress />
    </>
  );
}

/** Where there are adapters: whether the run goes on from one of them. */
function BeginFrom() {
  if (!beginnings.value.length) return null;
  const from = beginFrom.value;
  return (
    <div class="hold-out begin-from">
      <label for="begin-from">Begin from</label>
      <select id="begin-from" data-testid="begin-from" disabled={busy.value} value={from ? String(from.id) : ''} onChange={(event) => setBeginFrom(Number(event.currentTarget.value) || null)}>
        <option value="">The model, with a new adapter</option>
        {beginnings.value.map((one) => (
          <option key={one.id} value={String(one.id)}>
            {adapterLabel(one)}
          </option>
        ))}
      </select>
      {from && <p class="hint">What it learnt is learnt on, in its own shape ({labelOf(from.method)}). The adapter itself stays as it is.</p>}
    </div>
  );
}

/** A run that goes on in memory, for nothing more of it could be kept. */
function NotKept() {
  const { notKept, state } = run.value;
  if (notKept === null || !isBusy(state)) return null;
  return (
    <div class="notice" data-testid="not-kept" role="alert">
      <h3>This run is not kept any more</h3>
      <p>
        {sentence(notKept.replace(/^[\w-]+\/[\w./-]*: /, ''))}. It goes on in memory, and is kept again as soon as there is room: do not close this tab before its end. Delete runs that you no longer need under Runs, or a model in step 1.
      </p>
      <div class="row">
        <Button onClick={() => (tab.value = 'runs')}>Show the runs</Button>
      </div>
    </div>
  );
}

/** Where something is held out: whether the run goes by it. */
function KeepBest() {
  if (!parts.value.held.length) return null;
  return (
    <p class="keep-best">
      <label>
        <input type="checkbox" data-testid="keep-best" disabled={busy.value} checked={keepsBest(settings.value)} onChange={(event) => setKeepBest(event.currentTarget.checked)} />
        Stop when what is held out gets no better, and keep the best
      </label>
    </p>
  );
}

const recomputed = { none: '', 'gate-up': ', some of it computed twice to keep that low', block: ', most of it computed twice to keep that low' };

/** Rows that are read as the model will see them: many take a while. */
function Reading() {
  const { done, total } = reading.value ?? { done: 0, total: 0 };
  if (!total && !checking.value) return null;
  return (
    <div class="loading" data-testid="reading">
      <label for="reading-progress">
        <strong>Reading the rows as the model sees them</strong>
        <span>{total > 0 && `${count(done)} of ${count(total)}`}</span>
      </label>
      <progress id="reading-progress" {...(total > 0 && { value: done, max: total })} />
      {checking.value && (
        <Button look="quiet" data-testid="stop-checking" onClick={() => void stopChecking()}>
          Stop here, start nothing
        </Button>
      )}
    </div>
  );
}

/** What the run needs before it starts: memory, and time where a run here has shown the speed. */
function Needs() {
  const needed = estimate.value;
  if (!needed) return null;
  if ('code' in needed) {
    return (
      <p class="hint warning" data-testid="estimate" role="status">
        This cannot be trained here: {inWords(needed.message)}. {sentence(inWords(needed.help))}.
      </p>
    );
  }
  const { model, adapter, activations, total, recompute, fits, advice } = needed;
  const kept = adapters.value.reduce((sum, { training, gpu_bytes }) => sum + (training ? 0 : gpu_bytes), 0);
  return (
    <p class={fits ? 'hint' : 'hint warning'} data-testid="estimate">
      Needs {bytes(total)} of GPU memory: {bytes(model)} for the model, {bytes(adapter)} for what is trained, {bytes(activations)} to work in
      {recomputed[recompute]}.<Time rows={needed.rows} />
      {kept > 0 && ` The adapters that are kept (step 4) take ${bytes(kept)} beside that.`}
      {!fits && (
        <>
          {' '}
          That is more than the memory limit of {bytes(1e6 * Number(form.value?.config.memory_limit))} under Advanced, and the browser may take the GPU away. {sentence(inWords(advice))}.
        </>
      )}
    </p>
  );
}

function Time({ rows }: { rows: number }) {
  const speed = device.value.state === 'ready' ? speeds.value[nameOf(device.value.device)] : undefined;
  const config = form.value?.config;
  const steps = Number(config?.max_steps);
  // Most of a step's time goes into writing answers, whose length nobody knows.
  if (!speed || !(steps > 0) || settings.value.teach === 'prompts') return null;
  const seconds = (steps * rows * Number(config?.gradient_accumulation_steps)) / speed;
  return (
    <>
      {' '}
      At the speed of the last run here, {plural(steps, 'step')} {steps === 1 ? 'takes' : 'take'} up to {duration(seconds)}.
    </>
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

/** What a press is told at once that waits for the step in hand. */
const waits = {
  pause: 'Pausing',
  stop: 'Stopping: the step in hand is finished first',
};

/** Why a run failed: in the banner's words where there is one, for it is far from here. */
function failed(problem: Problem): string {
  const stops = banner(problem);
  if (!stops) return `${words.failed}: ${problem.message}`;
  const { checkpoint } = run.value;
  return `${words.failed}: ${stops.title}. ${checkpoint === null ? '' : `The run is kept up to step ${checkpoint}. `}What to do stands at the top of the page.`;
}

function Controls() {
  const { state, problem } = run.value;
  const why = labBusy.value ? 'The lab is going: a run can start when it has ended.' : whyNotTrain.value;
  const data = dataset.value;
  return (
    <div class="controls">
      <RunButtons state={state} testid="train" blocked={why !== null} describedby="train-why" start={state === 'done' ? 'Train again' : 'Train'} onStart={() => void train()} />
      <p class="run-status" id="train-why" data-testid="run-status" data-state={state}>
        {checking.value && !isBusy(state) ? 'Checking the rows' : problem ? failed(problem) : wanted.value && isBusy(state) ? waits[wanted.value] : why && !isBusy(state) ? `${state === 'done' ? 'Done. For another run: ' : ''}${why}` : words[state]}
        {isBusy(state) && tuning.value && ` · trying kernels on this GPU, which is done once: ${tuning.value.done} of ${tuning.value.all}`}
        {data && state !== 'idle' && !problem && (
          <small>
            {' '}
            · {data.trained}
            {data.held.length > 0 && `, ${data.held.length} held out`}, {count(data.tokens)} tokens{data.teach !== 'prompts' && `, ${count(data.targets)} ${data.teach === 'examples' ? 'trained on' : 'of answers'}`}
            {data.truncated > 0 && `, ${data.truncated} cut to length`}
            {isBusy(state) && run.value.checkpoint !== null && ` · kept up to step ${run.value.checkpoint}`}
          </small>
        )}
      </p>
    </div>
  );
}

function RowErrors() {
  const refused = rowErrors.value;
  if (!refused) return null;
  const { rows: bad, goOn } = refused;
  return (
    <div class="notice" data-testid="row-errors" role="alert">
      <h3>{counted(bad.map(({ row }) => row))} cannot be used</h3>
      <p>Nothing was started. Correct them in the table, or go on without them.</p>
      <ul>
        {bad.slice(0, 20).map(({ row, problem }) => (
          <li key={row.id}>
            <strong>Row {numberOf(row)}</strong> ({summary(row.example).slice(0, 60)}): {ofRow(problem.message)}. <span class="fix">{problem.help}</span>
          </li>
        ))}
        {bad.length > 20 && <li>and {plural(bad.length - 20, 'more')}</li>}
      </ul>
      <div class="row">
        <Button data-testid="train-without-bad" disabled={busy.value} onClick={goOn}>
          Go on without them
        </Button>
        <Button look="quiet" onClick={() => (rowErrors.value = null)}>
          Back to the table
        </Button>
      </div>
    </div>
  );
}

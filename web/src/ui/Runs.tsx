import { useEffect, useState } from 'preact/hooks';
import type uPlot from 'uplot';
import { askBoth, bothAnswers, compare, readBoth } from '../actions/compare';
import { canAct, continueRun, exportRun, importRuns, keepAfterAll, nameOfRun, openRun, persist, removeNow, removeRun, renameRun, takeSettings, useRun } from '../actions/runs';
import { bytes, count, loss, plural, when } from '../format';
import type { KeptRun } from '../protocol';
import type { Run } from '../run';
import { begunWords, canContinue, differences, overlaid, stateWords } from '../runs';
import { isBusy } from '../run';
import { asking, compared, defaults, labelOf, leaving, objectives, run, runId, runs, storage } from '../store';
import { Button, Drop, FileButton } from './bits';
import { Chart } from './Chart';

/** Every run that the browser keeps, and two of them beside each other. */
export function Runs() {
  const list = runs.value;
  return (
    <Drop onFiles={(files) => void importRuns(files)}>
      <div class="runs" data-testid="runs">
        <div class="runs-head">
          <p class="hint">
            {list?.length
              ? `${plural(list.length, 'run')}, kept in this browser with ${list.length === 1 ? 'its' : 'their'} rows and adapter${list.length === 1 ? '' : 's'}. Choose two to compare them.`
              : list
                ? 'Every run is kept here from its first step: it can be looked at, compared, and continued where it stopped. There is none yet.'
                : 'Looking for what is kept…'}
          </p>
          <FileButton label="Load a run" accept=".zip" testid="run-file" multiple onFiles={(files) => void importRuns(files)} />
        </div>
        <Leaving />
        {list && list.length > 0 && (
          <ul class="run-list">
            {list.map((kept) => (
              <Kept key={kept.id} kept={kept} />
            ))}
          </ul>
        )}
        <Room />
        <Compared />
      </div>
    </Drop>
  );
}

/** A run that was deleted a moment ago. */
function Leaving() {
  const kept = leaving.value;
  if (!kept) return null;
  return (
    <div class="notice" data-testid="run-leaving" role="status">
      <p>
        {nameOfRun(kept)} is deleted.{' '}
        <Button icon="undo" data-testid="run-undo" onClick={keepAfterAll}>
          Take that back
        </Button>{' '}
        <Button look="quiet" data-testid="run-delete-now" onClick={() => void removeNow()}>
          Free its {bytes(kept.summary.bytes)} now
        </Button>
      </p>
    </div>
  );
}

/** What it takes of the browser's storage. */
function Room() {
  const room = storage.value;
  const list = runs.value;
  if (!room || !list?.length) return null;
  const taken = list.reduce((sum, { summary }) => sum + summary.bytes, 0);
  return (
    <p class="hint room" data-testid="run-storage">
      The runs take {bytes(taken)}. All that this page keeps takes {bytes(room.usage)} of the {bytes(room.quota)} that the browser gives it
      {room.persisted ? ', and the browser has promised to keep it.' : ', and may clear when the disk fills up.'}{' '}
      {!room.persisted && (
        <button type="button" class="link" data-testid="run-persist" onClick={() => void persist()}>
          Ask the browser to keep it
        </button>
      )}
    </p>
  );
}

function Kept({ kept }: { kept: KeptRun }) {
  const { id, summary } = kept;
  const name = nameOfRun(kept);
  // Of its own run this tab knows more than the list, which is asked for now and then.
  const isOurs = id === runId.value;
  const here = isOurs && isBusy(run.value.state);
  const goes = isOurs ? here : kept.going;
  const learnt = objectives.value.find((objective) => objective.name === summary.config.objective);
  const [isOpen, setOpen] = useState(false);
  const facts = [
    here ? 'going now' : goes ? 'going in another tab' : stateWords(kept),
    summary.loss !== null && `loss ${loss(summary.loss)}`,
    summary.best && `held-out loss ${loss(summary.best[1])} at step ${summary.best[0]}`,
  ];
  return (
    <li class={`kept-run ${goes ? 'goes' : ''}`} data-testid="kept-run" data-run={id}>
      <label class="kept-compare" title="Compare">
        <input type="checkbox" checked={compared.value.includes(id)} onChange={(event) => compare(kept, event.currentTarget.checked)} />
        <span class="visually-hidden">Compare {name}</span>
      </label>
      <details open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>
          <strong>{name}</strong>
          <small>
            {begunWords(kept)} · {facts.filter(Boolean).join(' · ')}
          </small>
        </summary>
        <dl class="kept-facts">
          <Fact name="Model" value={summary.about?.model.file || summary.base} />
          <Fact name="Method" value={labelOf(summary.method)} />
          <Fact name="Learns" value={learnt?.label ?? String(summary.config.objective ?? '')} />
          <Fact name="Rows" value={[kept.notes.rows, kept.notes.held && `${count(kept.notes.held)} held out`].filter(Boolean).join(', ') || '–'} />
          <Fact name="Takes" value={bytes(summary.bytes)} />
        </dl>
        {kept.notes.problem && <p class="hint warning">{kept.notes.problem.message}</p>}
        <Actions kept={kept} goes={goes} />
      </details>
      {canContinue(kept) && !goes && (
        <Button look="main" icon="play" data-testid="run-continue" disabled={!canAct.value} onClick={() => void continueRun(kept)}>
          Continue from step {summary.checkpoint}
        </Button>
      )}
    </li>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function Actions({ kept, goes }: { kept: KeptRun; goes: boolean }) {
  const [title, setTitle] = useState<string | null>(null);
  const hasAdapter = kept.summary.done || kept.summary.checkpoint !== null;
  const name = nameOfRun(kept);
  if (title !== null) {
    return (
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          void renameRun(kept, title);
          setTitle(null);
        }}
      >
        <label class="run-title">
          Name
          <input type="text" data-testid="run-title" value={title} maxLength={80} ref={(input) => input?.focus()} onInput={(event) => setTitle(event.currentTarget.value)} onKeyDown={(event) => event.key === 'Escape' && setTitle(null)} />
        </label>
        <Button type="submit">Keep the name</Button>
        <Button look="quiet" onClick={() => setTitle(null)}>
          Leave it
        </Button>
      </form>
    );
  }
  return (
    <div class="row" role="group" aria-label={name}>
      <Button data-testid="run-open" disabled={!canAct.value} onClick={() => void openRun(kept)}>
        Show its curves
      </Button>
      <Button data-testid="run-use" disabled={!canAct.value || !hasAdapter} onClick={() => void useRun(kept)}>
        Talk to it
      </Button>
      <Button look="quiet" data-testid="run-settings" onClick={() => takeSettings(kept)}>
        Take its settings
      </Button>
      <Button look="quiet" icon="edit" data-testid="run-rename" onClick={() => setTitle(name)}>
        Rename
      </Button>
      <Button look="quiet" icon="download" data-testid="run-export" disabled={goes} onClick={() => void exportRun(kept)}>
        Download
      </Button>
      <Button look="quiet" icon="trash" data-testid="run-delete" disabled={goes} onClick={() => removeRun(kept)}>
        Delete
      </Button>
    </div>
  );
}

/** Two runs beside each other: their curves over each other, the settings that differ, and what they answer. */
function Compared() {
  const [both, setBoth] = useState<[KeptRun, Run][] | null>(null);
  const [problem, setProblem] = useState('');
  const [question, setQuestion] = useState('');
  const ids = compared.value.join(' ');
  useEffect(() => {
    let isLatest = true;
    readBoth().then(
      (read) => isLatest && (setBoth(read), setProblem('')),
      (thrown: { message?: string }) => isLatest && (setBoth(null), setProblem(String(thrown.message))),
    );
    return () => void (isLatest = false);
  }, [ids, runs.value]);
  if (problem) return <p class="hint warning">{problem}</p>;
  if (!both) return null;
  const [one, other] = both.map(([kept]) => kept) as [KeptRun, KeptRun];
  const found = differences(one.summary.config, other.summary.config, defaults.value);
  const alike = nameOfRun(one) === nameOfRun(other);
  const names = [one, other].map((kept) => (alike ? `${nameOfRun(kept)}, ${when(kept.summary.about?.begun ?? 0)}` : nameOfRun(kept)));
  return (
    <section class="compared" data-testid="compared" aria-label="Two runs compared">
      <h3>Side by side</h3>
      <figure>
        <figcaption>
          Loss <span class="key">{names[0]}</span> <span class="key second">{names[1]}</span> <span class="key held">dots: what is held out</span>
        </figcaption>
        <Chart
          key={ids}
          label={`Loss of ${names.join(' and of ')} by step`}
          height={240}
          data={overlaid(both.map(([, run]) => run)) as uPlot.AlignedData}
          format={(value) => String(Number(value.toPrecision(3)))}
          lines={['--ember', '--steel'].flatMap((colour) => [
            { label: 'smoothed', colour, width: 2.2 },
            { label: 'held out', colour, width: 2, dots: 8 },
          ])}
        />
      </figure>
      <table class="differences">
        <caption>{found.length ? 'What their settings differ in' : 'Their settings are the same.'}</caption>
        {found.length > 0 && (
          <>
            <thead>
              <tr>
                <th scope="col">Setting</th>
                {names.map((name, index) => (
                  <th key={index} scope="col">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {found.map(({ name, values }) => (
                <tr key={name}>
                  <th scope="row">{name}</th>
                  {values.map((value, index) => (
                    <td key={index}>{value || '–'}</td>
                  ))}
                </tr>
              ))}
            </tbody>
          </>
        )}
      </table>
      <form
        class="ask-both"
        onSubmit={(event) => {
          event.preventDefault();
          void askBoth([one, other], question);
        }}
      >
        <label for="both-question">The same question to both, at temperature 0</label>
        <div class="ask-line">
          <textarea id="both-question" dir="auto" rows={2} data-testid="both-question" value={question} onInput={(event) => setQuestion(event.currentTarget.value)} />
          <Button look="main" type="submit" data-testid="both-send" disabled={!canAct.value || asking.value || !question.trim()}>
            Ask both
          </Button>
        </div>
      </form>
      <div class="answers">
        {names.map((name, index) => {
          const { text, note } = bothAnswers.value[index]!;
          return (
            <article key={index} class={`answer ${index === 0 ? 'tuned' : 'base'}`} data-testid={`both-${index}`}>
              <h3>{name}</h3>
              <p class={text ? 'answer-text' : 'hint'} dir="auto">
                {text || note || 'The answer stands here.'}
              </p>
            </article>
          );
        })}
      </div>
    </section>
  );
}

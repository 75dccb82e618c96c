import { choose, isDecided, show, skipDuel, startDuel } from '../actions/duel';
import { adapter, adapterLabel, duel, duelSettings, writes } from '../store';
import { Button, NumberField } from './bits';
import { Judge } from './Judge';
import { Question, whileTraining } from './Question';

/** Two answers without names, of which the person chooses the better one. */
export function Duel() {
  const { state, note } = duel.value;
  return (
    <>
      <Ask />
      {state !== 'idle' && (
        <div class="answers">
          <Contender side={0} />
          <Contender side={1} />
        </div>
      )}
      <div class="duel-end">
        {state === 'open' && !isDecided() && (
          <Button data-testid="duel-neither" onClick={() => goOn(skipDuel)}>
            Neither
          </Button>
        )}
        {note && (
          <p class="hint" data-testid="duel-note">
            {note}
          </p>
        )}
      </div>
    </>
  );
}

function Ask() {
  const { maxNewTokens, temperature, from } = duelSettings.value;
  const tuned = adapter.value && writes(adapter.value) ? adapter.value : null;
  const change = (part: Partial<typeof duelSettings.value>) => (duelSettings.value = { ...duelSettings.value, ...part });
  return (
    <Question send="Duel" testid="duel" onSend={() => void startDuel()}>
      <NumberField id="duel-max-new-tokens" label="Max tokens" value={maxNewTokens} min={1} max={2048} step={1} onChange={(n) => change({ maxNewTokens: n })} />
      <NumberField id="duel-temperature" label="Temperature" value={temperature} min={0.1} max={2} step={0.1} onChange={(n) => change({ temperature: n })} />
      <div class="field">
        <label for="duel-from">Answers from</label>
        <select id="duel-from" data-testid="duel-from" disabled={!tuned} value={tuned ? from : 'base'} onChange={(event) => change({ from: event.currentTarget.value as typeof from })}>
          <option value="base">the model as it came</option>
          {tuned && <option value="tuned">{adapterLabel(tuned)}</option>}
          {tuned && <option value="both">one of each</option>}
        </select>
      </div>
      <p class="hint">{whileTraining() ?? 'Two answers with different seeds, side by side and without names. The one you choose makes a pair with the other.'}</p>
    </Question>
  );
}

/** Puts the focus where the next duel starts, since the button that was pressed goes. */
function goOn(action: () => void): void {
  document.getElementById('send')?.focus({ preventScroll: true });
  action();
}

function Contender({ side }: { side: 0 | 1 }) {
  const { state, answers, by, made } = duel.value;
  const answer = answers[side];
  const decided = isDecided();
  const won = decided && made?.chosen === side;
  const name = side === 0 ? 'First answer' : 'Second answer';
  return (
    <article class={`answer contender ${won ? 'chosen' : ''}`} data-testid={`duel-${side}`} data-state={answer.state} aria-busy={state === 'sampling'}>
      <h3>
        {name} {decided && <small>{won ? 'your choice, ' : ''}from {by[side]}</small>}
      </h3>
      {answer.text ? (
        <p class="answer-text" dir="auto" data-testid={`duel-${side}-text`}>
          {answer.text}
        </p>
      ) : (
        <p class="hint">{answer.state === 'failed' ? answer.note : state === 'stopped' ? 'Stopped.' : answer.state === 'done' ? 'The model said nothing.' : 'Thinking…'}</p>
      )}
      {/* What would tell who wrote it waits for the choice. */}
      {decided && <p class="answer-note">{answer.note}</p>}
      {state === 'open' && !decided && (
        <Button look="main" data-testid={`choose-${side}`} aria-label={`This one: ${name.toLowerCase()}`} onClick={() => goOn(() => choose(side))}>
          This one
        </Button>
      )}
      {state !== 'sampling' && <Judge name={name} answer={answer} onChange={(part) => show(side, part)} />}
    </article>
  );
}

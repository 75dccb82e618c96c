import { addReward, changeReward, removeReward, scorers, triedPrompt, tryRewards, turnReward, typeAnswer, writeFunction } from '../actions/rewards';
import type { Problem } from '../engine';
import { summary } from '../examples';
import { kindOf, rewardError, rewardKinds, totalOf, type RewardChoice } from '../rewards';
import { adapterLabel, busy, device, form, inWords, model, ownFunction, ownSource, rewardWords, scorerKey, settings, tried, verdicts } from '../store';
import { Button, Icon } from './bits';

/** What an answer earns: any number of rewards, which are added up, and a way to try them. */
export function Rewards() {
  const { rewards } = settings.value;
  const add = () => {
    addReward();
    focus(`reward-${rewards.length}`);
  };
  return (
    <section class="rewards" aria-labelledby="rewards-title" data-testid="rewards">
      <div class="rewards-head">
        <h3 id="rewards-title">What an answer earns</h3>
        <Button icon="add" id="add-reward" data-testid="add-reward" disabled={busy.value} onClick={add}>
          Add a reward
        </Button>
      </div>
      <p class="hint">
        {rewards.length
          ? 'All of these are added up, each times its weight.'
          : 'Nothing yet: add a reward, or take a starter set. It needs answers that differ in what they earn, so that there is something to learn from.'}
      </p>
      {rewards.length > 0 && (
        <ol>
          {rewards.map((choice, index) => (
            <Choice key={index} choice={choice} index={index} />
          ))}
        </ol>
      )}
      {ownSource.value !== null && <OwnFunction />}
      {rewards.length > 0 && <TryIt />}
    </section>
  );
}

/** Puts the focus where the next thing is to be done, once it is on the screen. */
const focus = (id: string) => requestAnimationFrame(() => document.getElementById(id)?.focus());

function Choice({ choice, index }: { choice: RewardChoice; index: number }) {
  const kind = kindOf(choice.kind);
  const error = rewardError(choice, settings.value.rewards);
  const id = `reward-${index}`;
  const note = `${id}-note`;
  const { argument } = kind ?? {};
  const remove = () => {
    removeReward(index);
    // The button that was pressed goes.
    focus('add-reward');
  };
  const common = { id: `${id}-argument`, 'data-testid': `${id}-argument`, disabled: busy.value, value: choice.argument };
  return (
    <li>
      <div class="field">
        <label for={id}>Reward {index + 1}</label>
        <select id={id} data-testid={id} disabled={busy.value} aria-describedby={note} value={choice.kind} onChange={(event) => turnReward(index, event.currentTarget.value)}>
          {rewardKinds.map(({ id, name }) => (
            <option key={id} value={id}>
              {name}
            </option>
          ))}
        </select>
      </div>
      {argument && (
        <div class="field">
          <label for={`${id}-argument`}>
            {argument.label}
            <span class="visually-hidden"> of reward {index + 1}</span>
          </label>
          {choice.kind === 'model' ? (
            <select {...common} onChange={(event) => changeReward(index, { argument: event.currentTarget.value })}>
              <option value="">None</option>
              {scorers.value.map((one) => (
                <option key={one.id} value={scorerKey(one)}>
                  {adapterLabel(one)}
                </option>
              ))}
            </select>
          ) : argument.long ? (
            <textarea {...common} rows={3} onInput={(event) => changeReward(index, { argument: event.currentTarget.value })} />
          ) : (
            <input {...common} type="text" autocomplete="off" spellcheck={false} inputMode={argument.whole ? 'numeric' : 'text'} onInput={(event) => changeReward(index, { argument: event.currentTarget.value })} />
          )}
        </div>
      )}
      <div class="field weight">
        <label for={`${id}-weight`}>
          Weight
          <span class="visually-hidden"> of reward {index + 1}</span>
        </label>
        <input
          id={`${id}-weight`}
          data-testid={`${id}-weight`}
          type="text"
          inputMode="decimal"
          autocomplete="off"
          disabled={busy.value}
          value={choice.weight}
          onInput={(event) => changeReward(index, { weight: event.currentTarget.value })}
        />
      </div>
      <button type="button" class="icon-button" aria-label={`Remove reward ${index + 1}`} data-testid={`${id}-remove`} disabled={busy.value} onClick={remove}>
        <Icon name="close" />
      </button>
      <small id={note} class={error ? 'bad-note' : 'hint'}>
        {error ?? kind?.help}
      </small>
    </li>
  );
}

/** The person's own function. It runs apart from the page, with nothing to reach. */
function OwnFunction() {
  return (
    <div class="own-function">
      <label for="own-function">My own function</label>
      <textarea
        id="own-function"
        class="mono"
        rows={8}
        data-testid="own-function"
        spellcheck={false}
        autocomplete="off"
        disabled={busy.value}
        aria-describedby="own-function-note"
        value={ownFunction.value}
        onInput={(event) => writeFunction(event.currentTarget.value)}
      />
      <p class="hint" id="own-function-note">
        It runs in this browser, in a worker of its own without network, storage or the page, and has two seconds for an answer. What it throws ends the run, and is told
        with its line. Paste only what you have read.
      </p>
    </div>
  );
}

const sides = ['First answer', 'Second answer'] as const;

/** Two answers typed in, and what the rewards make of them. */
function TryIt() {
  const row = triedPrompt.value;
  const asking = verdicts.value === 'asking';
  const why = whyNotTry();
  return (
    <div class="try-rewards">
      <h4>Try it</h4>
      <p class="hint">
        {row ? (
          <>
            On the row that is chosen above: <q>{summary(row).slice(0, 120)}</q>
          </>
        ) : (
          'Two answers of your own, to a prompt of the table.'
        )}
      </p>
      <div class="two">
        {sides.map((name, side) => (
          <div class="field" key={name}>
            <label for={`tried-${side}`}>{name}</label>
            <textarea dir="auto" id={`tried-${side}`} data-testid={`tried-${side}`} rows={2} value={tried.value[side]} onInput={(event) => typeAnswer(side as 0 | 1, event.currentTarget.value)} />
          </div>
        ))}
      </div>
      <div class="row">
        <Button data-testid="try-rewards" disabled={why !== null || asking} aria-describedby="try-why" onClick={() => void tryRewards()}>
          {asking ? 'Judging…' : 'Judge both'}
        </Button>
        <p class="hint" id="try-why">
          {why}
        </p>
      </div>
      <Verdicts />
    </div>
  );
}

/** Why nothing can be judged yet, or null. */
function whyNotTry(): string | null {
  if (device.value.state === 'blocked') return 'The engine is not running: see the note at the top.';
  if (model.value.state !== 'ready') return 'Load a model first (step 1): some rewards count tokens.';
  if (!triedPrompt.value) return 'Type a prompt into the table first.';
  return form.value?.errors.reward ?? null;
}

function Verdicts() {
  const told = verdicts.value;
  if (!told || told === 'asking') return null;
  if ('problem' in told) return <Wrong problem={told.problem} />;
  if (told.row !== triedPrompt.value) return null;
  const { rewards } = settings.value;
  const total = (side: 0 | 1) => totalOf(told.earned.map((one) => ('earned' in one ? one.earned[side] : null)), rewards);
  return (
    <table class="verdicts" data-testid="verdicts">
      <thead>
        <tr>
          <th scope="col">Reward</th>
          {sides.map((name) => (
            <th key={name} scope="col">
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {told.earned.map((one, index) => (
          <tr key={one.name} data-reward={one.name}>
            <th scope="row">{rewardWords(one.name)}</th>
            {'earned' in one ? (
              sides.map((name, side) => <td key={name}>{weighed(one.earned[side] ?? null, rewards[index])}</td>)
            ) : (
              <td colSpan={2}>
                <Wrong problem={one.problem} />
              </td>
            )}
          </tr>
        ))}
        <tr data-reward="total">
          <th scope="row">In all</th>
          <td>{number(total(0))}</td>
          <td>{number(total(1))}</td>
        </tr>
      </tbody>
    </table>
  );
}

/** What was earned, as a person reads it. */
export const number = (earned: number | null | undefined): string => (earned == null ? 'nothing to say' : String(Number(earned.toPrecision(3))).replace('-', '−'));

const weighed = (earned: number | null, choice: RewardChoice | undefined): string =>
  earned === null || !choice || Number(choice.weight) === 1 ? number(earned) : `${number(earned)} × ${choice.weight}`;

function Wrong({ problem }: { problem: Problem }) {
  return (
    <p class="bad-note" role="alert" data-testid="reward-problem">
      {inWords(problem.message)}. {problem.help}
    </p>
  );
}

import { count, plural } from '../format';
import type { Rollout, Run } from '../run';
import { rewardWords, shownStep } from '../store';
import { Button } from './bits';
import { number } from './Rewards';

/** The answers that the model wrote to learn from: the newest, or those of an earlier step. */
export function Generations({ current }: { current: Run }) {
  const { generations } = current;
  const at = generations.findIndex(({ step }) => step === shownStep.value);
  const index = at < 0 ? generations.length - 1 : at;
  const shown = generations[index];
  if (!shown) return null;
  const newest = index === generations.length - 1;
  /** The newest is followed as it changes. */
  const turn = (to: number) => (shownStep.value = to >= generations.length - 1 ? null : (generations[to]?.step ?? null));
  return (
    <section class="generations" aria-labelledby="generations-title">
      <div class="generations-head">
        <h3 id="generations-title">What it answered</h3>
        <div class="row">
          <Button look="quiet" data-testid="generation-earlier" disabled={index === 0} onClick={() => turn(index - 1)}>
            Earlier
          </Button>
          <label class="visually-hidden" for="generation-step">
            Step whose answers are shown
          </label>
          <select id="generation-step" data-testid="generation-step" value={String(index)} onChange={(event) => turn(Number(event.currentTarget.value))}>
            {generations.map(({ step }, index) => (
              <option key={step} value={String(index)}>
                Step {count(step)}
              </option>
            ))}
          </select>
          <Button look="quiet" data-testid="generation-later" disabled={newest} onClick={() => turn(index + 1)}>
            Later
          </Button>
        </div>
      </div>
      <p class="hint">
        {plural(shown.answers.length, 'answer')} that step {count(shown.step)} learns from, the best first. “Better by” is how far an answer is above the others to its prompt: the model learns to give more like it, or less.
      </p>
      <table class="rollouts" data-testid="rollouts" data-step={shown.step}>
        <thead>
          <tr>
            {['Prompt', 'Answer', 'Earned', 'Better by'].map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.answers.map((answer, index) => (
            <Line key={index} answer={answer} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Line({ answer: { prompt, completion, rewards, advantage, tokens } }: { answer: Rollout }) {
  return (
    <tr>
      <td data-label="Prompt">
        <div class="clip">{prompt}</div>
      </td>
      <td data-label="Answer">
        <div class="clip">{completion || <span class="hint">(nothing)</span>}</div>
        <small>{plural(tokens, 'token')}</small>
      </td>
      <td data-label="Earned">
        <dl>
          {Object.entries(rewards).map(([name, earned]) => (
            <div key={name}>
              <dt>{rewardWords(name)}</dt>
              <dd>{number(earned)}</dd>
            </div>
          ))}
        </dl>
      </td>
      <td data-label="Better by" class={advantage > 0 ? 'more' : advantage < 0 ? 'less' : ''}>
        {advantage > 0 && '+'}
        {number(advantage)}
      </td>
    </tr>
  );
}

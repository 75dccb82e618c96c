import { useComputed } from '@preact/signals';
import { ask, stopAsking } from '../actions/ask';
import { summary, view } from '../examples';
import { adapter, adapterLabel, answers, answerSettings, asking, lab, model, question, run, table, type Answer } from '../store';
import { Adapters } from './Adapters';
import { Button, NumberField, Step } from './bits';
import { Export } from './Export';

export function Try() {
  return (
    <Step number={4} id="try" title="Try and export" lead="The same question and the same seed to the model before and after. Then take the difference with you: it is one small file.">
      <Adapters />
      <Ask />
      <div class="answers">
        <AnswerCard side="base" title="Before" about="the model as it came" answer={answers.value.base} />
        <AnswerCard side="tuned" title="After" about={adapter.value ? `with ${adapterLabel(adapter.value)}` : 'with your training'} answer={answers.value.tuned} />
      </div>
      <Export />
    </Step>
  );
}

function Ask() {
  const ready = model.value.state === 'ready';
  const { maxNewTokens, temperature, seed } = answerSettings.value;
  const training = run.value.state === 'running' || lab.value.state === 'running';
  const change = (part: Partial<typeof answerSettings.value>) => (answerSettings.value = { ...answerSettings.value, ...part });
  return (
    <form
      class="ask"
      onSubmit={(event) => {
        event.preventDefault();
        void ask();
      }}
    >
      <Suggestions />
      <div class="ask-line">
        <label class="visually-hidden" for="ask">
          Your question
        </label>
        <textarea
          id="ask"
          rows={2}
          data-testid="ask-input"
          placeholder="Ask something, ideally what is not among your examples"
          value={question.value}
          onInput={(event) => (question.value = event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
              event.preventDefault();
              void (ready && ask());
            }
          }}
        />
        {asking.value ? (
          <Button icon="stop" data-testid="ask-stop" onClick={() => void stopAsking()}>
            Stop
          </Button>
        ) : (
          <Button look="main" type="submit" data-testid="ask-send" disabled={!ready || !question.value.trim()}>
            Ask
          </Button>
        )}
      </div>
      <div class="fields ask-settings">
        <NumberField id="max-new-tokens" label="Max tokens" value={maxNewTokens} min={1} max={2048} step={1} onChange={(n) => change({ maxNewTokens: n })} />
        <NumberField id="temperature" label="Temperature" value={temperature} min={0} max={2} step={0.1} onChange={(n) => change({ temperature: n })} />
        <NumberField id="seed" label="Seed" value={seed} min={0} max={2 ** 31} step={1} onChange={(n) => change({ seed: n })} />
        <p class="hint">
          {!ready
            ? 'Load a model to ask it (step 1).'
            : training
              ? 'Training waits while the model answers.'
              : temperature === 0
                ? 'At temperature 0 the likeliest word wins every time.'
                : 'Higher is more surprising; the same seed repeats the same answer.'}
        </p>
      </div>
    </form>
  );
}

/** Questions the person taught, one press away. */
function Suggestions() {
  const prompts = useComputed(() =>
    table.value.filled.value
      .filter(({ example }) => view(example).kind === 'pair')
      .slice(0, 3)
      .map(({ example }) => summary(example)),
  );
  if (!prompts.value.length) return null;
  return (
    <div class="suggestions" role="group" aria-label="From your examples">
      <span>From your examples:</span>
      {prompts.value.map((text) => (
        <button key={text} type="button" class="suggestion" onClick={() => (question.value = text)}>
          {text}
        </button>
      ))}
    </div>
  );
}

function AnswerCard({ side, title, about, answer }: { side: 'base' | 'tuned'; title: string; about: string; answer: Answer }) {
  const empty =
    side === 'tuned' && !adapter.value ? 'Train first (step 3): the tuned answer stands here.' : answer.state === 'waiting' ? 'Thinking…' : 'The answer stands here.';
  return (
    <article class={`answer ${side}`} data-testid={`answer-${side}`} data-state={answer.state} aria-busy={answer.state === 'waiting' || answer.state === 'running'}>
      <h3>
        {title} <small>{about}</small>
      </h3>
      {answer.text ? (
        <p class="answer-text" data-testid={`answer-${side}-text`}>
          {answer.text}
        </p>
      ) : (
        <p class="hint" data-testid={`answer-${side}-text`} data-empty>
          {answer.state === 'done' ? 'The model said nothing.' : empty}
        </p>
      )}
      {answer.note && <p class="answer-note">{answer.note}</p>}
    </article>
  );
}

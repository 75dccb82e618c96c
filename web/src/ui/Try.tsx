import { answerAgain, ask, copyAnswer } from '../actions/ask';
import { teachAnswer } from '../actions/preferences';
import { adapter, adapterLabel, answers, answerSettings, asking, model, startOver, systemPrompt, tryTab, turns, writes, type Answer } from '../store';
import { Adapters } from './Adapters';
import { Button, NumberField, Step, Tabs } from './bits';
import { Duel } from './Duel';
import { Export } from './Export';
import { Judge } from './Judge';
import { MadeNote } from './MadeNote';
import { Question, whileTraining } from './Question';

export function Try() {
  return (
    <Step number={4} id="try" title="Try and export" lead="The same question and the same seed to the model before and after. Then take the difference with you: it is one small file.">
      <Adapters />
      <Tabs label="How to try it" tabs={tabs} chosen={tryTab.value} onChoose={(id) => (tryTab.value = id)}>
        {tryTab.value === 'ask' ? <Compare /> : <Duel />}
        <MadeNote at="try" />
      </Tabs>
      <Export />
    </Step>
  );
}

const tabs = [
  { id: 'ask', name: 'Chat, before and after' },
  { id: 'duel', name: 'Duel' },
] as const;

/** A conversation with the model as it came, and with the tuned one, beside each other. */
function Compare() {
  const tuned = adapter.value;
  const { base } = answers.value;
  const goes = turns.value.length > 0;
  return (
    <>
      <System />
      <div class="chat" data-testid="chat">
        {turns.value.map((turn, index) => (
          <div key={index} class="turn">
            <p class="asked" dir="auto">
              {turn.base.prompt}
            </p>
            <div class="answers">
              {(['base', 'tuned'] as const).map((side) => (
                <p key={side} class="said" dir="auto">
                  {turn[side].text || '–'}
                </p>
              ))}
            </div>
          </div>
        ))}
        {base.prompt && (
          <p class="asked" dir="auto" data-testid="asked">
            {base.prompt}
          </p>
        )}
      </div>
      <div class="answers">
        <AnswerCard side="base" title="Before" about="the model as it came" answer={base} />
        <AnswerCard side="tuned" title="After" about={tuned ? `with ${adapterLabel(tuned)}` : 'with your training'} answer={answers.value.tuned} />
      </div>
      {base.prompt && (
        <p class="chat-note hint">
          {goes ? `${turns.value.length + 1} turns: each model goes on from what it said itself. ` : hasTemplate() ? 'What you ask next goes on with this conversation. ' : ''}
          <button type="button" class="link" data-testid="ask-over" disabled={asking.value} onClick={() => startOver()}>
            Start over
          </button>
        </p>
      )}
      <Ask />
    </>
  );
}

const hasTemplate = (): boolean => model.value.state === 'ready' && model.value.info.chat_template !== null;

/** What both are told before the conversation. */
function System() {
  if (!hasTemplate()) return null;
  return (
    <details class="system">
      <summary>System prompt{systemPrompt.value.trim() ? ': set' : ''}</summary>
      <label class="visually-hidden" for="system">
        What both models are told before the conversation
      </label>
      <textarea
        id="system"
        dir="auto"
        rows={2}
        data-testid="system"
        placeholder="What both are told before the conversation, such as: You are a pirate. Answer in one sentence."
        value={systemPrompt.value}
        onInput={(event) => {
          systemPrompt.value = event.currentTarget.value;
          turns.value = [];
        }}
      />
    </details>
  );
}

function Ask() {
  const { maxNewTokens, temperature, seed } = answerSettings.value;
  const change = (part: Partial<typeof answerSettings.value>) => (answerSettings.value = { ...answerSettings.value, ...part });
  return (
    <Question send="Ask" testid="ask" onSend={() => void ask()}>
      <NumberField id="max-new-tokens" label="Max tokens" value={maxNewTokens} min={1} max={2048} step={1} onChange={(n) => change({ maxNewTokens: n })} />
      <NumberField id="temperature" label="Temperature" value={temperature} min={0} max={2} step={0.1} onChange={(n) => change({ temperature: n })} />
      <NumberField id="seed" label="Seed" value={seed} min={0} max={2 ** 31} step={1} onChange={(n) => change({ seed: n })} />
      <p class="hint">
        {whileTraining() ?? (temperature === 0 ? 'At temperature 0 the likeliest word wins every time.' : 'Higher is more surprising; the same seed repeats the same answer.')}
      </p>
    </Question>
  );
}

function AnswerCard({ side, title, about, answer }: { side: 'base' | 'tuned'; title: string; about: string; answer: Answer }) {
  const empty =
    side === 'tuned' && !adapter.value
      ? 'Train first (step 3): the tuned answer stands here.'
      : side === 'tuned' && adapter.value && !writes(adapter.value)
        ? 'This adapter scores answers and writes none.'
        : answer.state === 'waiting'
          ? 'Thinking…'
          : 'The answer stands here.';
  return (
    <article class={`answer ${side}`} data-testid={`answer-${side}`} data-state={answer.state} aria-busy={answer.state === 'waiting' || answer.state === 'running'}>
      <h3>
        {title} <small>{about}</small>
      </h3>
      {answer.text ? (
        <p class="answer-text" dir="auto" data-testid={`answer-${side}-text`}>
          {answer.text}
        </p>
      ) : (
        <p class="hint" data-testid={`answer-${side}-text`} data-empty>
          {answer.state === 'done' ? 'The model said nothing.' : empty}
        </p>
      )}
      {answer.note && <p class="answer-note">{answer.note}</p>}
      <Judge name={title} answer={answer} onChange={(part) => (answers.value = { ...answers.value, [side]: { ...answers.value[side], ...part } })}>
        <Button look="quiet" data-testid={`again-${side}`} disabled={asking.value} onClick={() => void answerAgain(side)}>
          Again
        </Button>
        <Button look="quiet" data-testid={`copy-${side}`} onClick={() => void copyAnswer(answer.text)}>
          Copy
        </Button>
        <Button look="quiet" icon="add" data-testid={`teach-${side}`} onClick={() => teachAnswer(answer)}>
          To the examples
        </Button>
      </Judge>
    </article>
  );
}

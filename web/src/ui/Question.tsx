import { useComputed } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { stopAsking } from '../actions/ask';
import { summary, view } from '../examples';
import { asking, lab, model, question, run, settings, table } from '../store';
import { Button } from './bits';

interface Props {
  /** What the button says. */
  send: string;
  testid: 'ask' | 'duel';
  onSend: () => void;
  /** The settings of the answers, and a hint. */
  children: ComponentChildren;
}

/** A question to the model: the same one in every tab of step 4. */
export function Question({ send, testid, onSend, children }: Props) {
  const ready = model.value.state === 'ready';
  return (
    <form
      class="ask"
      onSubmit={(event) => {
        event.preventDefault();
        onSend();
      }}
    >
      <Suggestions />
      <div class="ask-line">
        <label class="visually-hidden" for="ask">
          Your question
        </label>
        <textarea
          dir="auto"
          id="ask"
          rows={2}
          data-testid="ask-input"
          placeholder="Ask something, ideally what is not among your examples"
          value={question.value}
          onInput={(event) => (question.value = event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
              event.preventDefault();
              if (ready) onSend();
            }
          }}
        />
        {asking.value ? (
          <Button icon="stop" data-testid="ask-stop" onClick={() => void stopAsking()}>
            Stop
          </Button>
        ) : (
          <Button look="main" type="submit" id="send" data-testid={`${testid}-send`} disabled={!ready || !question.value.trim()}>
            {send}
          </Button>
        )}
      </div>
      <div class={`fields ask-settings ${testid}`}>{children}</div>
    </form>
  );
}

/** What asking waits for, or makes wait. */
export function whileTraining(): string | null {
  if (model.value.state !== 'ready') return 'Load a model to ask it (step 1).';
  return run.value.state === 'running' || lab.value.state === 'running' ? 'Training waits while the model answers.' : null;
}

const SUGGESTED = 3;

/** Questions the person taught, one press away. */
function Suggestions() {
  const prompts = useComputed(() => {
    const asked = new Set<string>();
    for (const { example } of table.value.filled.value) {
      if (asked.size === SUGGESTED) break;
      if ('question' in view(example)) asked.add(summary(example));
    }
    return [...asked];
  });
  if (!prompts.value.length) return null;
  const from = `From your ${settings.value.teach}:`;
  return (
    <div class="suggestions" role="group" aria-label={from.slice(0, -1)}>
      <span>{from}</span>
      {prompts.value.map((text) => (
        <button key={text} type="button" class="suggestion" onClick={() => (question.value = text)}>
          {text}
        </button>
      ))}
    </div>
  );
}

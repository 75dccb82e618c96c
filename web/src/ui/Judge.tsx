import type { ComponentChildren } from 'preact';
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { correct, judge, thumbFor } from '../actions/preferences';
import type { Answer } from '../store';
import { Button, Icon } from './bits';

interface Props {
  /** What the answer is called, for those who do not see where the buttons are. */
  name: string;
  answer: Answer;
  onChange: (part: Partial<Answer>) => void;
  /** More that can be done with it. */
  children?: ComponentChildren;
}

/** What a person thinks of an answer: a thumb up or down, or a better one. Each becomes a row of the preferences. */
export function Judge({ name, answer, onChange, children }: Props) {
  const [draft, setDraft] = useState<string | null>(null);
  const field = useRef<HTMLTextAreaElement>(null);
  const open = useRef<HTMLButtonElement>(null);
  const editing = draft !== null;
  const before = useRef(false);
  // The field takes the focus as it opens, and the button has it back.
  useLayoutEffect(() => {
    if (editing !== before.current) (editing ? field : open).current?.focus();
    before.current = editing;
  }, [editing]);
  // Another answer has come.
  useLayoutEffect(() => setDraft(null), [answer.text]);
  if (answer.state !== 'done' || !answer.text.trim()) return null;
  if (editing) {
    const id = `edit-${name.toLowerCase().replaceAll(' ', '-')}`;
    return (
      <div class="edit">
        <label for={id}>The answer as it should be</label>
        <textarea dir="auto" id={id} data-testid="edit-answer" ref={field} value={draft} onInput={(event) => setDraft(event.currentTarget.value)} />
        <div class="row">
          <Button
            data-testid="edit-save"
            onClick={() => {
              correct(answer, draft);
              setDraft(null);
            }}
          >
            Save as a pair
          </Button>
          <Button look="quiet" onClick={() => setDraft(null)}>
            Leave it
          </Button>
        </div>
      </div>
    );
  }
  const thumb = thumbFor(answer);
  const press = (good: boolean) => onChange({ judged: judge(answer, good) });
  return (
    <div class="judge" role="group" aria-label={`What you think of the answer: ${name}`}>
      <button type="button" class="icon-button" aria-label="Thumb up" title="Thumb up" aria-pressed={thumb === true} data-testid="thumb-up" onClick={() => press(true)}>
        <Icon name="up" />
      </button>
      <button type="button" class="icon-button" aria-label="Thumb down" title="Thumb down" aria-pressed={thumb === false} data-testid="thumb-down" onClick={() => press(false)}>
        <Icon name="down" />
      </button>
      <button type="button" class="button quiet" ref={open} data-testid="edit" onClick={() => setDraft(answer.text)}>
        <Icon name="edit" />
        Edit
      </button>
      {children}
    </div>
  );
}

// Small parts that several steps use.

import type { ComponentChildren, JSX } from 'preact';
import { useRef, useState } from 'preact/hooks';
import { chosen, dropped, type Chosen, type Files } from '../model-files';

const paths = {
  add: 'M12 5v14M5 12h14',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  close: 'M6 6l12 12M18 6L6 18',
  down: 'M7 4.500v9.500m0 0H4.500V4.500H7m0 9.500l4 6.500c1.600 0 2.300-1.200 2-2.700l-.6-3.300h5.100c1.300 0 2.200-1.200 1.900-2.400l-1.300-5.600A2 2 0 0 0 16.100 4.500H7',
  download: 'M12 4v11m0 0l-4.5-4.5M12 15l4.5-4.5M5 19.5h14',
  edit: 'M5 19l.8-4L16 4.800l3.200 3.200L9 18.200zM13.5 7.300l3.200 3.200',
  file: 'M7 3.5h7l4 4v13H7zM14 3.5v4h4',
  moon: 'M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z',
  pause: 'M9 6v12M15 6v12',
  play: 'M8 5.5v13l10.5-6.5z',
  shield: 'M12 3.5l7 2.5v5.5c0 4.5-3 7.5-7 9-4-1.5-7-4.5-7-9V6z',
  stop: 'M7 7h10v10H7z',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.500v2M12 19.500v2M2.5 12h2M19.5 12h2M5.3 5.300l1.4 1.400M17.3 17.300l1.4 1.400M5.3 18.700l1.4-1.400M17.3 6.700l1.4-1.4',
  system: 'M4 5h16v11H4zM9 20h6M12 16v4',
  trash: 'M5 7h14M9.5 7V4.500h5V7M7 7l.8 12.500h8.400L17 7',
  up: 'M7 19.500V10m0 0H4.500v9.500H7m0-9.500l4-6.500c1.600 0 2.300 1.200 2 2.700l-.6 3.300h5.100c1.300 0 2.200 1.200 1.900 2.400l-1.300 5.600a2 2 0 0 1-1.900 1.500H7',
  undo: 'M8.5 5L4.5 9l4 4M4.5 9h9a5.5 5.5 0 0 1 0 11H9',
  warning: 'M12 4.500l8.5 15h-17zM12 10v4.500M12 17v.2',
  chip: 'M7 7h10v10H7zM10 3.500V7M14 3.500V7M10 17v3.500M14 17v3.500M3.5 10H7M3.5 14H7M17 10h3.500M17 14h3.5',
};

export function Icon({ name }: { name: keyof typeof paths }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" width="18" height="18" aria-hidden="true">
      <path d={paths[name]} fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" />
    </svg>
  );
}

export function Logo() {
  return (
    <svg class="logo" viewBox="0 0 24 24" width="26" height="26" aria-hidden="true">
      <path class="logo-fork" d="M8 2.500v7.500a4 4 0 0 0 8 0V2.5" />
      <path class="logo-stem" d="M12 14v7.5" />
    </svg>
  );
}

type ButtonProps = JSX.IntrinsicElements['button'] & {
  look?: 'main' | 'plain' | 'quiet' | 'danger';
  icon?: keyof typeof paths;
  /** Whether what it was pressed for is still to come. It cannot be pressed then, and keeps the focus, which a disabled one would lose to its neighbour. */
  waiting?: boolean;
};

export function Button({ look = 'plain', icon, waiting = false, onClick, children, ...rest }: ButtonProps) {
  return (
    <button type="button" {...rest} class={`button ${look}`} aria-disabled={waiting || undefined} onClick={waiting ? undefined : onClick}>
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

/** A button for what cannot be undone: it asks first, and the second press does it. */
export function SureButton({ sure, onClick, children, ...rest }: ButtonProps & { sure: string; onClick: () => void }) {
  const [asked, setAsked] = useState(false);
  return (
    <Button {...rest} look={asked ? 'danger' : 'quiet'} onBlur={() => setAsked(false)} onClick={() => (asked ? onClick() : setAsked(true))}>
      {asked ? sure : children}
    </Button>
  );
}

/** One of the page's four steps. */
export function Step(props: { number: number; id: string; title: string; lead: ComponentChildren; children: ComponentChildren }) {
  return (
    <section class="step" id={props.id} aria-labelledby={`${props.id}-title`}>
      <header class="step-head">
        <h2 id={`${props.id}-title`}>
          <span class="step-number" aria-hidden="true">
            {props.number}
          </span>
          {props.title}
        </h2>
        <p>{props.lead}</p>
      </header>
      <div class="step-body">{props.children}</div>
    </section>
  );
}

/** Several panels of which one is shown, and the tabs that choose it. */
export function Tabs<T extends string>(props: { label: string; tabs: readonly { id: T; name: string; note?: string }[]; chosen: T; onChoose: (id: T) => void; children: ComponentChildren }) {
  const { label, tabs, chosen, onChoose } = props;
  const list = useRef<HTMLDivElement>(null);
  const turn = ({ key }: KeyboardEvent) => {
    if (key !== 'ArrowLeft' && key !== 'ArrowRight') return;
    const at = tabs.findIndex(({ id }) => id === chosen);
    const next = tabs[(at + (key === 'ArrowLeft' ? tabs.length - 1 : 1)) % tabs.length]!;
    onChoose(next.id);
    list.current?.querySelector<HTMLElement>(`#tab-${next.id}`)?.focus();
  };
  return (
    <>
      <div class="tabs" role="tablist" aria-label={label} ref={list} onKeyDown={turn}>
        {tabs.map(({ id, name, note }) => (
          <button
            key={id}
            type="button"
            role="tab"
            id={`tab-${id}`}
            data-testid={`tab-${id}`}
            aria-selected={chosen === id}
            aria-controls={chosen === id ? `panel-${id}` : undefined}
            tabIndex={chosen === id ? 0 : -1}
            onClick={() => onChoose(id)}
          >
            {name}
            {note && <small> {note}</small>}
          </button>
        ))}
      </div>
      <div role="tabpanel" id={`panel-${chosen}`} aria-labelledby={`tab-${chosen}`}>
        {props.children}
      </div>
    </>
  );
}

/** A place to drop files, or a folder of them. `accept` is for the chooser; what is dropped is judged by its content. */
export function Drop(props: { onFiles: (files: Files, chosen: Chosen) => void; children: ComponentChildren }) {
  const [over, setOver] = useState(false);
  return (
    <div
      class={`drop ${over ? 'over' : ''}`}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        void dropped(event.dataTransfer).then((chosen) => chosen && props.onFiles(chosen.files, chosen));
      }}
    >
      {props.children}
    </div>
  );
}

interface FileButtonProps {
  label: string;
  accept?: string;
  testid: string;
  disabled?: boolean;
  multiple?: boolean;
  /** Whether a folder is chosen. */
  folder?: boolean;
  onFiles: (files: Files, chosen: Chosen) => void;
}

/** A button that opens the file chooser: a real file input, labelled, drawn as a button. */
export function FileButton(props: FileButtonProps) {
  return (
    <label class={`button plain file-button ${props.disabled ? 'disabled' : ''}`}>
      <Icon name="file" />
      {props.label}
      <input
        class="visually-hidden"
        type="file"
        accept={props.accept}
        data-testid={props.testid}
        disabled={props.disabled}
        multiple={props.multiple}
        {...(props.folder && { webkitdirectory: true })}
        onChange={(event) => {
          const input = event.currentTarget;
          const all = chosen(input.files);
          // The same file may be chosen again after it was changed.
          input.value = '';
          if (all) props.onFiles(all.files, all);
        }}
      />
    </label>
  );
}

interface NumberProps {
  id: string;
  label: string;
  value: number;
  min: number;
  max: number;
  step: number;
  onChange: (value: number) => void;
}

export function NumberField({ id, label, value, min, max, step, onChange }: NumberProps) {
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        data-testid={id}
        type="number"
        min={min}
        max={max}
        step={step}
        value={value}
        onChange={(event) => {
          const input = event.currentTarget;
          if (input.value !== '' && input.validity.valid) onChange(input.valueAsNumber);
          else input.value = String(value);
        }}
      />
    </div>
  );
}

export function Stat(props: { label: string; value: string; testid: string; ember?: boolean }) {
  return (
    <div class="stat">
      <dt>{props.label}</dt>
      <dd class={props.ember ? 'ember' : ''} data-testid={props.testid}>
        {props.value}
      </dd>
    </div>
  );
}

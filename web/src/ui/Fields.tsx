import type { ComponentChildren } from 'preact';
import { resetField, setField, setPrefer, setReinforce } from '../actions/train';
import type { Field, Objective } from '../engine';
import { changedIn, defaultOf, fieldsOf, formOf, mainFields, objectiveOf, ownFields, REWARD, shown } from '../settings';
import { beginFrom, busy, defaults, form, objective, objectives, settings } from '../store';

/** The fields that are the person's to set: the shape of an adapter that the run begins from is not. */
const free = (fields: Field[]): Field[] => (beginFrom.value ? fields.filter(({ name }) => !defaults.value?.shape.includes(name)) : fields);

/** The fields that matter most, in their order. */
export function MainFields() {
  const all = defaults.value ? free(fieldsOf(defaults.value, settings.value.method, objectiveOf(settings.value))) : [];
  return mainFields.map((name) => {
    const field = all.find((candidate) => candidate.name === name);
    return field && <FieldInput key={`${formOf(settings.value)} ${name}`} field={field} />;
  });
}

/** Every other field of the run config, by group; those of the objective come first. */
export function Advanced() {
  if (!defaults.value) return null;
  const { method } = settings.value;
  const rest = free(fieldsOf(defaults.value, method, objectiveOf(settings.value))).filter(({ name }) => !mainFields.includes(name));
  const own = ownFields(defaults.value, method, objectiveOf(settings.value));
  const others = rest.filter((field) => !own.includes(field));
  const groups = [...new Set(others.map(({ group }) => group))];
  const touched = rest.filter(({ name }) => changedIn(settings.value)[name] !== undefined).length;
  return (
    <details class="advanced" data-testid="advanced">
      <summary>
        Advanced{touched > 0 && <small> · {touched} changed</small>}
      </summary>
      {settings.value.teach !== 'examples' && (
        <Group name={settings.value.teach === 'prompts' ? 'Answers of its own' : 'Preferences'} fields={own.filter(({ name }) => !mainFields.includes(name))}>
          {settings.value.teach === 'prompts' ? <Reinforce /> : settings.value.goal === 'prefer' && <Prefer />}
        </Group>
      )}
      {groups.map((group) => (
        <Group key={group} name={group} fields={others.filter((field) => field.group === group)} />
      ))}
    </details>
  );
}

function Group({ name, fields, children }: { name: string; fields: Field[]; children?: ComponentChildren }) {
  return (
    <fieldset>
      <legend>{name}</legend>
      <div class="fields">
        {children}
        {fields.map((field) => (
          <FieldInput key={`${formOf(settings.value)} ${field.name}`} field={field} help />
        ))}
      </div>
    </fieldset>
  );
}

/** The objective of a model that answers as the person would choose. */
function Prefer() {
  const choices = objectives.value.filter(({ name, rows }) => (rows === 'pairs' || rows === 'verdicts') && name !== REWARD);
  return <ObjectiveChoice id="prefer" choices={choices} chosen={settings.value.prefer} onChoose={setPrefer} />;
}

/** That of a model that learns from what its own answers earn. */
function Reinforce() {
  const choices = objectives.value.filter(({ rows }) => rows === 'prompts');
  return <ObjectiveChoice id="reinforce" choices={choices} chosen={settings.value.reinforce} onChoose={setReinforce} />;
}

function ObjectiveChoice({ id, choices, chosen, onChoose }: { id: string; choices: Objective[]; chosen: string; onChoose: (name: string) => void }) {
  return (
    <div class="field choice">
      <div class="field-head">
        <label for={id}>Objective</label>
      </div>
      <select id={id} data-testid={id} disabled={busy.value} aria-describedby={`${id}-note`} value={chosen} onChange={(event) => onChoose(event.currentTarget.value)}>
        {choices.map(({ name, label }) => (
          <option key={name} value={name}>
            {label}
          </option>
        ))}
      </select>
      <small id={`${id}-note`} class="hint">
        {objective.value?.help}
      </small>
    </div>
  );
}

/** `help`: whether the field's help stands below it for all to see, or only for screen readers and on hover. */
function FieldInput({ field, help = false }: { field: Field; help?: boolean }) {
  const { method } = settings.value;
  const typed = changedIn(settings.value)[field.name];
  const value = typed ?? shown(defaultOf(field, method));
  const error = form.value?.errors[field.name];
  const id = `field-${field.name}`;
  const note = `${id}-note`;
  const common = {
    id,
    'data-testid': id,
    disabled: busy.value,
    'aria-describedby': error || field.help ? note : undefined,
    'aria-invalid': error ? true : undefined,
  };
  return (
    <div class={`field ${field.type}`} title={help ? undefined : field.help}>
      <div class="field-head">
        <label for={id}>{field.label}</label>
        {typed !== undefined && (
          <button type="button" class="reset" disabled={busy.value} aria-label={`Reset ${field.label} to ${shown(defaultOf(field, method))}`} onClick={() => resetField(field.name)}>
            reset
          </button>
        )}
      </div>
      {field.type === 'bool' ? (
        <input {...common} type="checkbox" checked={value === true || value === 'true'} onChange={(event) => setField(field.name, event.currentTarget.checked)} />
      ) : field.type === 'choice' ? (
        <select {...common} value={String(value)} onChange={(event) => setField(field.name, event.currentTarget.value)}>
          {field.choices?.map((choice) => (
            <option key={choice} value={choice}>
              {choice}
            </option>
          ))}
        </select>
      ) : (
        <input
          {...common}
          type="text"
          inputMode={field.type === 'int' ? 'numeric' : field.type === 'float' ? 'decimal' : 'text'}
          autocomplete="off"
          spellcheck={false}
          value={String(value)}
          onInput={(event) => setField(field.name, event.currentTarget.value)}
        />
      )}
      {(error || field.help) && (
        <small id={note} class={error ? 'bad-note' : help ? 'hint' : 'visually-hidden'}>
          {error ?? field.help}
        </small>
      )}
    </div>
  );
}

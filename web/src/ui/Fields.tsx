import { resetField, setField } from '../actions/train';
import type { Field } from '../engine';
import { defaultOf, fieldsOf, mainFields, shown } from '../settings';
import { busy, defaults, form, settings } from '../store';

/** The fields that matter most, in their order. */
export function MainFields() {
  const all = defaults.value ? fieldsOf(defaults.value, settings.value.method) : [];
  return mainFields.map((name) => {
    const field = all.find((candidate) => candidate.name === name);
    return field && <FieldInput key={`${settings.value.method} ${name}`} field={field} />;
  });
}

/** Every other field of the run config, by group. */
export function Advanced() {
  if (!defaults.value) return null;
  const { method, changed } = settings.value;
  const rest = fieldsOf(defaults.value, method).filter(({ name }) => !mainFields.includes(name));
  const groups = [...new Set(rest.map(({ group }) => group))];
  const touched = rest.filter(({ name }) => changed[method]?.[name] !== undefined).length;
  return (
    <details class="advanced" data-testid="advanced">
      <summary>
        Advanced{touched > 0 && <small> · {touched} changed</small>}
      </summary>
      {groups.map((group) => (
        <fieldset key={group}>
          <legend>{group}</legend>
          <div class="fields">
            {rest
              .filter((field) => field.group === group)
              .map((field) => (
                <FieldInput key={`${method} ${field.name}`} field={field} help />
              ))}
          </div>
        </fieldset>
      ))}
    </details>
  );
}

/** `help`: whether the field's help stands below it for all to see, or only for screen readers and on hover. */
function FieldInput({ field, help = false }: { field: Field; help?: boolean }) {
  const { method, changed } = settings.value;
  const typed = changed[method]?.[field.name];
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

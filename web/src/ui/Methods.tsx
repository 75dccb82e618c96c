import type { Method } from '../engine';
import { bytes, sentence, short } from '../format';
import { setMethod } from '../actions/train';
import { busy, defaults, inWords, model, settings, sizes } from '../store';

/** The tuning method: the one that is chosen, and all there are to choose from. */
export function MethodPicker() {
  const methods = defaults.value?.methods ?? [];
  const chosen = methods.find(({ id }) => id === settings.value.method);
  if (!chosen) return null;
  return (
    <details class="methods" data-testid="methods">
      <summary data-testid="method">
        <span class="methods-head">
          <strong>{chosen.name}</strong> <span class="methods-change">Change method</span>
        </span>
        <span class="methods-about">
          {chosen.help} <SizeOf method={chosen.id} />
        </span>
      </summary>
      <MethodCards type="radio" legend="Method" isChosen={(id) => id === chosen.id} onChange={(id) => setMethod(id)} />
    </details>
  );
}

interface CardsProps {
  /** One to choose, or several. */
  type: 'radio' | 'checkbox';
  legend: string;
  isChosen: (method: string) => boolean;
  onChange: (method: string, on: boolean) => void;
}

/** Every method as a card to choose: what it is called, what it does, how large it is. */
export function MethodCards({ type, legend, isChosen, onChange }: CardsProps) {
  const prefix = type === 'radio' ? 'method' : 'trial';
  return (
    <fieldset class="method-cards" disabled={busy.value}>
      <legend class="visually-hidden">{legend}</legend>
      {defaults.value?.methods.map(({ id, name, help }: Method) => (
        <label key={id} class="method-card">
          <input type={type} name={prefix} value={id} checked={isChosen(id)} data-testid={`${prefix}-${id}`} onChange={(event) => onChange(id, event.currentTarget.checked)} />
          <span>
            <strong>{name}</strong>
            <span>{help}</span>
            <SizeOf method={id} />
          </span>
        </label>
      ))}
    </fieldset>
  );
}

/** How large a method is on the model at hand, or why it cannot be, once that is known. */
function SizeOf({ method }: { method: string }) {
  const size = sizes.value[method];
  if (!size || model.value.state !== 'ready') return null;
  if ('code' in size) {
    return (
      <small class="warning">
        Not on this model as it is set. {sentence(inWords(size.message))}. {sentence(inWords(size.help))}.
      </small>
    );
  }
  const share = (100 * size.trainable) / model.value.info.parameters;
  const percent = share >= 10 ? Math.round(share) : Number(share.toPrecision(1));
  return (
    <small>
      {short(size.trainable)} weights ({percent} % of the model’s), a file of {bytes(size.file_bytes)}
    </small>
  );
}
